"""Ranges of every activation, seen by running the float graph on real pictures."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

METHODS = ("minmax", "percentile", "mse")

_SAMPLES = 512
"""Values kept of each activation and picture for the methods that look at the distribution."""


@dataclass
class Observed:
    """What calibration saw of one activation.

    Attributes:
        low: lowest value, 0 at most.
        high: highest value, 0 at least.
        values: some of the values.
        channel_low: lowest value of each channel.
        channel_high: highest value of each channel.
        channel_sum: sum over the pictures of each channel's mean.
        pictures: how many were shown.
    """

    low: float = 0.0
    high: float = 0.0
    values: list[NDArray[np.float32]] = field(default_factory=list)
    channel_low: NDArray[np.float64] = field(default_factory=lambda: np.full(1, np.inf))
    channel_high: NDArray[np.float64] = field(default_factory=lambda: np.full(1, -np.inf))
    channel_sum: NDArray[np.float64] = field(default_factory=lambda: np.zeros(1))
    pictures: int = 0

    @property
    def mean(self) -> NDArray[np.float64]:
        """Mean of each channel."""
        return self.channel_sum / max(self.pictures, 1)

    def add(self, values: NDArray[np.float32], random: np.random.Generator) -> None:
        """Look at the activation `(1, c, ...)` of one more picture."""
        channels = values.reshape(values.shape[1], -1)
        lows, highs = channels.min(1).astype(np.float64), channels.max(1).astype(np.float64)
        self.channel_low = np.minimum(self.channel_low, lows)
        self.channel_high = np.maximum(self.channel_high, highs)
        self.channel_sum = self.channel_sum + channels.mean(1, dtype=np.float64)
        self.low, self.high = min(self.low, float(lows.min())), max(self.high, float(highs.max()))
        self.pictures += 1
        flat = values.ravel()
        self.values.append(flat[random.integers(0, flat.size, min(_SAMPLES, flat.size))])

    def range(self, method: str) -> tuple[float, float]:
        """Lowest and highest value to represent; 0 lies between them.

        Args:
            method: "minmax" takes all that was seen, "percentile" leaves out 0.01 % at either end,
                "mse" shrinks both ends to the least squared error of eight bits.
        """
        if method == "minmax":
            return self.low, self.high
        values = np.concatenate(self.values)
        if method == "percentile":
            low, high = np.percentile(values, [0.01, 99.99])
            return min(float(low), 0.0), max(float(high), 0.0)
        best, chosen = np.inf, (self.low, self.high)
        for shrink in np.linspace(1.0, 0.4, 25):
            low, high = self.low * shrink, self.high * shrink
            step = max(high - low, 1e-12) / 255
            error = float(np.square(np.rint(np.clip(values, low, high) / step) * step - values).mean())
            if error < best:
                best, chosen = error, (low, high)
        return chosen


def observe(model: onnx.ModelProto, inputs: NDArray[np.float32]) -> dict[str, Observed]:
    """Run the float `model` on each of `inputs` `(n, c, h, w)`; what was seen, by value name."""
    exposed = onnx.shape_inference.infer_shapes(model)
    known = {value.name for value in (*exposed.graph.output, *exposed.graph.initializer)}
    exposed.graph.output.extend(value for value in exposed.graph.value_info if value.name not in known)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    session = onnxruntime.InferenceSession(
        exposed.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    entry = exposed.graph.input[0].name
    names = [output.name for output in session.get_outputs()]
    observed = {name: Observed() for name in [entry, *names]}
    random = np.random.default_rng(0)
    for picture in inputs:
        results = session.run(None, {entry: picture[None]})
        for name, array in zip([entry, *names], [picture[None], *results], strict=True):
            observed[name].add(np.asarray(array), random)
    return observed
