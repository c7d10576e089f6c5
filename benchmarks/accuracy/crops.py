"""Pictures of a protocol to aligned crops: by a detector, by shipped landmarks, or taken as they are.

Crops are kept on disk in blocks, under a key of everything that they depend on (pictures, detector,
code), so that an interrupted run goes on and the next embedder starts from the same crops.
"""

from __future__ import annotations

import hashlib
import os
import zipfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pocketface import images
from pocketface.align import CROP_SIZE, align
from pocketface.errors import InputError
from pocketface.recognizer import choose
from pocketface.tuning import cache_folder

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from benchmarks.accuracy.protocols.pairs import Picture
    from pocketface.detect import FaceDetector
    from pocketface.types import Face

BLOCK = 256
# What turns a picture into a crop: reading, the views that the detector sees, the choice of the face.
_CODE = ("images", "views", "detect", "decoders", "recognizer", "align", "network")


@dataclass(frozen=True)
class CropSource:
    """Where a protocol's crops come from.

    Attributes:
        pictures: the protocol's pictures.
        digest: names them (`Pairs.digest`).
        detector: finds the faces in whole photos; None for pictures that are crops already, or
            that come with landmarks.
        folder: the cache; None keeps nothing.
        size: pictures in a block.
    """

    pictures: Sequence[Picture]
    digest: str
    detector: FaceDetector | None
    folder: Path | None
    size: int = BLOCK

    @cached_property
    def key(self) -> str:
        """Names these crops: pictures, detector and the code that makes crops."""
        found_by = "aligned" if self.detector is None else self.detector.card.sha256[:16]
        return f"{self.digest}-{found_by}-{code_digest(*_CODE)}"

    @property
    def blocks(self) -> int:
        """Number of blocks of `size` pictures, the last one smaller."""
        return -(-len(self.pictures) // self.size)

    def block(self, number: int) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        """One block.

        Returns:
            uint8 `(n, 112, 112, 3)` RGB crops, black where no face was found, and `(n,)` found.
        """
        pictures = self.pictures[number * self.size : (number + 1) * self.size]
        file = None if self.folder is None else self.folder / "crops" / self.key / f"{number:05d}.npz"
        if (kept := stored(file)) is not None:
            return kept["crops"], kept["found"]
        results = [self._crop(picture) for picture in pictures]
        blank = np.zeros((CROP_SIZE, CROP_SIZE, 3), np.uint8)
        crops = np.stack([blank if crop is None else crop for crop in results])
        found = np.array([crop is not None for crop in results])
        if file is not None:
            save(file, crops=crops, found=found)
        return crops, found

    def _crop(self, picture: Picture) -> NDArray[np.uint8] | None:
        image = images.load(picture.source)
        if self.detector is not None:
            faces = self.detector.detect(image)
            return align(image, _meant(faces, picture, image).landmarks) if faces else None
        if picture.landmarks is not None:
            return align(image, np.array(picture.landmarks))
        side = CROP_SIZE + 2 * picture.margin
        if image.shape[:2] != (side, side):
            height, width = image.shape[:2]
            raise InputError(
                f"{picture.name}: {width}x{height} is no aligned crop of {side}x{side}; "
                "give --detector to find the faces in whole photos"
            )
        inside = slice(picture.margin, picture.margin + CROP_SIZE)
        return np.ascontiguousarray(image[inside, inside])


def _meant(faces: list[Face], picture: Picture, image: NDArray[np.uint8]) -> Face:
    """The face that the data set means: nearest to its landmarks, else to the picture's centre."""
    if picture.landmarks is None:
        return choose(faces, "central", image.shape)[0]
    middle = np.mean(picture.landmarks, axis=0)
    return min(faces, key=lambda face: float(np.hypot(*((face.bbox[:2] + face.bbox[2:]) / 2 - middle))))


def code_digest(*modules: str) -> str:
    """Names the state of some modules of `pocketface`, so that changed code is measured anew."""
    state = hashlib.sha256()
    for module in modules:
        state.update((Path(images.__file__).parent / f"{module}.py").read_bytes())
    return state.hexdigest()[:8]


def save(file: Path, **arrays: NDArray[Any]) -> None:
    """Write arrays whole or not at all."""
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_suffix(f".{os.getpid()}.part")
    with part.open("wb") as stream:
        np.savez(stream, allow_pickle=False, **arrays)
    part.replace(file)


def stored(file: Path | None) -> dict[str, NDArray[Any]] | None:
    """What `save` wrote; None where there is nothing or the file is damaged, so that it is made anew."""
    if file is None:
        return None
    try:
        with file.open("rb") as stream, np.load(stream) as arrays:
            return dict(arrays)
    except (OSError, EOFError, ValueError, zipfile.BadZipFile):
        return None


def default_folder() -> Path:
    """Where crops and embeddings are kept: a few hundred megabytes for LFW."""
    return cache_folder() / "benchmarks"
