"""What runs on the emulated board and, for comparison, on this machine; needs only the installed package.

`guest.py embed DETECTOR PHOTO MODEL...` prints one JSON object: embeddings of the photo's face by file.
`guest.py count MODEL...` embeds the self-test's face once between two marks of `icount.c` for each model.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from pathlib import Path

from pocketface import golden, images, registry
from pocketface.align import align
from pocketface.detect import FaceDetector
from pocketface.embed import Embedder

MARK = 0x7E000000


def main() -> None:
    """Run one of the two actions."""
    action, *rest = sys.argv[1:]
    if action == "embed":
        print(json.dumps(embed(Path(rest[0]), Path(rest[1]), [Path(p) for p in rest[2:]])))
    else:
        for tag, path in enumerate(rest):
            count(tag, Path(path))


def embed(detector: Path, photo: Path, models: list[Path]) -> dict[str, list[float]]:
    """Embeddings of the photo's first face."""
    image = images.load(photo)
    face = FaceDetector(registry.find(detector, task="detect"), threads=1).detect(image)[0]
    crop = align(image, face.landmarks)[None]
    result = {}
    for path in models:
        vectors, _ = Embedder(registry.find(path, task="embed"), threads=1).embed(crop)
        result[path.name] = vectors[0].tolist()
    return result


def count(tag: int, path: Path) -> None:
    """One embedding between the marks 2 tag and 2 tag + 1, after two to warm up."""
    embedder = Embedder(registry.find(path, task="embed"), threads=1)
    crop = golden.crop()[None]
    embedder.embed(crop)
    embedder.embed(crop)
    mark(2 * tag)
    embedder.embed(crop)
    mark(2 * tag + 1)


def mark(tag: int) -> None:
    """Tell the plugin; on a board the descriptor does not exist and nothing happens."""
    with contextlib.suppress(OSError):
        os.write(MARK + tag, b"")


if __name__ == "__main__":
    main()
