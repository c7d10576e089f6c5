"""Networks with weights that keep values in range, and graphs run without pocketface between."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import torch
from torch import nn


def settle(network: nn.Module, seed: int = 0) -> nn.Module:
    """Random batch-norm statistics and slopes, as training leaves them."""
    random = torch.Generator().manual_seed(seed)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1, generator=random)
            module.running_var.uniform_(0.5, 1.5, generator=random)
            module.weight.data.uniform_(0.7, 1.3, generator=random)
            module.bias.data.normal_(0, 0.1, generator=random)
        if isinstance(module, nn.PReLU):
            module.weight.data.uniform_(-0.8, 0.9, generator=random)
        if isinstance(module, nn.Conv2d):
            fan_in = module.weight[0].numel()
            module.weight.data.normal_(0, fan_in**-0.5, generator=random)
    return network.eval()


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
