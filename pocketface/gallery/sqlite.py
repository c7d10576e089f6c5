"""The embedded store: one SQLite file, many readers beside one writer, nothing pickled.

Write-ahead log with `synchronous=FULL`: an enrolment is one transaction and is on the disk when the
call returns; a reader sees all of it or nothing (https://sqlite.org/wal.html). Templates are float32
blobs with a checksum, or sealed ones (`encryption.py`). Searching reads them all into one matrix,
which is read again when another process has written.
"""

from __future__ import annotations

import os
import secrets
import shlex
import sqlite3
import threading
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pocketface.errors import GalleryError
from pocketface.gallery.encryption import Cipher, binding
from pocketface.gallery.records import Candidate, Event, Header, Person, Template, check_space
from pocketface.gallery.search import Matrix

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pocketface.gallery.encryption import Secret

_APPLICATION = 0x70666163  # "pfac", in SQLite's field for the kind of file
_VERSION = 1
_BUSY_SECONDS = 15.0

_SCHEMA = """
CREATE TABLE header (only INTEGER PRIMARY KEY CHECK (only = 1), json TEXT NOT NULL);
CREATE TABLE setting (key TEXT PRIMARY KEY, value REAL) WITHOUT ROWID;
CREATE TABLE person (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE);
CREATE TABLE template (
    id TEXT NOT NULL UNIQUE,
    person INTEGER NOT NULL REFERENCES person (id),
    vector BLOB NOT NULL,
    checksum INTEGER NOT NULL,
    source TEXT NOT NULL,
    quality REAL,
    at TEXT NOT NULL
);
CREATE INDEX template_person ON template (person);
CREATE TABLE event (id INTEGER PRIMARY KEY AUTOINCREMENT, at TEXT NOT NULL, what TEXT NOT NULL,
                    person TEXT, templates INTEGER NOT NULL);
CREATE INDEX event_person ON event (person);
"""


