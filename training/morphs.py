"""`python -m training.morphs FACES --out DIR`: faces of nobody, each blended of two, for distillation.

A teacher sees a person in a blend of two aligned faces too, so a student that has seen few people can be
taught more: mixtures let distillation go on where distinct pictures run out (Beyer et al., "Knowledge
distillation: a good teacher is patient and consistent", CVPR 2022, section 3). Nobody is who a blend shows,
so it has no identity, and labels cannot be learnt from it.
"""

from __future__ import annotations

import argparse
import csv
import io
import math
import sys
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from pocketface.errors import InputError, PocketfaceError
from training.arguments import count
from training.shards import SIZE, Face, pixels, read_faces

SHARD = 2_000
"""Blends in a shard."""

COLUMNS = ("key", "shard", "source", "identity", "split")
SOURCE = "morph"

_CENTRE = np.array([76, 64]).reshape(2, 1, 1)
"""Row and column of a stored face between its eyes and mouth."""

_MIDDLE = np.s_[40:112, 36:92]
"""Of a stored face what is skin for the most part."""


def mask(rng: np.random.Generator) -> NDArray[np.float32]:
    """How much of the first face is seen where, 0 to 1: float32 `(128, 128)`.

    Half of them are one number from 0.35 to 0.65, the others fall from one to zero across a line through the
    middle of the face, over 8 to 48 pixels.
    """
    if rng.random() < 0.5:
        return np.full((SIZE, SIZE), rng.uniform(0.35, 0.65), np.float32)
    angle, width = rng.uniform(0, 2 * math.pi), rng.uniform(8, 48)
    y, x = np.mgrid[:SIZE, :SIZE] - (_CENTRE + rng.uniform(-10, 10, (2, 1, 1)))
    across = (x * math.cos(angle) + y * math.sin(angle)) / width
    return np.asarray(np.clip(across + 0.5, 0, 1), np.float32)


def blend(one: NDArray[np.uint8], other: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """One face made of two aligned ones, uint8 `(128, 128, 3)` each, in the light of the first."""
    if rng.random() < 0.5:
        other = other[:, ::-1]
    share = mask(rng)[..., None]
    mixed = share * one + (1 - share) * in_light_of(one, other)
    return np.asarray(np.clip(np.rint(mixed), 0, 255), np.uint8)


def in_light_of(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The second face with the mean and the deviation that the first has in each channel of its middle.

    As Reinhard et al., "Color transfer between images" (IEEE CG&A 2001), in RGB.
    """
    ours, theirs = (face[_MIDDLE].reshape(-1, 3).astype(np.float32) for face in (one, other))
    gain = ours.std(axis=0) / np.maximum(theirs.std(axis=0), 1)
    return np.asarray((other - theirs.mean(axis=0)) * np.minimum(gain, 3) + ours.mean(axis=0), np.float32)


def pairs(faces: Sequence[Face], wanted: int) -> Iterator[tuple[Face, Face]]:
    """Pairs of faces that are not of one person, the same ones each time; all faces take their turn."""
    rng = np.random.default_rng(0)
    made = 0
    while made < wanted:
        for a, b in zip(rng.permutation(len(faces)), rng.permutation(len(faces)), strict=True):
            one, other = faces[a], faces[b]
            if a == b or (one.identity and one.identity == other.identity):
                continue
            yield one, other
            made += 1
            if made == wanted:
                return


def photographed(faces: Sequence[Face]) -> list[Face]:
    """The faces that are no blends: what statistics of faces rest on."""
    return [face for face in faces if face.source != SOURCE]


def write(faces: Sequence[Face], wanted: int, out: Path) -> None:
    """Write `wanted` blends as shards with a manifest, as `training.shards` reads them; the manifest last."""
    people = {face.identity or face.key for face in faces}
    if len(people) < 2:
        raise InputError(f"a blend wants faces of two people, got {len(people)}")
    out.mkdir(parents=True, exist_ok=True)
    chosen = iter(tqdm(pairs(faces, wanted), total=wanted, unit=" faces", disable=None))
    rows: list[tuple[str, ...]] = []
    for start in range(0, wanted, SHARD):
        shard = f"{SOURCE}-{start // SHARD:03d}.tar"
        with tarfile.open(out / shard, "w") as archive:
            for number in range(start, min(start + SHARD, wanted)):
                one, other = next(chosen)
                # What a teacher sees is kept by key, so the key says what is seen.
                key = f"{SOURCE}-{number:06d}-{one.key}-{other.key}"
                picture = blend(pixels(one), pixels(other), np.random.default_rng((0, number)))
                data = io.BytesIO()
                Image.fromarray(picture).save(data, "WEBP", quality=90, method=2)
                member = tarfile.TarInfo(f"{key}.webp")
                member.size = data.tell()
                archive.addfile(member, io.BytesIO(data.getvalue()))
                rows.append((key, shard, SOURCE, "", "train"))
    part = out / "manifest.part"
    with part.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows((COLUMNS, *rows))
    part.replace(out / "manifest.csv")


def main(arguments: Sequence[str] | None = None) -> int:
    """Blend as the command line says; 2 with one line on bad input."""
    parser = argparse.ArgumentParser(prog="python -m training.morphs", description=__doc__)
    parser.add_argument("faces", type=Path, nargs="+", help="folder of shards; of its train split alone")
    parser.add_argument("--out", type=Path, required=True, help="folder for shards and manifest.csv")
    parser.add_argument("--count", type=count, help="blends; default: as many as there are faces")
    options = parser.parse_args(arguments)
    try:
        faces = photographed(read_faces(options.faces, "train"))
        write(faces, options.count or len(faces), options.out)
    except (PocketfaceError, OSError) as error:
        print(f"training.morphs: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
