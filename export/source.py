"""What is exported: a PyTorch checkpoint, or any ONNX graph; and the function its graphs must keep."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from pocketface.atomic import replacing
from pocketface.errors import InputError, ModelError

Outputs = dict[str, NDArray[Any]]
Function = Callable[[NDArray[np.float32]], Outputs]
"""Float32 `(n, 3, h, w)` to the outputs by name, maps in NCHW."""


@dataclass(frozen=True)
class Source:
    """The ordinary export and what computes the truth.

    Attributes:
        plain: the ordinary export.
        reference: PyTorch for a checkpoint, ONNX Runtime on the graph as given for an ONNX file.
    """

    plain: onnx.ModelProto
    reference: Function


def read_source(path: Path, plain: Path, genotype: str = "pocketnet") -> Source:
    """Read `path` and write the ordinary export to `plain`.

    Raises:
        ModelError: the file is missing, damaged, or no PocketNet.
        InputError: there are no cells `genotype`.
    """
    if path.suffix == ".onnx":
        model = read_onnx(path)
        with replacing(plain) as temporary:
            onnx.save(model, temporary)
        return Source(model, onnx_function(model, path))
    # PyTorch takes two seconds to import; graphs do without.
    import torch

    from export.checkpoint import load
    from export.plain import write_plain
    from training.networks import load_genotype

    try:
        cells = load_genotype(genotype)
    except ValueError as error:
        raise InputError(f"--genotype {genotype}: {error}") from error
    network = load(path, cells)
    with replacing(plain) as temporary:
        write_plain(network, temporary)

    @torch.inference_mode()
    def reference(inputs: NDArray[np.float32]) -> Outputs:
        return {"embedding": network(torch.from_numpy(inputs)).numpy()}

    return Source(onnx.load(plain), reference)


def read_onnx(path: Path) -> onnx.ModelProto:
    """Parse and check an ONNX file.

    Raises:
        ModelError: it is missing, or no valid graph.
    """
    if not path.is_file():
        raise ModelError(f"{path}: no such file")
    try:
        model = onnx.load(path, load_external_data=False)
        onnx.checker.check_model(model)
    except Exception as error:  # protobuf's errors have no common base
        raise ModelError(f"{path}: no valid ONNX graph ({_line(error)})") from error
    return model


def onnx_session(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    """ONNX Runtime on one thread.

    Raises:
        ModelError: it refuses the graph.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # ONNX Runtime's errors have no common base
        raise ModelError(f"ONNX Runtime refuses the graph ({_line(error)})") from error


def run_onnx(
    session: onnxruntime.InferenceSession, picture: NDArray[np.float32], path: Path
) -> list[NDArray[Any]]:
    """The outputs of a graph with one input for one picture, float32 `(c, h, w)`.

    Raises:
        ModelError: the graph of the file `path` does not run on it.
    """
    try:
        outputs: list[NDArray[Any]] = session.run(None, {session.get_inputs()[0].name: picture[None]})
    except Exception as error:  # ONNX Runtime's errors have no common base
        shape = "x".join(map(str, picture.shape))
        raise ModelError(f"{path}: the graph does not run on {shape} ({_line(error)})") from error
    return outputs


def onnx_function(model: onnx.ModelProto, path: Path) -> Function:
    """The function of a graph, computed picture by picture; errors name `path`."""
    session = onnx_session(model)
    names = [output.name for output in session.get_outputs()]

    def run(inputs: NDArray[np.float32]) -> Outputs:
        rows = [run_onnx(session, picture, path) for picture in inputs]
        columns = zip(*rows, strict=True)
        return {name: np.concatenate(column) for name, column in zip(names, columns, strict=True)}

    return run


def _line(error: BaseException) -> str:
    return str(error).strip().split("\n")[0][:160] or type(error).__name__
