"""A wrong key or a changed bit is an error, never another answer."""

from __future__ import annotations

import sqlite3
import sys
import zlib

import numpy as np
import pytest

from pocketface.errors import ExtraError, GalleryError, InputError
from pocketface.gallery import open_gallery
from pocketface.gallery.encryption import binding

from .conftest import make_recognizer, make_templates, unit_rows

ROWS = unit_rows(4)


@pytest.fixture
def key(tmp_path):
    key = tmp_path / "people.key"
    key.write_bytes(bytes(range(32)))
    return {"key_file": key}


@pytest.fixture
def path(tmp_path, key):
    """Two people in an encrypted gallery."""
    path = tmp_path / "people.db"
    with open_gallery(path, make_recognizer(), **key) as gallery:
        gallery.enroll_templates("ann", make_templates(ROWS[:2], "ann"))
        gallery.enroll_templates("bob", make_templates(ROWS[2:], "bob"))
    return path


def test_no_template_is_in_the_file_and_all_are_found_with_the_key(path, key):
    content = path.read_bytes()
    assert not any(row.tobytes()[i : i + 16] in content for row in ROWS for i in range(0, 512, 16))
    with open_gallery(path, make_recognizer(), **key) as gallery:
        assert [match.person for match in gallery.match_vectors(ROWS)] == ["ann", "ann", "bob", "bob"]
        gallery.store.check()


def test_a_passphrase(tmp_path, key):
    path = tmp_path / "people.db"
    with open_gallery(path, make_recognizer(), passphrase="sesame") as gallery:
        gallery.enroll_templates("ann", make_templates(ROWS[:1]))
    with open_gallery(path, make_recognizer(), passphrase="sesame") as gallery:
        assert gallery.match_vectors(ROWS[:1])[0].person == "ann"
    for options, reason in (
        ({"passphrase": "sesame "}, "wrong key"),
        (key, "give that"),
        ({}, "is encrypted"),
    ):
        with pytest.raises(GalleryError, match=reason):
            open_gallery(path, make_recognizer(), **options)


def test_the_extra_that_an_encrypted_gallery_needs_is_named(path, key, monkeypatch):
    for module in list(sys.modules):
        if module.partition(".")[0] == "cryptography":
            monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ExtraError, match="crypto"):
        open_gallery(path, make_recognizer(), **key)


def test_wrong_key_files(path, key):
    key["key_file"].write_bytes(bytes(range(1, 33)))
    with pytest.raises(GalleryError, match="wrong key"):
        open_gallery(path, make_recognizer(), **key)
    key["key_file"].write_bytes(b"short")
    with pytest.raises(InputError, match="32 random bytes"):
        open_gallery(path, make_recognizer(), **key)


def test_a_plain_gallery_does_not_pass_for_an_encrypted_one(tmp_path):
    path = tmp_path / "people.db"
    open_gallery(path, make_recognizer()).close()
    with pytest.raises(GalleryError, match="not encrypted"):
        open_gallery(path, make_recognizer(), passphrase="sesame")


def edit(path, change):
    """Change rows as somebody would who also mends the checksums."""
    connection = sqlite3.connect(path)
    change(connection)
    (header,) = connection.execute("SELECT json FROM header").fetchone()
    for row, name, number, vector in connection.execute(
        "SELECT template.rowid, name, template.id, vector FROM person JOIN template ON person = person.id"
    ).fetchall():
        checksum = zlib.crc32(vector, zlib.crc32(binding(header, name, number)))
        connection.execute("UPDATE template SET checksum = ? WHERE rowid = ?", (checksum, row))
    connection.commit()
    connection.close()


def flip(bit):
    def change(connection):
        (vector,) = connection.execute("SELECT vector FROM template WHERE id = 'ann0'").fetchone()
        changed = bytearray(vector)
        changed[bit // 8] ^= 1 << bit % 8
        connection.execute("UPDATE template SET vector = ? WHERE id = 'ann0'", (bytes(changed),))

    return change


def rename(connection):
    connection.execute("UPDATE person SET name = 'x' WHERE name = 'ann'")
    connection.execute("UPDATE person SET name = 'ann' WHERE name = 'bob'")
    connection.execute("UPDATE person SET name = 'bob' WHERE name = 'x'")


def move(connection):
    connection.execute("UPDATE template SET person = (SELECT id FROM person WHERE name = 'bob')")


def swap(connection):
    a, b = (row[0] for row in connection.execute("SELECT vector FROM template WHERE id IN ('ann0', 'bob0')"))
    connection.execute("UPDATE template SET vector = ? WHERE id = 'ann0'", (b,))
    connection.execute("UPDATE template SET vector = ? WHERE id = 'bob0'", (a,))


@pytest.mark.parametrize(
    "change",
    [*(flip(bit) for bit in (0, 95, 96, 2000, 8 * (12 + 512), 8 * (12 + 512 + 16) - 1)), rename, move, swap],
)
def test_changed_moved_and_renamed_templates_are_errors(path, key, change):
    edit(path, change)
    with open_gallery(path, make_recognizer(), **key) as gallery:
        with pytest.raises(GalleryError, match="changed or damaged"):
            gallery.match_vectors(ROWS)
        with pytest.raises(GalleryError, match="changed or damaged"):
            gallery.audit()


def test_a_changed_header_is_an_error(path, key):
    def another_space(connection):
        connection.execute("""UPDATE header SET json = replace(json, '"test/1"', '"test/2"')""")

    edit(path, another_space)
    gallery = open_gallery(path, make_recognizer(space="test/2"), **key)
    with gallery, pytest.raises(GalleryError, match=r"people\.db: .*changed or damaged"):
        gallery.match_vectors(ROWS)


@pytest.mark.parametrize("field", ["salt", "check"])
@pytest.mark.parametrize("damage", ["'\"sa!t\"'", "'7'", "NULL"])
def test_a_damaged_key_check_is_an_error(path, key, field, damage):
    def change(connection):
        place = f"'$.encryption.{field}'"
        how = (
            f"json_remove(json, {place})" if damage == "NULL" else f"json_set(json, {place}, json({damage}))"
        )
        connection.execute(f"UPDATE header SET json = {how}")

    edit(path, change)
    with pytest.raises(GalleryError, match=r"people\.db: .*wrong key"):
        open_gallery(path, make_recognizer(), **key)


def test_cost_of_a_passphrase_cannot_be_raised_without_bound(tmp_path):
    path = tmp_path / "people.db"
    open_gallery(path, make_recognizer(), passphrase="sesame").close()

    def costly(connection):
        connection.execute("UPDATE header SET json = replace(json, '\"n\":32768', '\"n\":1073741824')")

    edit(path, costly)
    with pytest.raises(GalleryError, match="changed"):
        open_gallery(path, make_recognizer(), passphrase="sesame")


def test_equal_templates_look_different(tmp_path, key):
    path = tmp_path / "people.db"
    with open_gallery(path, make_recognizer(), **key) as gallery:
        gallery.enroll_templates("ann", make_templates(np.stack([ROWS[0], ROWS[0]])))
    connection = sqlite3.connect(path)
    a, b = (row[0] for row in connection.execute("SELECT vector FROM template"))
    connection.close()
    assert a != b
    assert a[:12] != b[:12]
