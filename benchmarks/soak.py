"""Thousands of pictures of varying size through one recogniser: resident memory must stay flat.

    python -m benchmarks.soak --count 10000

Faces of the photos given are pasted at random sizes into pictures of random sizes, as arrays, JPEG and PNG
bytes, some damaged. Memory is compared between the first fifth, in which caches fill, and the end.
"""

from __future__ import annotations

import argparse
import io
import random
import sys
import time
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.shell import one_line
from pocketface import FaceRecognizer, ImageError, NoFaceError
from pocketface.cli.common import positive

with one_line():
    import psutil

PHOTOS = Path(__file__).resolve().parent.parent / "examples" / "photos"
ALLOWED_GROWTH = 30.0  # megabytes, after the first fifth
SIDES = (64, 640)


def picture(photos: list[Image.Image], rng: random.Random) -> Image.Image:
    """A photo at a random size somewhere in a picture of a random size."""
    canvas = Image.new("RGB", (rng.randint(*SIDES), rng.randint(*SIDES)), (rng.randrange(256), 90, 120))
    photo = rng.choice(photos)
    scale = rng.uniform(0.2, 1.2) * min(canvas.width / photo.width, canvas.height / photo.height)
    small = photo.resize((max(round(photo.width * scale), 1), max(round(photo.height * scale), 1)))
    canvas.paste(small, (rng.randint(0, canvas.width // 2), rng.randint(0, canvas.height // 2)))
    return canvas


def as_source(
    image: Image.Image, rng: random.Random
) -> bytes | np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """The picture as an array or as a file, one in ten of those truncated."""
    form = rng.choice(("array", "JPEG", "PNG"))
    if form == "array":
        return np.asarray(image)
    buffer = io.BytesIO()
    image.save(buffer, form)
    data = buffer.getvalue()
    return data[: len(data) // 2] if rng.random() < 0.1 else data


def main() -> int:
    """Run the soak; 1 when memory grew."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.soak",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--count", type=positive, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--detector", help="name or file; the default one when not given")
    parser.add_argument("--embedder", help="name or file; the default one when not given")
    args = parser.parse_args()
    rng = random.Random(args.seed)
    photos = [Image.open(path).convert("RGB") for path in sorted(PHOTOS.glob("*.jpg"))]
    recognizer = FaceRecognizer(args.detector, args.embedder, threads=1, channel_order="rgb")
    process = psutil.Process()
    resident: list[float] = []
    faces = failed = 0
    began = time.monotonic()
    for number in range(1, args.count + 1):
        try:
            recognizer.embed(as_source(picture(photos, rng), rng))
            faces += 1
        except (ImageError, NoFaceError):
            failed += 1
        if number % max(args.count // 50, 1) == 0:
            resident.append(process.memory_info().rss / 2**20)
            print(f"{number} pictures, {resident[-1]:.0f} MB", file=sys.stderr, flush=True)
    warm, end = max(resident[: max(1, len(resident) // 5)]), float(np.mean(resident[-5:]))
    print(f"{args.count} pictures in {time.monotonic() - began:.0f} s: {faces} embedded, {failed} without")
    print(f"resident memory: {warm:.0f} MB after a fifth, {end:.0f} MB at the end")
    return 1 if end - warm > ALLOWED_GROWTH else 0


if __name__ == "__main__":
    with one_line():
        sys.exit(main())
