"""Aligned faces for verification and calibration: a tar of pictures, or a folder of them."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from pocketface.errors import InputError

_SUFFIXES = (".webp", ".png", ".jpg", ".jpeg")


def read_faces(source: Path, count: int, size: int = 112) -> NDArray[np.uint8]:
    """The first `count` pictures, RGB, cut to the centre `size` x `size`.

    Args:
        source: tar file, or folder (searched for pictures, then for tars), of faces aligned to the ArcFace template with
            an equal margin on all sides (128x128 has 8 pixels).
        count: how many to read at most.
        size: side of the result in pixels.

    Returns:
        uint8 `(n, size, size, 3)`, RGB.

    Raises:
        InputError: there is no picture, or one is unreadable or smaller than `size`.
    """
    faces = []
    for name, data in _entries(source):
        try:
            picture = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
        except (UnidentifiedImageError, OSError) as error:
            raise InputError(f"{source}: {name} is no picture") from error
        height, width = picture.shape[:2]
        if min(height, width) < size:
            raise InputError(f"{source}: {name} is {width}x{height}, smaller than {size}x{size}")
        top, left = (height - size) // 2, (width - size) // 2
        faces.append(picture[top : top + size, left : left + size])
        if len(faces) == count:
            break
    if not faces:
        raise InputError(f"{source}: no pictures ({', '.join(_SUFFIXES)}) found")
    return np.stack(faces)


def _entries(source: Path) -> Iterator[tuple[str, bytes]]:
    if source.is_dir():
        paths = sorted(p for p in source.rglob("*") if p.suffix.lower() in _SUFFIXES)
        for path in paths:
            yield path.name, path.read_bytes()
        if not paths:
            for tar in sorted(source.glob("*.tar")):
                yield from _entries(tar)
    elif source.is_file() and tarfile.is_tarfile(source):
        with tarfile.open(source) as tar_file:
            for member in tar_file:
                file = tar_file.extractfile(member)
                if file is not None and member.name.lower().endswith(_SUFFIXES):
                    yield member.name, file.read()
    else:
        raise InputError(f"{source}: expected a folder of pictures or a tar of them")
