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
    """What calibration saw of one activation."""

    low: float = 0.0
    high: float = 0.0
    values: list[NDArray[np.float32]] = field(default_factory=list)

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
    known = {output.name for output in exposed.graph.output}
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
        for name, array in zip([entry, *names], [picture, *results], strict=True):
            values = np.asarray(array).ravel()
            seen = observed[name]
            seen.low = min(seen.low, float(values.min()))
            seen.high = max(seen.high, float(values.max()))
            seen.values.append(values[random.integers(0, values.size, min(_SAMPLES, values.size))])
    return observed
