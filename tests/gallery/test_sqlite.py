"""The file: what a user would lose if it were wrong."""

from __future__ import annotations

import multiprocessing
import os
import sqlite3
import threading

import numpy as np
import pytest

from pocketface.cli import main
from pocketface.errors import GalleryError
from pocketface.gallery.sqlite import SqliteStore

from .conftest import make_header, make_templates, unit_rows

AT = "2026-11-22T12:00:00.000+00:00"


@pytest.fixture
def path(tmp_path):
    return tmp_path / "people.db"


def filled(path, people=20):
    store = SqliteStore(path, new=make_header())
    rows = unit_rows(2 * people)
    for i in range(people):
        store.add(f"person{i:03}", make_templates(rows[2 * i : 2 * i + 2], f"{i}-"), at=AT)
    return store


def test_missing_file_is_an_error_that_names_it(path):
    with pytest.raises(GalleryError, match=r"people\.db"):
        SqliteStore(path)
    assert not path.exists()


@pytest.mark.skipif(os.name != "posix", reason="links need rights elsewhere")
def test_a_link_to_nothing_and_a_folder_are_told_from_a_missing_gallery(path):
    path.symlink_to(path.with_name("gone.db"))
    with pytest.raises(GalleryError, match=r"people\.db: a link to .*gone\.db, where nothing is"):
        SqliteStore(path, new=make_header())
    with pytest.raises(GalleryError, match="is a folder, not a gallery"):
        SqliteStore(path.parent, new=make_header())
    assert [item.name for item in path.parent.iterdir()] == ["people.db"]


def test_file_has_no_pickles_and_no_leftovers_beside_it(path):
    filled(path).close()
    assert [item.name for item in path.parent.iterdir()] == ["people.db"]
    assert b"numpy" not in path.read_bytes()


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX permissions")
def test_a_new_file_is_its_owners_alone_and_an_old_ones_mode_stays(path):
    store = filled(path, 1)
    assert {file.stat().st_mode & 0o777 for file in path.parent.iterdir()} == {0o600}
    path.chmod(0o640)
    store.vacuum()
    store.close()
    assert path.stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"),
        (b"\xff\xd8\xff\xe0 not a database at all " * 300, "not a gallery"),
        (b"SQLite format 3\0" + bytes(5000), "damaged|not a gallery"),
    ],
)
def test_what_is_no_gallery_is_refused_and_left_alone(path, content, reason):
    path.write_bytes(content)
    with pytest.raises(GalleryError, match=reason):
        SqliteStore(path, new=make_header())
    assert path.read_bytes() == content


def test_another_applications_database_is_refused_and_left_alone(path):
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE notes (text TEXT)")
    connection.commit()
    connection.close()
    before = path.read_bytes()
    with pytest.raises(GalleryError, match="not a gallery"):
        SqliteStore(path, new=make_header())
    assert path.read_bytes() == before


def test_every_damaged_page_is_reported_not_answered_from(path):
    """One page after the other is overwritten; each gives an error or the right answer, never another one."""
    store = filled(path, 60)
    probes = unit_rows(120)
    truth = store.search(probes, 2)
    people = store.people()
    store.close()
    whole = path.read_bytes()
    reported = []
    for offset in range(0, len(whole), 4096):
        path.write_bytes(whole[:offset] + b"\xa5" * 4096 + whole[offset + 4096 :])
        try:
            store = SqliteStore(path, new=make_header())
            try:
                store.check()
                assert store.search(probes, 2) == truth
                assert store.people() == people
            finally:
                store.close()
        except GalleryError as error:
            reported.append(str(error))
    assert all("people.db" in message and "\n" not in message for message in reported)
    assert len(reported) > len(whole) // 4096 // 2


def test_a_flipped_bit_in_the_schema_is_an_error(path):
    """SQLite's message quotes the damaged text, which is no UTF-8 any more."""
    filled(path, 2).close()
    whole = path.read_bytes()
    start = whole.index(b"CREATE TABLE")
    said = set()
    for offset in range(start, start + 300, 7):
        path.write_bytes(whole[:offset] + bytes([whole[offset] ^ 0x80]) + whole[offset + 1 :])
        try:
            SqliteStore(path).close()
        except GalleryError as error:
            said.add(str(error))
    assert any("damaged" in message for message in said)


@pytest.mark.parametrize("value", [None, b"\xff\xfe", 7])
def test_a_template_whose_owner_is_no_text_is_damaged(path, value):
    filled(path, 2).close()
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA ignore_check_constraints=ON")
    sql = connection.execute("SELECT sql FROM sqlite_master WHERE name = 'template'").fetchone()[0]
    if value is None and "NOT NULL" in sql:
        connection.execute("PRAGMA writable_schema=ON")
        connection.execute(
            "UPDATE sqlite_master SET sql = replace(sql, ' NOT NULL', '') WHERE name = 'template'"
        )
        connection.commit()
        connection.close()
        connection = sqlite3.connect(path)
    connection.execute("UPDATE template SET id = ? WHERE rowid = 1", (value,))
    connection.commit()
    connection.close()
    store = SqliteStore(path)
    with pytest.raises(GalleryError, match="damaged"):
        store.search(unit_rows(1), 1)
    store.close()


def test_a_flipped_bit_in_a_template_is_an_error_in_search_itself(path):
    store = filled(path, 3)
    vector = unit_rows(6)[2].tobytes()
    store.close()
    data = bytearray(path.read_bytes())
    data[data.index(vector) + 100] ^= 1
    path.write_bytes(data)
    store = SqliteStore(path)
    with pytest.raises(GalleryError, match=r"person001.*damaged"):
        store.search(unit_rows(1), 1)
    store.close()


