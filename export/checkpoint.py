"""Read a PocketNet checkpoint without executing anything in it.

The network is recognised from the shapes alone: stem width, number of cells, embedding size, and
whether the tail starts with a PReLU (the paper's network) or a convolution (the rectified one).
"""

from __future__ import annotations

import pickle
import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pocketface.errors import ModelError
from training.networks import POCKETNET, Genotype, PocketNet, RectifiedPocketNet

_CELL = re.compile(r"cells\.(\d+)\.")


def load(path: Path, genotype: Genotype = POCKETNET) -> PocketNet | RectifiedPocketNet:
    """The network of a checkpoint, in evaluation mode, on the CPU.

    Args:
        path: PyTorch state dict with the authors' key names (`module.` prefixes are accepted), or a
            dict that holds it under "state_dict".
        genotype: the cells the checkpoint was trained with.

    Raises:
        ModelError: the file is missing, damaged, not a plain state dict, or fits no network; the
            message names the first entry that does not fit.
    """
    state = _read(path)
    means = [key for key in state if key.startswith("tail.") and key.endswith(".running_mean")]
    channels = _entry(path, state, "stem.0.weight").shape[0] // 4
    first = _entry(path, state, "tail.0.weight")
    embedding = _entry(path, state, means[-1] if means else "tail.*.running_mean").shape[0]
    cells = 1 + max((int(m[1]) for m in map(_CELL.match, state) if m), default=-1)
    if cells < 3 or channels < 1 or channels > 256 or cells > 64 or embedding > 4096:
        raise ModelError(
            f"{path}: no PocketNet checkpoint: {cells} cells, {channels} channels, embedding {embedding}"
        )
    kind = PocketNet if first.ndim == 1 else RectifiedPocketNet
    with torch.device("meta"):  # shapes alone; random weights would take longer than all the rest
        network = kind(genotype, channels, cells, embedding)
    _compare(path, network.state_dict(), state)
    network.load_state_dict(state, strict=True, assign=True)
    return network.eval()


def _read(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise ModelError(f"{path}: no such file")
    try:
        document: Any = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ModelError(
            f"{path}: refused, it holds more than tensors (or is damaged); save `network.state_dict()` alone"
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, IndexError, AttributeError) as error:
        raise ModelError(f"{path}: damaged or no PyTorch checkpoint ({_line(error)})") from error
    if isinstance(document, dict) and isinstance(document.get("state_dict"), dict):
        document = document["state_dict"]
    if not isinstance(document, dict) or not document:
        raise ModelError(f"{path}: expected a state dict, got {type(document).__name__}")
    for key, value in document.items():
        if not isinstance(key, str) or not isinstance(value, Tensor):
            raise ModelError(f"{path}: entry {key!r} is {type(value).__name__}, expected a tensor")
        if kind := _unusual(value):
            raise ModelError(f"{path}: entry {key!r} is a {kind} tensor, expected dense real numbers")
    # The graphs are made from float32, in whatever precision the weights were saved.
    return {
        key.removeprefix("module."): value.float() if value.is_floating_point() else value
        for key, value in document.items()
    }


def _unusual(tensor: Tensor) -> str:
    """What keeps a tensor from being read as plain numbers, "" where nothing does."""
    kinds = {
        "quantized": tensor.is_quantized,
        "meta": tensor.is_meta,
        "complex": tensor.is_complex(),
        "nested": tensor.is_nested,
        "sparse": tensor.layout != torch.strided,
    }
    return next((kind for kind, present in kinds.items() if present), "")


def _entry(path: Path, state: dict[str, Tensor], key: str) -> Tensor:
    """An entry that tells the size of the network by its first axis."""
    if key not in state:
        raise ModelError(f"{path}: no PocketNet checkpoint, entry {key!r} is missing")
    if state[key].ndim == 0:
        raise ModelError(f"{path}: no PocketNet checkpoint, entry {key!r} is a single number")
    return state[key]


def _compare(path: Path, expected: dict[str, Tensor], found: dict[str, Tensor]) -> None:
    for key, tensor in expected.items():
        if key not in found:
            raise ModelError(f"{path}: entry {key!r} is missing")
        if found[key].shape != tensor.shape:
            raise ModelError(
                f"{path}: entry {key!r} has shape {tuple(found[key].shape)}, expected {tuple(tensor.shape)}"
            )
        if not tensor.is_floating_point():
            continue  # a batch norm's counter, which half precision cannot hold and no graph has
        if not found[key].is_floating_point():
            kind = str(found[key].dtype).removeprefix("torch.")
            raise ModelError(f"{path}: entry {key!r} is of {kind}, expected floating point numbers")
        if not torch.isfinite(found[key]).all():
            raise ModelError(f"{path}: entry {key!r} has values that are not finite")
    for key in found:
        if key not in expected:
            raise ModelError(f"{path}: entry {key!r} belongs to no layer of the network")


def _line(error: BaseException) -> str:
    return str(error).strip().split("\n")[0][:160] or type(error).__name__
