"""Power cuts, full disks and read-only folders: no committed person is lost, none is left half enrolled."""

from __future__ import annotations

import errno
import json
import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pocketface.errors import GalleryError
from pocketface.gallery.sqlite import SqliteStore

from .conftest import make_header, make_templates, unit_rows
from .writer import TEMPLATES

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
AT = "2026-11-22T12:00:00.000+00:00"


def start(*arguments, stdin=None, **environment):
    return subprocess.Popen(
        [sys.executable, *map(str, arguments)],
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"} | environment,
    )


def told(output):
    """People that must be there, and those that may be: their last call had begun but not returned."""
    present, unsure = set(), set()
    for line in output.splitlines():
        kind, name = line[0], line[1:]
        if kind in "?~":
            present.discard(name)
            unsure = {name}
        elif kind == "+":
            present.add(name)
            unsure = set()
        else:
            unsure = set()
    return present, unsure


def check(path, must, may):
    store = SqliteStore(path)
    store.check()
    people = store.people()
    assert {person.templates for person in people} <= {TEMPLATES}, "half enrolled"
    names = {person.name for person in people}
    assert must <= names, "a committed person was lost"
    assert names <= must | may, "a person who was forgotten or never committed"
    store.close()
    return names


def test_writers_killed_at_random_points(tmp_path):
    path = tmp_path / "people.db"
    must: set[str] = set()
    moments = random.Random(7)
    for seed in range(6):
        writer = start(HERE / "writer.py", path, seed)
        assert writer.stdout is not None
        first = writer.stdout.readline()
        time.sleep(moments.uniform(0, 0.15))
        writer.kill()
        # Not communicate(): it would miss what readline() has read ahead.
        present, unsure = told(first + writer.stdout.read())
        writer.communicate()
        if path.exists():
            must = check(path, must | present, unsure)
        else:
            assert not present
    assert len(must) > 6


@pytest.fixture(scope="module")
def shim(tmp_path_factory):
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None or not sys.platform.startswith("linux"):
        pytest.skip("failing writes are injected by a preloaded library: needs Linux and a C compiler")
    library = tmp_path_factory.mktemp("shim") / "failing_write.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", library, HERE / "failing_write.c"], check=True)
    return library


def run_failing(shim, folder, kind, source=None, step=1):
    """Make each n-th write fail in turn; what each run printed, in folders named by n."""
    environment = {"FAIL_ERRNO": str(errno.EIO if kind == "failing" else errno.ENOSPC)}
    if kind == "short":
        environment["FAIL_SHORT"] = "1"
    process = start(HERE / "failing.py", folder, step, source or "", LD_PRELOAD=str(shim), **environment)
    output, errors = process.communicate()
    assert process.returncode == 0, errors
    return [json.loads(line) for line in output.splitlines()]


@pytest.mark.parametrize("kind", ["full", "short", "failing"])
def test_the_nth_write_fails_for_every_n(tmp_path, shim, kind):
    """Enrol somebody, forget somebody, rewrite the file: each write and sync of it fails in turn."""
    original = tmp_path / "original.db"
    store = SqliteStore(original, new=make_header())
    store.add("old", make_templates(unit_rows(2, 1), "old"), at=AT)
    store.add("kept", make_templates(unit_rows(2, 2), "kept"), at=AT)
    store.close()
    outcomes = set()
    # Every n where each write fails as a whole; the two variants take every third.
    runs = run_failing(shim, tmp_path, kind, original, 1 if kind == "full" else 3)
    for run in runs:
        store = SqliteStore(tmp_path / str(run["n"]) / "people.db")
        store.check()
        templates = {person.name: person.templates for person in store.people()}
        store.close()
        if run["error"]:
            assert "people.db" in run["error"]
        assert templates.pop("kept") == 2
        if run["enrolled"]:
            assert templates.get("new") == 20
        if run["forgotten"]:
            assert "old" not in templates
        assert set(templates.values()) <= {2, 20}
        outcomes.add(tuple(sorted(templates)))
    assert runs[-1]["error"] is None
    assert len(runs) > 10
    assert len(outcomes) > 1


