"""Crops of a protocol to embeddings of one graph, kept on disk like the crops."""

from __future__ import annotations

import importlib.metadata
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm import tqdm

from benchmarks.accuracy.crops import code_digest, save, stored
from benchmarks.accuracy.metrics import Scores

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from benchmarks.accuracy.crops import CropSource
    from benchmarks.accuracy.protocols.pairs import Pairs
    from pocketface.embed import Embedder

_PACKAGES = {"onnx": ("onnxruntime",), "tflite": ("ai-edge-litert", "tflite-runtime", "tensorflow")}


@dataclass(frozen=True)
class Embeddings:
    """Embeddings of a protocol's pictures.

    Attributes:
        vectors: float32 `(pictures, d)` unit rows, zero where no face was found.
        norms: float32 `(pictures,)` raw norms.
        found: `(pictures,)`.
        engine: the runtime that made them, with its version.
    """

    vectors: NDArray[np.float32]
    norms: NDArray[np.float32]
    found: NDArray[np.bool_]
    engine: str


@dataclass(frozen=True)
class _Task:
    """How one block of pictures becomes embeddings."""

    source: CropSource
    embedder: Embedder
    mirror: bool
    folder: Path | None

    def block(self, number: int) -> dict[str, NDArray[Any]]:
        """`vectors`, `norms` and `found` of one block, from the cache where they are there."""
        file = None if self.folder is None else self.folder / f"{number:05d}.npz"
        if (kept := stored(file)) is not None:
            return kept
        crops, found = self.source.block(number)
        vectors = np.zeros((len(crops), self.embedder.dim), np.float32)
        norms = np.zeros(len(crops), np.float32)
        if found.any():
            vectors[found], norms[found] = self.embedder.embed(crops[found], mirror=self.mirror)
        made = {"vectors": vectors, "norms": norms, "found": found}
        if file is not None:
            save(file, **made)
        return made


_task: _Task | None = None


def _adopt(task: _Task) -> None:
    """Gives a worker its task once, not with each block."""
    global _task
    _task = task


def _work(number: int) -> dict[str, NDArray[Any]]:
    assert _task is not None
    return _task.block(number)


def embed(source: CropSource, embedder: Embedder, *, mirror: bool, jobs: int = 1) -> Embeddings:
    """Embed all pictures.

    Args:
        source: the crops.
        embedder: the graph.
        mirror: add the embedding of the mirrored crop (test-time augmentation).
        jobs: processes that share the pictures.
    """
    card = embedder.card
    engine = runtime(card.format)
    code = code_digest("embed", "network")
    key = f"{source.key}/{card.sha256[:16]}-{engine.replace(' ', '-')}-{code}{'-mirror' if mirror else ''}"
    folder = None if source.folder is None else source.folder / "embeddings" / key
    task = _Task(source, embedder, mirror, folder)
    numbers = range(source.blocks)
    label = f"{card.file} ({engine})"
    if jobs == 1:
        blocks = [task.block(number) for number in tqdm(numbers, label, unit="block", disable=None)]
    else:
        # Not forked: the engine of this process may hold threads.
        spawn = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(jobs, spawn, initializer=_adopt, initargs=(task,)) as pool:
            made = pool.map(_work, numbers)
            blocks = list(tqdm(made, label, len(numbers), unit="block", disable=None))
    vectors, norms, found = (
        np.concatenate([b[name] for b in blocks]) for name in ("vectors", "norms", "found")
    )
    return Embeddings(vectors, norms, found, engine)


def score(pairs: Pairs, embeddings: Embeddings) -> Scores:
    """Cosine of each pair, -inf where a picture gave no face."""
    cosine = np.empty(len(pairs.same))
    for start in range(0, len(cosine), 200_000):
        part = slice(start, start + 200_000)
        a, b = embeddings.vectors[pairs.left[part]], embeddings.vectors[pairs.right[part]]
        cosine[part] = np.einsum("ij,ij->i", a, b)
    cosine[~(embeddings.found[pairs.left] & embeddings.found[pairs.right])] = -np.inf
    person = pairs.person
    return Scores(cosine, pairs.same, person[pairs.left], person[pairs.right], pairs.fold)


def runtime(format_: str) -> str:
    """The installed runtime of a graph format and its version, such as "onnxruntime 1.23.0"."""
    for package in _PACKAGES[format_]:
        try:
            return f"{package} {importlib.metadata.version(package)}"
        except importlib.metadata.PackageNotFoundError:
            continue
    return "unknown"
