"""The forms of a network: how each is made from the ordinary export, and how close it must stay."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from export.contract import Contract
from export.rewrite import FOR_INT8, FOR_ONNX_RUNTIME, FOR_TFLITE, rewrite
from export.tflite import precision
from export.tflite.calibrate import observe
from export.tflite.convert import from_onnx
from export.tflite.equalize import equalize
from export.tflite.graph import Graph
from export.tflite.quantize import full_int8
from export.tflite.writer import to_bytes
from pocketface.errors import InputError


@dataclass(frozen=True)
class Job:
    """What making a form needs.

    Attributes:
        plain: the ordinary export.
        contract: mean and scale of the input.
        size: height and width of TFLite graphs.
        calibration: uint8 `(n, h, w, 3)`, RGB, for int8; None without.
        ranges: how int8 ranges are chosen, see `export.tflite.calibrate.METHODS`.
    """

    plain: onnx.ModelProto
    contract: Contract
    size: tuple[int, int]
    calibration: NDArray[np.uint8] | None
    ranges: str = "minmax"

    def inputs(self) -> NDArray[np.float32]:
        """The calibration pictures as the float graphs take them, NCHW.

        Raises:
            InputError: there are none.
        """
        if self.calibration is None:
            raise InputError("int8 needs pictures: --calibration FACES")
        return to_inputs(self.calibration, self.contract)


def to_inputs(pictures: NDArray[np.uint8], contract: Contract) -> NDArray[np.float32]:
    """uint8 `(n, h, w, 3)` to float32 `(n, 3, h, w)`, with the contract's mean and scale."""
    values = (pictures.astype(np.float32) - np.float32(contract.mean)) * np.float32(contract.scale)
    return np.ascontiguousarray(values.transpose(0, 3, 1, 2))


@dataclass(frozen=True)
class Form:
    """One form of a network.

    Attributes:
        format: "onnx" or "tflite".
        precision: as in the card.
        cosine: least mean cosine to the source that is accepted.
        build: makes the file's bytes.
    """

    format: str
    precision: str
    cosine: float
    build: Callable[[Job], bytes]

    def file(self, name: str) -> str:
        """File name of this form of the network `name`."""
        return f"{name}.{self.precision}.{self.format}"


def _onnx_fp32(job: Job) -> bytes:
    return bytes(rewrite(job.plain, FOR_ONNX_RUNTIME)[0].SerializeToString())


def _onnx_int8(job: Job) -> bytes:
    from onnxruntime.quantization import (
        CalibrationDataReader,
        QuantFormat,
        QuantType,
        quantize_static,
    )

    inputs = job.inputs()

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.rest = iter(inputs)

        def get_next(self) -> dict[str, NDArray[np.float32]] | None:
            picture = next(self.rest, None)
            return None if picture is None else {job.plain.graph.input[0].name: picture[None]}

    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "int8.onnx"
        quantize_static(
            rewrite(job.plain, FOR_INT8)[0],
            target,
            Reader(),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
        return target.read_bytes()


def _tflite(change: Callable[[Graph], Graph]) -> Callable[[Job], bytes]:
    def build(job: Job) -> bytes:
        graph = from_onnx(rewrite(job.plain, FOR_TFLITE)[0], job.size)
        return to_bytes(change(graph), "pocketface")

    return build


def _tflite_int8(job: Job) -> bytes:
    inputs = job.inputs()
    model = rewrite(job.plain, FOR_INT8)[0]
    model = equalize(model, observe(model, inputs))
    observed = observe(model, inputs)
    ranges = {name: seen.range(job.ranges) for name, seen in observed.items()}
    means = {name: seen.mean for name, seen in observed.items()}
    graph = from_onnx(model, job.size)
    return to_bytes(full_int8(graph, ranges, job.contract.mean, job.contract.scale, means), "pocketface")


FORMS = {
    "onnx-fp32": Form("onnx", "fp32", 0.99999, _onnx_fp32),
    "onnx-int8": Form("onnx", "int8", 0.99, _onnx_int8),
    "tflite-fp32": Form("tflite", "fp32", 0.99999, _tflite(lambda graph: graph)),
    "tflite-fp16": Form("tflite", "fp16", 0.9999, _tflite(precision.half)),
    "tflite-int8w": Form("tflite", "int8w", 0.998, _tflite(precision.int8_weights)),
    "tflite-int8": Form("tflite", "int8", 0.99, _tflite_int8),
}
"""By name, in the order in which they are made."""
