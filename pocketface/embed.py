"""Aligned crops in, embeddings of unit norm out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pocketface.align import CROP_SIZE
from pocketface.errors import InputError, ModelError
from pocketface.network import Network

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pocketface.cards import ModelCard
    from pocketface.engines.protocol import Engine
    from pocketface.registry import Model

_MAX_BATCH = 32  # bounds memory; larger batches are no faster on a CPU


class Embedder:
    """Describes aligned faces. Safe to use from several threads, to pickle, and across forks.

    Args:
        model: a model whose card has the task "embed".
        engine: name of an engine, an engine object, or None for the one that runs the file's format.
        threads: threads for one call; None chooses for the device.

    Raises:
        ModelError: the model is no embedder.
    """

    def __init__(
        self, model: Model, *, engine: str | Engine | None = None, threads: int | None = None
    ) -> None:
        if model.card.task != "embed":
            raise ModelError(f"{model.card.name} is a detector, not an embedder")
        self.network = Network(model, engine=engine, threads=threads)

    @property
    def card(self) -> ModelCard:
        """The model's card."""
        return self.network.card

    @property
    def dim(self) -> int:
        """Dimension of the embeddings."""
        assert self.card.output is not None
        return self.card.output.dim

    def embed(
        self, crops: NDArray[np.uint8], mirror: bool = False
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Embed aligned faces.

        Args:
            crops: uint8 `(n, 112, 112, 3)`, RGB, aligned to the ArcFace template.
            mirror: also embed each crop mirrored and add the two: a little more accurate, twice the time.

        Returns:
            float32 `(n, d)` of unit rows, and float32 `(n,)`, the norms before normalisation.

        Raises:
            InputError: the crops have another shape or dtype.
            ModelError: an embedding is zero or not finite.
        """
        _check_crops(crops)
        raw = self._raw(crops)
        if mirror:
            raw = (raw + self._raw(crops[:, :, ::-1])) * np.float32(0.5)
        norms = np.linalg.norm(raw, axis=1).astype(np.float32)
        bad = np.flatnonzero(~np.isfinite(norms) | (norms < _SMALLEST_NORM))
        if bad.size:
            raise ModelError(
                f"{self.card.name}: the embedding of crop {bad[0]} is zero or not finite; "
                "check the graph with 'pocketface doctor'"
            )
        return raw / norms[:, None], norms

    def _raw(self, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        assert self.card.output is not None
        name, dim = self.card.output.name, self.card.output.dim
        limit = min(self.network.batch or _MAX_BATCH, _MAX_BATCH)
        raw = np.empty((len(crops), dim), np.float32)
        for start in range(0, len(crops), limit):
            part = crops[start : start + limit]
            outputs = self.network.run(part)
            if name not in outputs:
                raise ModelError(f"{self.card.name}: the card names the output {name!r}, not in the graph")
            if outputs[name].size != len(part) * dim:
                raise ModelError(
                    f"{self.card.name}: an output of {outputs[name].shape}, the card says {(len(part), dim)}"
                )
            raw[start : start + len(part)] = outputs[name].reshape(len(part), dim)
        return raw


_SMALLEST_NORM = 1e-6


def _check_crops(crops: NDArray[np.uint8]) -> None:
    expected = f"expected uint8 (n, {CROP_SIZE}, {CROP_SIZE}, 3)"
    if not isinstance(crops, np.ndarray):
        raise InputError(f"crops are {type(crops).__name__}; {expected}")
    if crops.dtype != np.uint8 or crops.ndim != 4 or crops.shape[1:] != (CROP_SIZE, CROP_SIZE, 3):
        raise InputError(f"crops of dtype {crops.dtype} and shape {crops.shape}; {expected}")
