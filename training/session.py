"""ONNX Runtime as training runs it: on one thread, the rest of the cores being the student's."""

from __future__ import annotations

from pathlib import Path

import onnx
import onnxruntime

from pocketface.errors import InputError, ModelError


def one_thread(graph: Path | onnx.ModelProto) -> onnxruntime.InferenceSession:
    """A session of a graph's file or of a graph in memory, errors alone being logged.

    Raises InputError where the file is missing, ModelError where it is no graph.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3  # else it says of each teacher that a constant was removed
    if isinstance(graph, Path) and not graph.is_file():
        raise InputError(f"no such graph: {graph}")
    source = str(graph) if isinstance(graph, Path) else graph.SerializeToString()
    try:
        return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's share no other base
        name = graph if isinstance(graph, Path) else "the graph in memory"
        raise ModelError(f"{name}: ONNX Runtime cannot load it: {str(error).splitlines()[0]}") from error
