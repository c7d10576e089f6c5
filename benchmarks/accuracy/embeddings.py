"""Crops of a protocol to embeddings of one graph, kept on disk like the crops."""

from __future__ import annotations

import importlib.metadata
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from tqdm import tqdm

from benchmarks.accuracy.crops import code_digest, save
from benchmarks.accuracy.metrics import Scores

if TYPE_CHECKING:
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


def embed(source: CropSource, embedder: Embedder, *, mirror: bool) -> Embeddings:
    """Embed all pictures.

    Args:
        source: the crops.
        embedder: the graph.
        mirror: add the embedding of the mirrored crop (test-time augmentation).
    """
    card = embedder.card
    engine = runtime(card.format)
    code = code_digest("embed", "network")
    key = f"{source.key}/{card.sha256[:16]}-{engine.replace(' ', '-')}-{code}{'-mirror' if mirror else ''}"
    blocks = []
    for number in tqdm(range(source.blocks), f"{card.file} ({engine})", unit="block", disable=None):
        file = None if source.folder is None else source.folder / "embeddings" / key / f"{number:05d}.npz"
        if file is not None and file.is_file():
            with np.load(file) as stored:
                blocks.append((stored["vectors"], stored["norms"], stored["found"]))
            continue
        crops, found = source.block(number)
        vectors = np.zeros((len(crops), embedder.dim), np.float32)
        norms = np.zeros(len(crops), np.float32)
        if found.any():
            vectors[found], norms[found] = embedder.embed(crops[found], mirror=mirror)
        if file is not None:
            save(file, vectors=vectors, norms=norms, found=found)
        blocks.append((vectors, norms, found))
    vectors, norms, found = (np.concatenate(parts) for parts in zip(*blocks, strict=True))
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
