"""Templates in PostgreSQL with the extension pgvector (`postgresql://user@host/database`).

The tables lie in a schema of their own, "pocketface" or `?schema=name`; each change is one transaction.
Searches are exact: the tables have no approximate index, and the server compares every template.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

import numpy as np

from pocketface.errors import ExtraError, GalleryError, InputError
from pocketface.gallery.records import Candidate, Event, Header, Person, Template, check_space

if TYPE_CHECKING:
    from numpy.typing import NDArray

_TABLES = """
CREATE SCHEMA IF NOT EXISTS {schema};
CREATE TABLE {schema}.header (only_one boolean PRIMARY KEY CHECK (only_one), json text NOT NULL);
CREATE TABLE {schema}.setting (key text PRIMARY KEY, value double precision);
CREATE TABLE {schema}.template (
    id text PRIMARY KEY, person text COLLATE "C" NOT NULL, vector {vector} NOT NULL, source text NOT NULL,
    quality double precision, at text NOT NULL, number bigint GENERATED ALWAYS AS IDENTITY
);
CREATE INDEX template_person ON {schema}.template (person);
CREATE TABLE {schema}.event (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, at text NOT NULL, what text NOT NULL, person text,
    templates integer NOT NULL
);
"""
_CREATION_LOCK = 0x70666163


class PostgresStore:
    """See `interface.Store`. Threads share one connection, which serves them one after the other."""

    def __init__(self, url: str, *, new: Header | None = None) -> None:
        """Connect, and make the tables when there are none.

        Args:
            url: as libpq takes it, with an optional `schema`; a password is better left to ~/.pgpass.
            new: header of the gallery to make.

        Raises:
            ExtraError: psycopg or pgvector is missing.
            GalleryError: no server, no extension "vector", or no gallery there and `new` was not given.
        """
        try:
            import psycopg
            from pgvector.psycopg import register_vector
        except ImportError:
            raise ExtraError('postgresql:// needs the extra: pip install "pocketface[postgres]"') from None
        self._lock = threading.RLock()
        self._error: type[Exception] = psycopg.Error
        parts = urlsplit(url)
        query = dict(parse_qsl(parts.query))
        self._schema = query.pop("schema", "pocketface")
        if not re.fullmatch(r"[a-z_][a-z0-9_]{0,62}", self._schema):
            raise InputError(f"a schema's name has small letters, digits and _, not {self._schema!r}")
        login, at, host = parts.netloc.rpartition("@")
        user, colon, password = login.partition(":")
        self.url = urlunsplit(parts._replace(netloc=user + at + host, query=""))
        # libpq would take what follows an "@" in a password for the host, and say so.
        server = user + colon + quote(password, safe="%") + at + host
        with self._guard():
            self._connection = psycopg.connect(
                urlunsplit(parts._replace(netloc=server, query=urlencode(query))), autocommit=True
            )
            try:
                self._prepare(new)
                self.header = self._stored_header()
                register_vector(self._connection)
            except BaseException:
                self._connection.close()
                raise

    def _prepare(self, new: Header | None) -> None:
        with self._connection.transaction():
            self._run("SELECT pg_advisory_xact_lock(%s)", _CREATION_LOCK)
            if self._run("SELECT to_regclass(%s)", f"{self._schema}.header")[0][0] is not None:
                return
            if new is None:
                raise GalleryError(f"{self.url}: no such gallery; enrol somebody first")
            self._run("CREATE EXTENSION IF NOT EXISTS vector")
            self._connection.execute(
                _TABLES.format(schema=self._schema, vector=f"vector({new.dim})").encode()
            )
            self._run("INSERT INTO {}.header VALUES (true, %s)", new.to_json())

    @contextmanager
    def _guard(self) -> Iterator[None]:
        # One thread at a time: what another ran meanwhile would be part of this one's transaction.
        with self._lock:
            try:
                yield
            except self._error as error:
                reason = " ".join(str(error).split())
                hint = (
                    "; install pgvector on the server" if "extension" in reason and "vector" in reason else ""
                )
                raise GalleryError(f"{self.url}: PostgreSQL: {reason}{hint}") from error

    def _run(self, query: str, *values: object) -> list[Any]:
        with self._guard():
            cursor = self._connection.execute(query.replace("{}", self._schema).encode(), values)
            return cursor.fetchall() if cursor.description is not None else []

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._guard(), self._connection.transaction():
            yield

    def _stored_header(self, lock: str = "") -> Header:
        return Header.from_json(self._run(f"SELECT json FROM {{}}.header {lock}")[0][0])

    def add(self, person: str, templates: Sequence[Template], *, at: str) -> int:
        """See `Store`."""
        with self._transaction():
            check_space(self.url, self._stored_header("FOR SHARE"), self.header)
            added = self._insert(person, templates, at)
            if added:
                self._event(at, "enroll", person, added)
        return added

    def _insert(self, person: str, templates: Sequence[Template], at: str) -> int:
        added = 0
        for template in templates:
            added += len(
                self._run(
                    "INSERT INTO {}.template (id, person, vector, source, quality, at)"
                    " VALUES (%s, %s, %s, %s, %s, %s)"
                    " ON CONFLICT (id) DO NOTHING RETURNING 1",
                    template.id, person, template.vector, template.source, template.quality, at,
                )
            )  # fmt: skip
        return added

    def _event(self, at: str, what: str, person: str | None, templates: int) -> None:
        self._run(
            "INSERT INTO {}.event (at, what, person, templates) VALUES (%s, %s, %s, %s)",
            at,
            what,
            person,
            templates,
        )

    def remove(self, person: str, *, at: str, what: str) -> int:
        """See `Store`."""
        with self._transaction():
            removed = len(self._run("DELETE FROM {}.template WHERE person = %s RETURNING 1", person))
            if removed:
                self._run("UPDATE {}.event SET person = NULL WHERE person = %s", person)
                self._event(at, what, None, removed)
        return removed

    def replace(self, header: Header, people: Mapping[str, Sequence[Template]], *, at: str) -> None:
        """See `Store`."""
        with self._transaction():
            # The header first, which `add` locks: nothing is added between these lines.
            self._run("UPDATE {}.header SET json = %s", header.to_json())
            dates = {person.name: (person.first, person.last) for person in self.people()}
            self._run("DELETE FROM {}.template")
            self._run(f"ALTER TABLE {{}}.template ALTER COLUMN vector TYPE vector({int(header.dim)})")
            for person, templates in people.items():
                first, last = dates.get(person, (at, at))
                # Retention counts from the latest date, which a single template has to keep.
                added = self._insert(person, templates[:1], last) + self._insert(person, templates[1:], first)
                self._event(at, "reembed", person, added)
        self.header = header

    def people(self) -> list[Person]:
        """See `Store`."""
        rows = self._run(
            "SELECT person, count(*), min(at), max(at) FROM {}.template GROUP BY person ORDER BY person"
        )
        return [Person(*row) for row in rows]

    def templates(self) -> Iterator[tuple[str, Template]]:
        """See `Store`."""
        for person, number, vector, source, quality in self._run(
            "SELECT person, id, vector::real[], source, quality FROM {}.template ORDER BY person, number"
        ):
            yield person, Template(number, np.array(vector, np.float32), source, quality)

    def known(self, ids: Sequence[str]) -> set[str]:
        """See `Store`."""
        return {row[0] for row in self._run("SELECT id FROM {}.template WHERE id = ANY(%s)", list(ids))}

    def count(self) -> int:
        """See `Store`."""
        return int(self._run("SELECT count(*) FROM {}.template")[0][0])

    def search(self, probes: NDArray[np.float32], k: int) -> list[list[Candidate]]:
        """See `Store`."""
        # <#> is the negative inner product, as pgvector sorts ascending only.
        query = (
            "SELECT person, max(-(vector <#> %s)) AS similarity FROM {}.template"
            " GROUP BY person ORDER BY similarity DESC, person LIMIT %s"
        )
        with self._transaction():
            # One snapshot for the header and the templates.
            self._run("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            check_space(self.url, self._stored_header(), self.header)
            return [
                [Candidate(row[0], float(row[1])) for row in self._run(query, probe, k)] for probe in probes
            ]

    def events(self) -> list[Event]:
        """See `Store`."""
        return [
            Event(*row) for row in self._run("SELECT at, what, person, templates FROM {}.event ORDER BY id")
        ]

    @property
    def retention_days(self) -> float | None:
        """See `Store`."""
        rows = self._run("SELECT value FROM {}.setting WHERE key = 'retention_days'")
        return rows[0][0] if rows else None

    @retention_days.setter
    def retention_days(self, days: float | None) -> None:
        self._run(
            "INSERT INTO {}.setting VALUES ('retention_days', %s)"
            " ON CONFLICT (key) DO UPDATE SET value = excluded.value",
            days,
        )

    def vacuum(self) -> None:
        """See `Store`: rewrites the tables; old pages stay in the server's log and backups for a while."""
        for table in ("template", "event"):
            self._run(f"VACUUM (FULL) {{}}.{table}")

    def check(self) -> None:
        """See `Store`: reads every row; page checksums are the server's business."""
        for person, template in self.templates():
            if abs(float(np.linalg.norm(template.vector)) - 1) > 1e-3:
                raise GalleryError(
                    f"{self.url}: a template of {person!r} is not of unit norm; it was changed"
                )

    def close(self) -> None:
        """See `Store`."""
        self._connection.close()