def test_truncated_file_is_reported(path):
    filled(path, 60).close()
    whole = path.read_bytes()
    for length in range(1000, len(whole), 4096 * 3):
        path.write_bytes(whole[:length])
        with pytest.raises(GalleryError):  # noqa: PT012
            store = SqliteStore(path, new=make_header())
            try:
                store.check()
            finally:
                store.close()


def test_another_connections_writes_are_seen(path):
    reader = filled(path, 3)
    assert reader.search(unit_rows(1, 77), 1)[0][0].similarity < 0.9
    writer = SqliteStore(path)
    writer.add("new", make_templates(unit_rows(1, 77), "new"), at=AT)
    assert reader.search(unit_rows(1, 77), 1)[0][0].person == "new"
    writer.remove("new", at=AT, what="forget")
    assert reader.search(unit_rows(1, 77), 1)[0][0].person != "new"
    reader.close()
    writer.close()


def test_forgotten_templates_and_names_are_no_longer_in_the_file(path):
    store = filled(path, 30)
    rows = unit_rows(1, 5)
    store.add("ann-the-forgotten", make_templates(rows, "ann"), at=AT)
    assert store.remove("ann-the-forgotten", at=AT, what="forget") == 1
    store.vacuum()
    for file in path.parent.iterdir():
        content = file.read_bytes()
        assert rows[0].tobytes()[:64] not in content, file
        assert b"ann-the-forgotten" not in content, file
    assert [event.what for event in store.events()][-1] == "forget"
    assert len(store.people()) == 30
    store.close()


def test_what_a_reader_keeps_from_being_overwritten_is_said_with_the_command_for_it(path, monkeypatch):
    monkeypatch.setattr("pocketface.gallery.sqlite._BUSY_SECONDS", 0.05)
    path = path.with_name("two words.db")
    store = filled(path, 2)
    reader = sqlite3.connect(path, isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM template").fetchone()
    store.remove("person000", at=AT, what="forget")
    with pytest.raises(GalleryError, match=r"pocketface gallery '.*two words\.db' --vacuum"):
        store.vacuum()
    reader.close()
    store.vacuum()
    store.close()


def test_two_creators_at_once_share_one_gallery(path):
    results = []

    def create(name):
        store = SqliteStore(path, new=make_header())
        store.add(name, make_templates(unit_rows(1, 1), name), at=AT)
        results.append(name)
        store.close()

    threads = [threading.Thread(target=create, args=(f"p{i}",)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    store = SqliteStore(path)
    assert [person.name for person in store.people()] == sorted(results)
    assert len(results) == 8
    store.close()


def _read(path, stop, problems):
    store = SqliteStore(path)
    while not stop.wait(0.002):
        counts = {person.templates for person in store.people()}
        found = store.search(unit_rows(1), 1000)[0]
        if counts - {4} or len({c.person for c in found}) != len(found):
            problems.put((counts, len(found)))
            return
    store.close()


def test_several_processes_read_while_one_writes(path):
    """Each person has four templates from the first moment a reader sees them."""
    context = multiprocessing.get_context("spawn")
    store = SqliteStore(path, new=make_header())
    stop, problems = context.Event(), context.Queue()
    readers = [context.Process(target=_read, args=(path, stop, problems)) for _ in range(2)]
    for reader in readers:
        reader.start()
    rows = unit_rows(4 * 90)
    for i in range(90):
        store.add(f"p{i}", make_templates(rows[4 * i : 4 * i + 4], f"{i}-"), at=AT)
        if i % 3 == 2:
            store.remove(f"p{i}", at=AT, what="forget")
    stop.set()
    for reader in readers:
        reader.join(30)
        assert reader.exitcode == 0
    assert problems.empty()
    assert len(store.people()) == 60
    store.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_store_is_used_on_both_sides_of_a_fork(path):
    store = filled(path, 3)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            store.add("child", make_templates(unit_rows(1, 8), "child"), at=AT)
            status = 0 if store.search(unit_rows(1, 8), 1)[0][0].person == "child" else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert store.search(unit_rows(1, 8), 1)[0][0].person == "child"
    assert np.isclose(store.search(unit_rows(1, 8), 1)[0][0].similarity, 1)
    store.close()


def test_a_gallery_of_a_newer_format_is_refused(path):
    filled(path, 1).close()
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version=2")
    connection.close()
    with pytest.raises(GalleryError, match="format 2"):
        SqliteStore(path)


def test_random_damage_gives_an_error_or_the_right_answer(path):
    store = filled(path, 30)
    probes = unit_rows(60)
    truth = store.search(probes, 2)
    store.close()
    whole = path.read_bytes()
    rng = np.random.default_rng(11)
    reported = 0
    for _ in range(150):
        data = bytearray(whole)
        for offset in rng.integers(0, len(whole), 1 + rng.integers(0, 8)):
            data[offset] ^= 1 << rng.integers(0, 8)
        path.write_bytes(data)
        try:
            store = SqliteStore(path)
            try:
                assert store.search(probes, 2) == truth
            finally:
                store.close()
        except GalleryError:
            reported += 1
    assert reported > 50


def test_threads_share_a_store(path):
    store = filled(path, 10)
    rows = unit_rows(20, 99)
    wrong = []

    def work(i):
        store.add(f"t{i}", make_templates(rows[i : i + 1], f"t{i}-"), at=AT)
        wrong.extend(c for (c,) in [store.search(rows[i : i + 1], 1)[0]] if c.person != f"t{i}")

    threads = [threading.Thread(target=work, args=(i,)) for i in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert len(store.people()) == 30
    store.close()


@pytest.mark.parametrize("command", [["forget", "\0", "x"], ["identify", "\0", "x"], ["gallery", "\0"]])
def test_a_name_that_no_file_can_have(command):
    assert main(command) == 2
