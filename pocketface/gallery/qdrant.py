"""Templates in Qdrant: a server (`qdrant://host:6333/collection`), or its embedded mode (`qdrant:///folder`).

Two collections: the templates with their vectors, one point each, and `<name>-log` without vectors for
the header, the settings and the log. Qdrant has no transactions over several calls: a person's templates
go in one upsert, which its write-ahead log applies as a whole, and the log entry goes before it.
Searches ask for exact results. API key of a server: $POCKETFACE_QDRANT_KEY.
"""

from __future__ import annotations

import os
import re
import shlex
import threading
import uuid
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import numpy as np

from pocketface.errors import ExtraError, GalleryError, InputError
from pocketface.gallery.records import Candidate, Event, Header, Person, Template, check_space

if TYPE_CHECKING:
    from numpy.typing import NDArray

_NAMESPACE = uuid.UUID("1b671a64-40d5-491e-99b0-da01ff1f3341")
_HEADER = str(uuid.uuid5(_NAMESPACE, "header"))
_RETENTION = str(uuid.uuid5(_NAMESPACE, "retention"))
_PAGE = 1000


class QdrantStore:
    """See `interface.Store`."""

    def __init__(self, url: str, *, new: Header | None = None) -> None:
        """Connect, and make the collections when there are none.

        Args:
            url: `qdrant://host[:port]/collection`, with `?tls=1` for TLS; `qdrant:///folder?collection=name`
                for the embedded mode. The collection is "people" by default.
            new: header of the gallery to make.

        Raises:
            ExtraError: qdrant-client is missing.
            GalleryError: no server, or no gallery there and `new` was not given.
        """
        try:
            import qdrant_client
        except ImportError:
            raise ExtraError('qdrant:// needs the extra: pip install "pocketface[qdrant]"') from None
        self._models = qdrant_client.models
        self._lock = threading.RLock()
        self.url = url
        parts = urlsplit(url)
        options = parse_qs(parts.query)
        in_path = parts.path.strip("/") if parts.hostname else ""
        self._name = options.get("collection", [in_path or "people"])[0]
        if not re.fullmatch(r"[A-Za-z0-9_-]{1,100}", self._name):
            raise InputError(f"{url}: a collection's name has letters, digits, - and _, not {self._name!r}")
        self._log = f"{self._name}-log"
        missing = GalleryError(
            f"{url}: no such gallery; enrol somebody first: pocketface enroll {shlex.quote(url)} NAME PHOTO"
        )
        if new is None and not parts.hostname and not Path(parts.path, "meta.json").exists():
            raise missing  # the embedded mode would make the folder
        # The embedded mode is always exact, and warns when it is asked to be.
        self._exact = self._models.SearchParams(exact=True) if parts.hostname else None
        with self._guard():
            if parts.hostname:
                self._client = qdrant_client.QdrantClient(
                    host=parts.hostname,
                    port=parts.port or 6333,
                    https="tls" in options,
                    api_key=os.environ.get("POCKETFACE_QDRANT_KEY"),
                    check_compatibility=False,
                )
            else:
                # For the owner alone, as these are biometric data.
                Path(parts.path).mkdir(mode=0o700, parents=True, exist_ok=True)
                self._client = qdrant_client.QdrantClient(path=parts.path)
            if not self._client.collection_exists(self._log):
                if new is None:
                    self._client.close()
                    raise missing
                self._create(new)
        try:
            self.header = self._stored_header()
        except BaseException:
            self._client.close()
            raise

    def _create(self, header: Header) -> None:
        models = self._models
        if not self._client.collection_exists(self._name):
            self._client.create_collection(
                self._name,
                vectors_config=models.VectorParams(
                    size=header.dim, distance=models.Distance.DOT, on_disk=True
                ),
            )
            with warnings.catch_warnings():
                # The embedded mode has no indexes and says so.
                warnings.simplefilter("ignore", UserWarning)
                self._client.create_payload_index(self._name, "person", models.PayloadSchemaType.KEYWORD)
        # The log is made last: a gallery without it does not exist.
        self._client.create_collection(self._log, vectors_config={})
        self._write(_HEADER, {"kind": "header", "json": header.to_json()})

    @contextmanager
    def _guard(self) -> Iterator[None]:
        from httpx import HTTPError
        from qdrant_client.http.exceptions import ApiException

        # One thread at a time, as the embedded mode needs it.
        with self._lock:
            try:
                yield
            except (ApiException, HTTPError, ValueError, RuntimeError, OSError) as error:
                reason = " ".join(str(error).split())
                raise GalleryError(f"{self.url}: Qdrant: {reason[:200]}") from error

    def _write(self, number: str, payload: dict[str, Any]) -> None:
        self._client.upsert(
            self._log, [self._models.PointStruct(id=number, vector={}, payload=payload)], wait=True
        )

    def _read(self, collection: str, where: dict[str, Any], *, vectors: bool = False) -> Iterator[Any]:
        offset = None
        while True:
            points, offset = self._client.scroll(
                collection, self._filter(where), limit=_PAGE, offset=offset, with_vectors=vectors
            )
            yield from points
            if offset is None:
                return

    def _points(self, collection: str, ids: list[str], with_payload: Any = True) -> list[Any]:
        return list(self._client.retrieve(collection, ids, with_payload=with_payload))

    def _filter(self, where: dict[str, Any]) -> Any:
        models = self._models
        return models.Filter(
            must=[
                models.FieldCondition(key=key, match=models.MatchValue(value=value))
                for key, value in where.items()
            ]
        )

    def _event(self, at: str, what: str, person: str | None, templates: int) -> None:
        self._write(
            str(uuid.uuid4()),
            {"kind": "event", "at": at, "what": what, "person": person, "templates": templates},
        )

    def _stored_header(self) -> Header:
        with self._guard():
            points = self._points(self._log, [_HEADER])
        if not points:
            raise GalleryError(
                f"{self.url}: the gallery has no header; its creation was interrupted, delete it"
            )
        return Header.from_json(points[0].payload["json"])

    def add(self, person: str, templates: Sequence[Template], *, at: str) -> int:
        """See `Store`."""
        check_space(self.url, self._stored_header(), self.header)
        known = self.known([template.id for template in templates])
        fresh = {template.id: template for template in templates if template.id not in known}
        if not fresh:
            return 0
        points = [
            self._models.PointStruct(
                id=_point(template.id),
                vector=template.vector.tolist(),
                payload={
                    "person": person,
                    "id": template.id,
                    "source": template.source,
                    "quality": template.quality,
                    "at": at,
                },
            )
            for template in fresh.values()
        ]
        with self._guard():
            self._event(at, "enroll", person, len(points))
            self._client.upsert(self._name, points, wait=True)
        return len(points)

    def remove(self, person: str, *, at: str, what: str) -> int:
        """See `Store`."""
        where = {"person": person}
        with self._guard():
            count = self._client.count(self._name, self._filter(where), exact=True).count
            if not count:
                return 0
            self._client.delete(
                self._name, self._models.FilterSelector(filter=self._filter(where)), wait=True
            )
            for point in self._read(self._log, where):
                self._write(point.id, {**point.payload, "person": None})
            self._event(at, what, None, count)
        return int(count)

    def replace(self, header: Header, people: Mapping[str, Sequence[Template]], *, at: str) -> None:
        """Not on Qdrant, which cannot exchange everything at once.

        Raises:
            GalleryError: always; a new collection is the way.
        """
        raise GalleryError(
            f"{self.url}: Qdrant has no transactions; enrol into a new collection and delete this one"
        )

    def people(self) -> list[Person]:
        """See `Store`."""
        times: dict[str, list[str]] = {}
        with self._guard():
            for point in self._read(self._name, {}):
                times.setdefault(point.payload["person"], []).append(point.payload["at"])
        return [Person(name, len(at), min(at), max(at)) for name, at in sorted(times.items())]

    def templates(self) -> Iterator[tuple[str, Template]]:
        """See `Store`."""
        with self._guard():
            points = sorted(
                self._read(self._name, {}, vectors=True),
                key=lambda p: (p.payload["person"], p.payload["at"], p.id),
            )
        for point in points:
            row = point.payload
            vector = np.array(point.vector, np.float32)
            yield row["person"], Template(row["id"], vector, row["source"], row["quality"])

    def known(self, ids: Sequence[str]) -> set[str]:
        """See `Store`."""
        with self._guard():
            points = self._points(self._name, [_point(number) for number in ids], with_payload=["id"])
        return {point.payload["id"] for point in points}

    def count(self) -> int:
        """See `Store`."""
        with self._guard():
            return int(self._client.count(self._name, exact=True).count)

    def search(self, probes: NDArray[np.float32], k: int) -> list[list[Candidate]]:
        """See `Store`."""
        check_space(self.url, self._stored_header(), self.header)
        found = []
        with self._guard():
            for probe in probes:
                groups = self._client.query_points_groups(
                    self._name,
                    group_by="person",
                    query=probe.tolist(),
                    limit=k,
                    group_size=1,
                    search_params=self._exact,
                    with_payload=["person"],
                ).groups
                row = [Candidate(str(group.id), float(group.hits[0].score)) for group in groups]
                found.append(sorted(row, key=lambda candidate: (-candidate.similarity, candidate.person)))
        return found

    def events(self) -> list[Event]:
        """See `Store`."""
        with self._guard():
            rows = [point.payload for point in self._read(self._log, {"kind": "event"})]
        rows.sort(key=lambda row: row["at"])
        return [Event(row["at"], row["what"], row["person"], row["templates"]) for row in rows]

    @property
    def retention_days(self) -> float | None:
        """See `Store`."""
        with self._guard():
            points = self._points(self._log, [_RETENTION])
        return points[0].payload["days"] if points else None

    @retention_days.setter
    def retention_days(self, days: float | None) -> None:
        with self._guard():
            self._write(_RETENTION, {"kind": "retention", "days": days})

    def vacuum(self) -> None:
        """Nothing to do: a Qdrant server rewrites its segments by itself, when it finds it worth while."""

    def check(self) -> None:
        """See `Store`."""
        if self.header.dim != self._size():
            raise GalleryError(f"{self.url}: the collection's vectors are not of the header's dimension")

    def _size(self) -> int:
        with self._guard():
            vectors: Any = self._client.get_collection(self._name).config.params.vectors
            return int(vectors.size)

    def close(self) -> None:
        """See `Store`."""
        self._client.close()


def _point(number: str) -> str:
    return str(uuid.uuid5(_NAMESPACE, number))
