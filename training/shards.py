"""Faces from tar shards: WebP 128x128 RGB, ArcFace template with a margin of 8 px on each side.

`manifest.csv` beside the shards has the columns key, shard, source, identity, split. Faces stay
encoded in memory, for decoding one costs a hundredth of training on it.
"""

from __future__ import annotations

import csv
import hashlib
import io
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pocketface.errors import InputError

SIZE = 128
"""Pixels of a side of a stored face."""

MARGIN = 8
"""Of which that is around the template's 112x112, on each side."""

CENTRE = np.array([[1, 0, MARGIN], [0, 1, MARGIN]], np.float32)
"""Where the pixels of a face without its margin lie in it, counted from the first one's corner."""

COLUMNS = {"key", "shard", "source", "identity", "split"}
"""Of a manifest, those that are read."""


@dataclass(frozen=True, slots=True)
class Face:
    """One stored face; `identity` is empty where unknown."""

    key: str
    identity: str
    source: str
    encoded: bytes

    def decode(self) -> Image.Image:
        """The picture, RGB, 128x128."""
        try:
            image = Image.open(io.BytesIO(self.encoded)).convert("RGB")
        except (OSError, SyntaxError) as error:
            raise InputError(f"{self.key}: damaged picture") from error
        if image.size != (SIZE, SIZE):
            raise InputError(f"{self.key}: expected {SIZE}x{SIZE}, got {image.width}x{image.height}")
        return image

    @property
    def token(self) -> str:
        """The key and a digest of the picture: a set prepared anew has other pictures under old keys."""
        return f"{self.key}:{hashlib.sha256(self.encoded).hexdigest()[:12]}"


def read_faces(folders: Iterable[Path], split: str) -> list[Face]:
    """All faces of a split, in the order of folders and shards; a shard not there yet is skipped.

    A key that an earlier folder had already is dropped, so that overlapping folders do no harm. Raises
    InputError where a folder has no manifest or a shard is damaged.
    """
    faces: list[Face] = []
    seen: set[str] = set()
    for folder in folders:
        manifest = folder / "manifest.csv"
        if not manifest.is_file():
            raise InputError(f"{folder}: no manifest.csv; python -m training.prepare makes shards of faces")
        with open(manifest, encoding="utf-8", newline="") as stream:
            reader = csv.DictReader(stream)
            if COLUMNS - set(reader.fieldnames or ()):
                raise InputError(f"{manifest}: expected the columns {', '.join(sorted(COLUMNS))}")
            rows = {row["key"]: row for row in reader if row["split"] == split}
        for shard in sorted({row["shard"] for row in rows.values()}):
            if not (folder / shard).is_file():
                continue
            try:
                with tarfile.open(folder / shard) as archive:
                    for member in archive:
                        key = PurePosixPath(member.name).stem
                        content = archive.extractfile(member) if member.isfile() else None
                        if content is None or key not in rows or key in seen:
                            continue
                        seen.add(key)
                        row = rows[key]
                        faces.append(Face(key, row["identity"], row["source"], content.read()))
            except tarfile.TarError as error:
                raise InputError(f"{folder / shard}: damaged shard: {error}") from error
    return faces


def pixels(face: Face) -> NDArray[np.uint8]:
    """The whole stored face: uint8 `(128, 128, 3)`, RGB."""
    return np.asarray(face.decode())


def centre(face: Face) -> NDArray[np.uint8]:
    """The face without its margin: uint8 `(112, 112, 3)`, RGB."""
    return np.asarray(face.decode().crop((MARGIN, MARGIN, SIZE - MARGIN, SIZE - MARGIN)))


def cropped(face: Face, cut: NDArray[np.float32]) -> NDArray[np.uint8]:
    """The face as another `cut` `(2, 3)` of it has it: uint8 `(112, 112, 3)`, RGB; black beyond its edges."""
    side = SIZE - 2 * MARGIN
    coefficients = tuple(cut.ravel().tolist())
    crop = face.decode().transform(
        (side, side), Image.Transform.AFFINE, coefficients, Image.Resampling.BILINEAR
    )
    return np.asarray(crop)