class SqliteStore:
    """Templates in one file. May be shared by threads, and used on both sides of a fork."""

    def __init__(
        self, path: str | os.PathLike[str], *, new: Header | None = None, secret: Secret | None = None
    ) -> None:
        """Open a gallery file, or make one.

        Args:
            path: the file; `-wal` and `-shm` files appear beside it while it is open.
            new: header of the file to make when there is none; without it a missing file is an error.
            secret: key of an encrypted gallery.

        Raises:
            GalleryError: the file is missing, damaged, something else, encrypted with another key,
                encrypted when no key was given, or not encrypted when one was.
        """
        self.path = Path(path)
        if "\0" in str(path):
            raise GalleryError(f"{str(path)!r}: no file can have this name")
        self.url = str(path)
        self._lock = threading.RLock()
        self._matrix: Matrix | None = None
        self._version = -1
        self._snapshot: tuple[object, ...] | None = None
        self._inherited: list[sqlite3.Connection] = []
        if new is not None and not self.path.exists():
            self._create(new)
        self._connection = self._connect()
        self._pid = os.getpid()
        self._cipher: Cipher | None = None
        try:
            with self._open() as connection:
                self.header = self._stored_header(connection)[1]
            self._cipher = self._unlocked(secret)
        except BaseException:
            self._connection.close()
            raise

    def _unlocked(self, secret: Secret | None) -> Cipher | None:
        if self.header.encryption is None:
            if secret is not None:
                raise GalleryError(
                    f"{self.url}: is not encrypted, but a key was given; open it without, or make a new one"
                )
            return None
        if secret is None:
            raise GalleryError(f"{self.url}: is encrypted; give its passphrase or key file")
        return secret.open(self.header.encryption, self.url)

    def _create(self, header: Header) -> None:
        # Made under another name and linked when complete, so that a kill leaves no half-made gallery.
        path = self.path.with_name(f".{self.path.name}.{secrets.token_hex(4)}.tmp")
        try:
            # Readable by the owner alone: these are biometric data. Logs get the mode of the file itself.
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
            with self._guard():
                connection = sqlite3.connect(path, isolation_level=None)
                try:
                    connection.execute("PRAGMA synchronous=FULL")
                    connection.execute(f"PRAGMA application_id={_APPLICATION}")
                    connection.execute(f"PRAGMA user_version={_VERSION}")
                    connection.executescript(f"BEGIN;{_SCHEMA}")
                    connection.execute("INSERT INTO header VALUES (1, ?)", (header.to_json(),))
                    connection.execute("COMMIT")
                    # Last, as a log that fails to be written back on closing would leave an empty file.
                    connection.execute("PRAGMA journal_mode=WAL")
                finally:
                    connection.close()
            _publish(path, self.path)
        except FileNotFoundError:
            raise GalleryError(
                f"{self.url}: the folder {self.path.parent} is missing; make it first, or give another"
            ) from None
        except OSError as error:
            raise GalleryError(f"{self.url}: cannot make the gallery: {error.strerror}") from None
        finally:
            for suffix in ("", "-wal", "-shm", "-journal"):
                path.with_name(path.name + suffix).unlink(missing_ok=True)

    def _connect(self) -> sqlite3.Connection:
        try:
            size = self.path.stat().st_size
        except FileNotFoundError:
            if self.path.is_symlink():
                raise GalleryError(
                    f"{self.url}: a link to {os.readlink(self.path)}, where nothing is; correct or remove it"
                ) from None
            raise GalleryError(
                f"{self.url}: no such gallery; enrol somebody first: "
                f"pocketface enroll {shlex.quote(self.url)} NAME PHOTO"
            ) from None
        except OSError as error:
            raise GalleryError(f"{self.url}: cannot open the gallery: {error.strerror}") from None
        if self.path.is_dir():
            raise GalleryError(
                f"{self.url}: is a folder, not a gallery; give a file, such as {self.path / 'people.db'}"
            )
        if size == 0:
            raise GalleryError(
                f"{self.url}: the file is empty, which no gallery is; restore a copy or remove it"
            )
        if not os.access(self.path, os.R_OK):
            raise GalleryError(f"{self.url}: no permission to read it; its owner can give it with chmod")
        writable = os.access(self.path, os.W_OK) and os.access(self.path.resolve().parent, os.W_OK)
        mode = "mode=rw" if writable else "mode=ro"
        snapshot = None
        if not writable and not self._log_exists():
            mode = "mode=ro&immutable=1"  # where SQLite cannot make the log's index
            snapshot = self._look()
        with self._guard():
            connection = sqlite3.connect(
                f"{self.path.resolve().as_uri()}?{mode}",
                uri=True,
                timeout=_BUSY_SECONDS,
                isolation_level=None,
                check_same_thread=False,
            )
            try:
                (application,) = connection.execute("PRAGMA application_id").fetchone()
                (version,) = connection.execute("PRAGMA user_version").fetchone()
                if application != _APPLICATION:
                    raise GalleryError(f"{self.url}: an SQLite file, but not a gallery")
                if version != _VERSION:
                    raise GalleryError(f"{self.url}: gallery format {version}; this version reads {_VERSION}")
                for pragma in (
                    "synchronous=FULL",
                    "foreign_keys=ON",
                    "secure_delete=ON",
                    "trusted_schema=OFF",
                ):
                    connection.execute(f"PRAGMA {pragma}")
            except BaseException:
                connection.close()
                raise
        self._snapshot = snapshot
        return connection

    def _is_outdated(self) -> bool:
        """Whether an immutable file, which SQLite never looks at again, was changed all the same."""
        return self._snapshot is not None and self._look() != self._snapshot

    def _log_exists(self) -> bool:
        return self.path.with_name(self.path.name + "-wal").exists()

    def _look(self) -> tuple[object, ...] | None:
        """What changes when somebody opens, changes or replaces the file."""
        try:
            status = self.path.stat()
        except OSError:
            return None
        return status.st_ino, status.st_size, status.st_mtime_ns, self._log_exists()

    @contextmanager
    def _guard(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise GalleryError(f"{self.url}: {_explain(str(error))}") from error
        except UnicodeDecodeError as error:  # a message of SQLite that quotes damaged text
            raise GalleryError(f"{self.url}: {_explain('malformed')}") from error

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """The connection of this process, held by one thread."""
        with self._lock, self._guard():
            if self._pid != os.getpid():
                # SQLite's connections must not be used, nor closed, on the other side of a fork.
                self._inherited.append(self._connection)
                self._connection = self._connect()
                self._pid = os.getpid()
                self._matrix = None
            elif self._is_outdated() and not self._connection.in_transaction:
                outdated, self._connection = self._connection, self._connect()
                outdated.close()
                self._matrix = None
            yield self._connection

    @contextmanager
    def _transaction(self, begin: str) -> Iterator[sqlite3.Connection]:
        with self._open() as connection:
            connection.execute(begin)
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
            finally:
                if begin != "BEGIN":
                    self._matrix = None

    def _stored_header(self, connection: sqlite3.Connection) -> tuple[str, Header]:
        row = connection.execute("SELECT json FROM header").fetchone()
        try:
            return str(row[0]), Header.from_json(row[0])
        except (ValueError, TypeError):
            raise GalleryError(f"{self.url}: damaged header; restore a copy, nothing was changed") from None

    def add(self, person: str, templates: Sequence[Template], *, at: str) -> int:
        """See `Store`."""
        with self._transaction("BEGIN IMMEDIATE") as connection:
            added = self._insert(connection, self._header_text(connection), person, templates, at)
            if added:
                self._log(connection, at, "enroll", person, added)
        return added

    def _insert(
        self, connection: sqlite3.Connection, header: str, person: str, templates: Sequence[Template], at: str
    ) -> int:
        connection.execute("INSERT OR IGNORE INTO person (name) VALUES (?)", (person,))
        (number,) = connection.execute("SELECT id FROM person WHERE name = ?", (person,)).fetchone()
        added = 0
        for template in templates:
            bound_to = binding(header, person, template.id)
            if self._cipher is None:
                stored = template.vector.astype("<f4").tobytes()
            else:
                stored = self._cipher.seal(template.vector, bound_to)
            cursor = connection.execute(
                "INSERT OR IGNORE INTO template VALUES (?, ?, ?, ?, ?, ?, ?)",
                (
                    template.id,
                    number,
                    stored,
                    zlib.crc32(stored, zlib.crc32(bound_to)),
                    template.source,
                    template.quality,
                    at,
                ),
            )
            added += cursor.rowcount
        return added

    @staticmethod
    def _log(connection: sqlite3.Connection, at: str, what: str, person: str | None, templates: int) -> None:
        connection.execute(
            "INSERT INTO event (at, what, person, templates) VALUES (?, ?, ?, ?)",
            (at, what, person, templates),
        )

    def _header_text(self, connection: sqlite3.Connection) -> str:
        """The header as it is now, if no other process has put another model's templates in."""
        text, header = self._stored_header(connection)
        check_space(self.url, header, self.header)
        return text

    def remove(self, person: str, *, at: str, what: str) -> int:
        """See `Store`."""
        with self._transaction("BEGIN IMMEDIATE") as connection:
            row = connection.execute("SELECT id FROM person WHERE name = ?", (person,)).fetchone()
            if row is None:
                return 0
            removed = connection.execute("DELETE FROM template WHERE person = ?", row).rowcount
            connection.execute("DELETE FROM person WHERE id = ?", row)
            connection.execute("UPDATE event SET person = NULL WHERE person = ?", (person,))
            self._log(connection, at, what, None, removed)
        return removed

    def replace(self, header: Header, people: Mapping[str, Sequence[Template]], *, at: str) -> None:
        """See `Store`."""
        text = header.to_json()
        with self._transaction("BEGIN IMMEDIATE") as connection:
            dates = {person.name: (person.first, person.last) for person in self._people(connection)}
            connection.execute("DELETE FROM template")
            connection.execute("DELETE FROM person")
            connection.execute("UPDATE header SET json = ?", (text,))
            for person, templates in people.items():
                first, last = dates.get(person, (at, at))
                # Retention counts from the latest date, which a single template has to keep.
                added = self._insert(connection, text, person, templates[:1], last)
                added += self._insert(connection, text, person, templates[1:], first)
                self._log(connection, at, "reembed", person, added)
        self.header = header

    def people(self) -> list[Person]:
        """See `Store`."""
        with self._open() as connection:
            return self._people(connection)

    @staticmethod
    def _people(connection: sqlite3.Connection) -> list[Person]:
        rows = connection.execute(
            "SELECT name, count(*), min(at), max(at) FROM person JOIN template ON person = person.id"
            " GROUP BY person.id ORDER BY name"
        ).fetchall()
        return [Person(*row) for row in rows]

    def templates(self) -> Iterator[tuple[str, Template]]:
        """See `Store`."""
        with self._transaction("BEGIN") as connection:
            for name, number, vector, source, quality in self._rows(connection):
                yield name, Template(number, np.frombuffer(vector, "<f4").astype(np.float32), source, quality)

    def _rows(self, connection: sqlite3.Connection) -> Iterator[tuple[str, str, bytes, str, float | None]]:
        """Name, template id, little-endian float32 bytes, source, quality; checked, by name."""
        text = self._header_text(connection)
        size = 4 * self.header.dim
        for name, number, stored, checksum, source, quality in connection.execute(
            "SELECT name, template.id, vector, checksum, source, quality FROM person"
            " JOIN template ON person = person.id ORDER BY name, template.rowid"
        ):
            sound = isinstance(name, str) and isinstance(number, str) and isinstance(stored, bytes)
            bound_to = binding(text, name, number) if sound else b""
            if not sound or zlib.crc32(stored, zlib.crc32(bound_to)) != checksum:
                raise GalleryError(
                    f"{self.url}: a template of {name!r} is damaged; restore a copy, nothing was changed"
                )
            vector = stored if self._cipher is None else self._cipher.open(stored, bound_to)
            if len(vector) != size:
                raise GalleryError(f"{self.url}: a template of {name!r} has the wrong length; restore a copy")
            yield name, number, vector, source, quality

    def known(self, ids: Sequence[str]) -> set[str]:
        """See `Store`."""
        query = "SELECT 1 FROM template WHERE id = ?"
        with self._open() as connection:
            return {number for number in ids if connection.execute(query, (number,)).fetchone()}

    def count(self) -> int:
        """See `Store`."""
        with self._open() as connection:
            if self._is_current(connection):
                assert self._matrix is not None
                return len(self._matrix.rows)
            (count,) = connection.execute("SELECT count(*) FROM template").fetchone()
        return int(count)

    def search(self, probes: NDArray[np.float32], k: int) -> list[list[Candidate]]:
        """See `Store`."""
        return self._loaded().search(probes, k)

    def _is_current(self, connection: sqlite3.Connection) -> bool:
        """Whether the matrix is what the file holds: own writes drop it, others change the version."""
        (version,) = connection.execute("PRAGMA data_version").fetchone()
        if version != self._version:
            self._matrix = None  # it may be large: let it go before a new one is read
            self._version = version
        return self._matrix is not None

    def _loaded(self) -> Matrix:
        with self._open() as connection:
            if not self._is_current(connection):
                self._matrix = self._read()
            assert self._matrix is not None
            return self._matrix

    def _read(self) -> Matrix:
        with self._transaction("BEGIN") as connection:
            (count,) = connection.execute("SELECT count(*) FROM template").fetchone()
            rows = np.empty((count, self.header.dim), np.float32)
            names: list[str] = []
            starts: list[int] = []
            row = -1
            for row, (name, _, vector, _, _) in enumerate(self._rows(connection)):
                if not names or names[-1] != name:
                    names.append(name)
                    starts.append(row)
                rows[row] = np.frombuffer(vector, "<f4")
        if row + 1 != count:
            raise GalleryError(f"{self.url}: templates without a person; the file is damaged, restore a copy")
        return Matrix(tuple(names), np.array(starts, np.int64), rows)

    def events(self) -> list[Event]:
        """See `Store`."""
        with self._open() as connection:
            rows = connection.execute("SELECT at, what, person, templates FROM event ORDER BY id").fetchall()
        return [Event(*row) for row in rows]

    @property
    def retention_days(self) -> float | None:
        """See `Store`."""
        with self._open() as connection:
            row = connection.execute("SELECT value FROM setting WHERE key = 'retention_days'").fetchone()
        return None if row is None else row[0]

    @retention_days.setter
    def retention_days(self, days: float | None) -> None:
        with self._transaction("BEGIN IMMEDIATE") as connection:
            connection.execute("INSERT OR REPLACE INTO setting VALUES ('retention_days', ?)", (days,))

    def vacuum(self) -> None:
        """See `Store`: deleted pages are zeroed in place, then the file is rewritten without them."""
        with self._open() as connection:
            # The rewritten copy stays in memory instead of a temporary file elsewhere.
            connection.execute("PRAGMA temp_store=MEMORY")
            for statement in ("PRAGMA wal_checkpoint(TRUNCATE)", "VACUUM", "PRAGMA wal_checkpoint(TRUNCATE)"):
                row: tuple[Any, ...] | None = connection.execute(statement).fetchone()
                if row is not None and row[0]:
                    raise GalleryError(
                        f"{self.url}: another process is reading, so deleted data is still in "
                        f"{self.path.name}-wal; close it and run: "
                        f"pocketface gallery {shlex.quote(self.url)} --vacuum"
                    )

    def check(self) -> None:
        """See `Store`: SQLite's own check, then every template's checksum or seal."""
        with self._transaction("BEGIN") as connection:
            problems = connection.execute("PRAGMA integrity_check(1)").fetchone()[0]
            if problems != "ok":
                raise GalleryError(
                    f"{self.url}: damaged ({' '.join(problems.split())}); restore a copy, nothing was changed"
                )
            for _ in self._rows(connection):
                pass

    def close(self) -> None:
        """See `Store`."""
        with self._lock:
            if self._pid == os.getpid():
                self._connection.close()
            self._matrix = None


def _publish(made: Path, path: Path) -> None:
    """Give the complete file its name, unless another process was faster."""
    try:
        os.link(made, path)
    except FileExistsError:
        return
    except OSError:
        # No hard links here (Android, FAT); the other process would have to win between these lines.
        if not path.exists():
            os.replace(made, path)
    if os.name == "posix":
        folder = os.open(path.resolve().parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _explain(reason: str) -> str:
    if "locked" in reason or "busy" in reason:
        return f"another process has been writing for {_BUSY_SECONDS:.0f} s; nothing was changed, try again"
    if "readonly" in reason or "read-only" in reason:
        return "the file or its folder is read-only; nothing was changed"
    if "full" in reason or "disk I/O" in reason:
        return f"the disk is full or failing ({reason}); nothing was changed"
    if "not a database" in reason:
        return "not a gallery, or its first bytes are damaged; nothing was changed"
    if "malformed" in reason:
        return "the file is damaged; restore a copy, nothing was changed"
    return f"SQLite: {reason}"
