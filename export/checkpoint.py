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
    try:
        width = state["stem.0.weight"].shape[0]
        first = state["tail.0.weight"]
        last = [key for key in state if key.startswith("tail.") and key.endswith(".running_mean")][-1]
    except (KeyError, IndexError) as error:
        what = error.args[0] if isinstance(error, KeyError) else "tail.*.running_mean"
        raise ModelError(f"{path}: no PocketNet checkpoint, entry {what!r} is missing") from error
    cells = 1 + max((int(m[1]) for m in map(_CELL.match, state) if m), default=-1)
    channels, embedding = width // 4, state[last].shape[0]
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
    return {key.removeprefix("module."): value for key, value in document.items()}


def _compare(path: Path, expected: dict[str, Tensor], found: dict[str, Tensor]) -> None:
    for key, tensor in expected.items():
        if key not in found:
            raise ModelError(f"{path}: entry {key!r} is missing")
        if found[key].shape != tensor.shape:
            raise ModelError(
                f"{path}: entry {key!r} has shape {tuple(found[key].shape)}, expected {tuple(tensor.shape)}"
            )
        if not torch.isfinite(found[key].float()).all():
            raise ModelError(f"{path}: entry {key!r} has values that are not finite")
    for key in found:
        if key not in expected:
            raise ModelError(f"{path}: entry {key!r} belongs to no layer of the network")


def _line(error: BaseException) -> str:
    return str(error).strip().split("\n")[0][:160] or type(error).__name__
