"""`python -m training.found WEIGHTS --faces FACES`: rates where the SDK's detector cuts held-out faces.

Stored faces are cut at YuNet's landmarks, but a student is used on what `pocketface` cuts, and teachers tell
people apart better there too. So each face is framed as in a photo, small or large and anywhere, and looked
for as a user's photo is, once; the thresholds are those of YuNet's cuts, as in the cards.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from pocketface import align, registry
from pocketface.detect import FaceDetector
from pocketface.errors import InputError, PocketfaceError
from training.morphs import photographed
from training.shards import CENTRE, MARGIN, SIZE, Face, read_faces
from training.stored import once

FRAME = 320
"""Pixels of a side of the photo that a face is framed in."""

SMALLEST, LARGEST = 80, 240
"""Limits of the side that the stored face, margin and all, has in it."""

ASIDE = 16.0
"""Landmarks further than that from the template's, on average in stored pixels, are another face's."""


def framed(face: Image.Image, rng: np.random.Generator) -> tuple[NDArray[np.uint8], float, tuple[int, int]]:
    """A photo of the face, uint8 `(320, 320, 3)` RGB and black around it; the face's scale, left and top."""
    side = round(SMALLEST * (LARGEST / SMALLEST) ** rng.random())
    left, top = (int(value) for value in rng.integers(0, FRAME - side + 1, 2))
    photo = Image.new("RGB", (FRAME, FRAME))
    photo.paste(face.resize((side, side), Image.Resampling.BICUBIC), (left, top))
    return np.asarray(photo), side / SIZE, (left, top)


def cut(detector: FaceDetector, face: Face) -> NDArray[np.float32]:
    """Float32 `(2, 3)`: where the pixels of the SDK's 112x112 crop lie in the stored face.

    Counted from the corner of the first pixel, as Pillow does; `CENTRE` where the face is not found.
    """
    rng = np.random.default_rng(int.from_bytes(hashlib.sha256(face.encoded).digest()[:8], "big"))
    photo, scale, corner = framed(face.decode(), rng)
    best, least = CENTRE, ASIDE
    for found in detector.detect(photo):
        points = (found.landmarks + 0.5 - corner) / scale - 0.5
        aside = float(np.linalg.norm(points - (align.TEMPLATE + MARGIN), axis=1).mean())
        if aside < least:
            best, least = _corners(np.linalg.inv(np.vstack([align.estimate(points), (0, 0, 1)]))[:2]), aside
    return best


def _corners(matrix: NDArray[np.float64]) -> NDArray[np.float32]:
    """The matrix between pixel centres as one between pixels' corners."""
    offset = matrix[:, 2] + 0.5 - matrix[:, :2] @ (0.5, 0.5)
    return np.column_stack([matrix[:, :2], offset]).astype(np.float32)


def cuts(faces: Sequence[Face], folder: Path, threads: int = 1) -> NDArray[np.float32]:
    """Float32 `(faces, 2, 3)`: the cut of each photo by the SDK's default detector, kept in `folder`.

    Blends are cut where they were made.
    """
    model = registry.default("detect")
    kept = folder / f"cuts-{model.id.replace('@', '-')}.npz"
    photos = photographed(faces)
    detector, keys = FaceDetector(model, threads=1), [face.token for face in photos]
    rows = once(keys, kept, lambda index: cut(detector, photos[index]), "cuts", threads)
    known = dict(zip(keys, rows, strict=True))
    return np.array([known.get(face.token, CENTRE) for face in faces], np.float32).reshape(-1, 2, 3)


def run(arguments: Sequence[str] | None) -> None:
    """Print rates at both cuts."""
    from training.average import network_of
    from training.evaluation import embed_faces, rates, verify
    from training.release import comparable
    from training.resume import read_state
    from training.students import embedder

    parser = argparse.ArgumentParser(prog="python -m training.found", description=__doc__)
    parser.add_argument("weights", type=Path, help="of a PocketNet, as a run or training.average leaves them")
    parser.add_argument(
        "--faces", type=Path, action="append", required=True, help="folder of shards; repeatable"
    )
    options = parser.parse_args(arguments)
    if not options.weights.is_file():
        raise InputError(f"{options.weights}: no such file")
    embed = embedder(network_of(read_state(options.weights), options.weights))
    faces = read_faces(options.faces, "heldout")
    faces = [faces[index] for index in comparable(faces)]
    people = [face.identity for face in faces]
    if not faces:
        raise InputError("--faces: no held-out pictures of people")
    detector = FaceDetector(registry.default("detect"), threads=1)
    where = np.array([cut(detector, face) for face in tqdm(faces, unit=" faces", disable=None)])
    lost = int((where == CENTRE).all(axis=(1, 2)).sum())
    print(f"{len(faces)} faces of {len(set(people))} people, {lost} not found by {detector.card.name}")
    points = verify(embed_faces(faces, embed), people).points
    found = rates(embed_faces(faces, embed, cuts=where), people, [point.threshold for point in points])
    for point, (fmr, tar) in zip(points, found, strict=True):
        print(f"FMR {point.fmr:g}: TAR {point.tar:.4f}; as found FMR {fmr:.3g}, TAR {tar:.4f}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure as the command line says; 2 with one line on bad input."""
    try:
        run(arguments)
    except (PocketfaceError, OSError) as error:
        print(f"training.found: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
