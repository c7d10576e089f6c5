"""The shards: WebP crops in tar files and one manifest, complete or absent at any moment."""

import csv
import io
import json
import tarfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from training.prepare.guard import Prints
from training.yunet import Array, Picture

COLUMNS = ("key", "shard", "source", "identity", "split", "face_px", "original")
Row = dict[str, str]


def read_manifest(folder: Path) -> list[Row]:
    """The rows of a folder's `manifest.csv`, none when there is none."""
    path = folder / "manifest.csv"
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def write_manifest(folder: Path, rows: Sequence[Row]) -> None:
    """Write the rows as a folder's `manifest.csv`, by renaming: a reader never sees half of it."""
    partial = folder / "manifest.part"
    with partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    partial.replace(folder / "manifest.csv")


@dataclass
class Writer:
    """Collects faces and writes a shard, its notes for a resumed run and the manifest at once.

    Everything of a shard is written under another name and renamed, the manifest last: a run that
    was killed loses only the shard it was filling.
    """

    folder: Path
    prefix: str
    size: int
    rows: list[Row] = field(default_factory=list)
    _faces: list[tuple[str, bytes]] = field(default_factory=list)
    _new: list[Row] = field(default_factory=list)
    _prints: list[Prints] = field(default_factory=list)
    _embeddings: list[Array] = field(default_factory=list)
    _looked: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.rows = read_manifest(self.folder)
        self._shard = len({row["shard"] for row in self.rows})

    def notes(self) -> list[tuple[list[str], Prints, Array]]:
        """Of each finished shard: the pictures looked at, hashes (n, 4) and embeddings (n, d)."""
        found = []
        for shard in sorted({row["shard"] for row in self.rows}):
            with np.load(self.folder / f"{Path(shard).stem}.npz") as stored:
                found.append((json.loads(str(stored["looked"])), stored["prints"], stored["embeddings"]))
                self.counts = Counter(json.loads(str(stored["counts"])))
        return found

    def looked_at(self, name: str, outcome: str) -> None:
        """Note that a picture was worked on, and what became of it."""
        self._looked.append(name)
        self.counts[outcome] += 1

    def add(self, face: Picture, row: Row, value: Prints, embedding: Array) -> None:
        """Take a crop (128, 128, 3) uint8 RGB; `row` holds source, identity, split, face_px, original."""
        data = io.BytesIO()
        Image.fromarray(face).save(data, "WEBP", quality=80, method=2)
        number = len(self.rows) + len(self._new)
        key = f"{self.prefix}-{row['source']}-{number:06d}"
        self._new.append(
            {"key": key, "shard": f"{self.prefix}-{self._shard:03d}.tar", "split": "train", **row}
        )
        self._faces.append((key, data.getvalue()))
        self._prints.append(value)
        self._embeddings.append(embedding)
        if len(self._new) >= self.size:
            self.finish()

    def finish(self) -> None:
        """Write what was collected as one shard."""
        if not self._new:
            return
        stem = f"{self.prefix}-{self._shard:03d}"
        partial = self.folder / f"{stem}.part"
        with tarfile.open(partial, "w") as tar:
            for key, data in self._faces:
                member = tarfile.TarInfo(f"{key}.webp")
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
        partial.rename(self.folder / f"{stem}.tar")
        partial = self.folder / f"{stem}.part.npz"
        np.savez(
            partial,
            looked=json.dumps(self._looked),
            prints=np.array(self._prints),
            embeddings=np.array(self._embeddings),
            counts=json.dumps(self.counts),
        )
        partial.rename(self.folder / f"{stem}.npz")
        self.rows += self._new
        write_manifest(self.folder, self.rows)
        self._shard += 1
        self._faces, self._new, self._prints, self._embeddings, self._looked = [], [], [], [], []
