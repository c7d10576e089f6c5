"""Pictures for verification and calibration: a tar of them, or a folder."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from pocketface import golden
from pocketface.errors import InputError

_SUFFIXES = (".webp", ".png", ".jpg", ".jpeg")


def read_faces(source: Path, count: int, size: int = 112) -> NDArray[np.uint8]:
    """The first `count` aligned faces, cut to their centre.

    Args:
        source: tar file, or folder (searched for pictures, else for tars), of faces aligned to the
            ArcFace template with an equal margin on all sides (128x128 has 8 pixels).
        count: how many to read at most.
        size: side of the result in pixels.

    Returns:
        uint8 `(n, size, size, 3)`, RGB.

    Raises:
        InputError: there is no picture, or one is unreadable or smaller than `size`.
    """
    faces = []
    for name, picture in _pictures(source, count):
        width, height = picture.size
        if min(height, width) < size:
            raise InputError(f"{source}: {name} is {width}x{height}, smaller than {size}x{size}")
        left, top = (width - size) // 2, (height - size) // 2
        faces.append(np.asarray(picture.crop((left, top, left + size, top + size))))
    return np.stack(faces)


def read_scenes(source: Path, count: int, size: tuple[int, int]) -> NDArray[np.uint8]:
    """The first `count` pictures, fitted into `size` (height, width) at the top left, black beyond.

    Returns:
        uint8 `(n, height, width, 3)`, RGB.

    Raises:
        InputError: there is no picture, or one is unreadable.
    """
    scenes = np.zeros((count, *size, 3), np.uint8)
    found = 0
    for _, picture in _pictures(source, count):
        fitted = np.asarray(ImageOps.contain(picture, (size[1], size[0])))
        scenes[found, : fitted.shape[0], : fitted.shape[1]] = fitted
        found += 1
    return scenes[:found]


def own_pictures(size: tuple[int, int]) -> NDArray[np.uint8]:
    """The self-test's face, public domain, in six views: when no pictures are given.

    Returns:
        uint8 `(6, height, width, 3)`, RGB.
    """
    face = Image.fromarray(golden.crop())
    views = [face, ImageOps.mirror(face), face.rotate(8), ImageOps.mirror(face).rotate(-15)]
    views += [face.point(lambda v: v // 2), face.crop((10, 10, 102, 102))]
    return np.stack([np.asarray(view.resize((size[1], size[0]))) for view in views])


def _pictures(source: Path, count: int) -> Iterator[tuple[str, Image.Image]]:
    found = 0
    for name, data in _entries(source):
        try:
            picture = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")
        except Image.DecompressionBombError as error:
            raise InputError(f"{source}: {name} has too many pixels; make it smaller") from error
        except (OSError, SyntaxError, ValueError) as error:  # Pillow's, of damaged files
            raise InputError(f"{source}: {name} is no picture") from error
        yield name, picture
        found += 1
        if found == count:
            return
    if not found:
        raise InputError(f"{source}: no pictures ({', '.join(_SUFFIXES)}) found")


def _entries(source: Path) -> Iterator[tuple[str, bytes]]:
    if source.is_dir():
        paths = sorted(p for p in source.rglob("*") if p.suffix.lower() in _SUFFIXES)
        for path in paths:
            yield path.name, path.read_bytes()
        if not paths:
            for tar in sorted(source.glob("*.tar")):
                yield from _entries(tar)
    elif source.is_file() and tarfile.is_tarfile(source):
        try:
            with tarfile.open(source) as tar_file:
                for member in tar_file:
                    file = tar_file.extractfile(member)
                    if file is not None and member.name.lower().endswith(_SUFFIXES):
                        yield member.name, file.read()
        except (tarfile.TarError, EOFError) as error:
            raise InputError(f"{source}: a damaged tar ({error}); get it again") from error
    else:
        raise InputError(f"{source}: expected a folder of pictures or a tar of them")
