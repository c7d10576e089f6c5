"""What runs on the emulated board and, for comparison, on this machine; needs only the installed package.

`guest.py embed DETECTOR PHOTO PHOTO MODEL...` prints one JSON object: embeddings of four faces by file.
`guest.py count MODEL...` embeds the self-test's face once between two marks of `icount.c` for each model.
`guest.py graphs FILE...` does the same with any ONNX graph of one fixed float32 input.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from pathlib import Path

import numpy as np

from pocketface import engines, golden, images, registry
from pocketface.align import align
from pocketface.detect import FaceDetector
from pocketface.embed import Embedder

MARK = 0x7E000000


def main() -> None:
    """Run one of the actions."""
    action, *rest = sys.argv[1:]
    if action == "embed":
        detector, first, second, *models = (Path(path) for path in rest)
        print(json.dumps(embed(detector, [first, second], models)))
    else:
        act = count if action == "count" else run_graph
        for tag, path in enumerate(rest):
            act(tag, Path(path))


def embed(detector: Path, photos: list[Path], models: list[Path]) -> dict[str, list[list[float]]]:
    """Embeddings of each photo's first face, the self-test's and its mirror image, by the graph's file."""
    finder = FaceDetector(registry.find(detector, task="detect"), threads=1)
    crops = [golden.crop(), np.ascontiguousarray(golden.crop()[:, ::-1])]
    for photo in photos:
        image = images.load(photo)
        crops.append(align(image, finder.detect(image)[0].landmarks))
    result = {}
    for path in models:
        vectors, _ = Embedder(registry.find(path, task="embed"), threads=1).embed(np.stack(crops))
        result[path.name] = vectors.tolist()
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


def run_graph(tag: int, path: Path) -> None:
    """One run between the marks 2 tag and 2 tag + 1, after two to warm up."""
    session = engines.get("onnxruntime").load(path.read_bytes(), threads=1)
    [wanted] = session.inputs
    shape = tuple(int(side or 1) for side in wanted.shape)
    feed = {wanted.name: np.random.default_rng(0).random(shape, dtype=np.float32)}
    session.run(feed)
    session.run(feed)
    mark(2 * tag)
    session.run(feed)
    mark(2 * tag + 1)


def mark(tag: int) -> None:
    """Tell the plugin; on a board the descriptor does not exist and nothing happens."""
    with contextlib.suppress(OSError):
        os.write(MARK + tag, b"")


if __name__ == "__main__":
    main()
