"""Synthetic faces for tests: an oval, eyes and a mouth at a person's own places and colours."""

from __future__ import annotations

import csv
import io
import tarfile
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw


def face(person: int, picture: int, size: int = 128) -> Image.Image:
    """A picture of a person, RGB."""
    own, rng = np.random.default_rng(person), np.random.default_rng((person, picture))
    image = Image.new("RGB", (128, 128), tuple(int(v) for v in rng.integers(0, 256, 3)))
    draw = ImageDraw.Draw(image)
    skin, iris = (tuple(int(v) for v in own.integers(60, 230, 3)) for _ in range(2))
    draw.ellipse((24, 8, 104, 124), fill=skin)
    for x in (46, 82):
        r = int(own.integers(4, 11))
        draw.ellipse((x - r, 60 - r, x + r, 60 + r), fill=iris)
    draw.rectangle((50, 95, 78, 95 + int(own.integers(2, 12))), fill=(150, 40, 40))
    noisy = np.asarray(image, np.int16) + rng.integers(-12, 12, (128, 128, 3))
    return Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8)).resize((size, size))


def write_shards(folder: Path, train: int, heldout: int, size: int = 128) -> None:
    """Shards of two pictures a person, people of the splits apart, and their manifest."""
    rows = []
    for split, count, first in (("train", train, 0), ("heldout", heldout, 1000)):
        shard = f"faces-{split}-000.tar"
        with tarfile.open(folder / shard, "w") as archive:
            for index in range(count):
                person, key = first + index // 2, f"{split}-{index:05d}"
                stream = io.BytesIO()
                face(person, index, size).save(stream, "WEBP", quality=80)
                info = tarfile.TarInfo(f"{key}.webp")
                info.size = stream.tell()
                archive.addfile(info, io.BytesIO(stream.getvalue()))
                rows.append([key, shard, "test", f"person:{person}", split, 100, "none"])
    with open(folder / "manifest.csv", "w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["key", "shard", "source", "identity", "split", "face_px", "original"])
        writer.writerows(rows)
