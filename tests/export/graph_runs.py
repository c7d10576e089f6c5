"""Running graphs directly on the engines, without pocketface between."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime


def run_onnx(model: onnx.ModelProto, inputs: np.ndarray) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: inputs})


def run_tflite(graph: bytes, inputs: np.ndarray) -> dict[str, np.ndarray]:
    """Outputs for `(1, h, w, c)`, through the named signature."""
    from ai_edge_litert.interpreter import Interpreter

    runner = Interpreter(model_content=graph, num_threads=1).get_signature_runner("serving_default")
    return runner(image=inputs)


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    a, b = a.astype(np.float64).ravel(), b.astype(np.float64).ravel()
    return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))