def test_full_disk_while_a_gallery_is_made(tmp_path, shim):
    """Afterwards there is either no gallery or a whole one."""
    made = []
    for run in run_failing(shim, tmp_path, "full"):
        path = tmp_path / str(run["n"]) / "people.db"
        made.append(path.exists())
        if path.exists():
            store = SqliteStore(path)
            store.check()
            store.close()
    assert made[0] is False
    assert made[-1] is True


READ_ONLY = """
import os, sys
import numpy as np
from pocketface.errors import GalleryError
from pocketface.gallery.records import Template
from pocketface.gallery.sqlite import SqliteStore
np.linalg.norm(np.ones(2))
if os.geteuid() == 0:
    os.setuid(65534)
store = SqliteStore(sys.argv[1])
probe = np.eye(128, dtype=np.float32)[:1]
print([person.name for person in store.people()], store.search(probe, 1)[0][0].person)
try:
    store.add("new", [Template("new", probe[0])], at="2026")
except GalleryError as error:
    print(error)
"""


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX permissions")
def test_a_read_only_folder_is_read_and_refuses_to_be_written(tmp_path):
    folder = tmp_path / "medium"
    folder.mkdir()
    store = SqliteStore(folder / "people.db", new=make_header())
    store.add("ann", make_templates(unit_rows(2, 1)), at=AT)
    store.close()
    for parent in (tmp_path, *tmp_path.parents):
        if parent.name.startswith(("test_", "pytest-", "popen-")):  # pytest's own, one more with xdist
            parent.chmod(0o755)
    (folder / "people.db").chmod(0o444)
    folder.chmod(0o555)
    try:
        output, errors = start("-c", READ_ONLY, folder / "people.db").communicate()
    finally:
        folder.chmod(0o755)
    assert output.splitlines()[0] == "['ann'] ann", errors
    assert "read-only" in output.splitlines()[1]


READER = """
import os, sys
from pocketface.gallery import open_gallery
from tests.gallery.conftest import make_recognizer, unit_rows
recognizer, rows = make_recognizer(), unit_rows(3)
if os.geteuid() == 0:
    os.setuid(65534)
gallery = open_gallery(sys.argv[1], recognizer, create=False)
for _ in sys.stdin:
    print([match and match.person for match in gallery.match_vectors(rows)], flush=True)
"""


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX permissions")
def test_a_reader_who_may_not_write_knows_nobody_forgotten_or_overdue(tmp_path):
    folder = tmp_path / "others"
    folder.mkdir()
    path = folder / "people.db"
    for parent in (tmp_path, *tmp_path.parents):
        if parent.name.startswith(("test_", "pytest-", "popen-")):
            parent.chmod(0o755)
    store = SqliteStore(path, new=make_header())
    now = time.strftime("%Y-%m-%dT%H:%M:%S.000+00:00", time.gmtime())
    for i, (name, at) in enumerate(
        (("ann", now), ("bob", now), ("overdue", "2020-01-01T00:00:00.000+00:00"))
    ):
        store.add(name, make_templates(unit_rows(3)[i : i + 1], name), at=at)
    store.retention_days = 30
    store.close()

    def lock():
        path.chmod(0o444)
        folder.chmod(0o555)

    lock()
    reader = start("-c", READER, path, stdin=subprocess.PIPE)
    try:
        reader.stdin.write("\n")
        reader.stdin.flush()
        assert reader.stdout.readline() == "['ann', 'bob', None]\n"
        folder.chmod(0o755)
        path.chmod(0o644)
        store = SqliteStore(path)
        store.remove("ann", at=now, what="forget")
        store.vacuum()
        store.close()
        lock()
        output, errors = reader.communicate("\n")
    finally:
        reader.kill()
        folder.chmod(0o755)
    assert output == "[None, 'bob', None]\n", errors


def test_a_folder_that_cannot_be_written_makes_no_gallery(tmp_path):
    with pytest.raises(GalleryError, match=r"the folder .*nowhere is missing"):
        SqliteStore(tmp_path / "nowhere" / "people.db", new=make_header())
