"""The kernels, compiled once for this processor and kept, and how Python calls them."""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

# The parts of -ffast-math that serve: linked with the whole, a library flushes the process's subnormals.
FAST_MATH = (
    "-fassociative-math",
    "-fno-math-errno",
    "-fno-signed-zeros",
    "-fno-trapping-math",
    "-freciprocal-math",
)
FLAGS = ("-O3", "-march=native", *FAST_MATH, "-shared", "-fPIC")


@functools.cache
def _library() -> ctypes.CDLL:
    source = Path(__file__).with_name("kernels.cpp")
    cpu = next((line for line in Path("/proc/cpuinfo").read_text().splitlines() if line[:5] == "flags"), "")
    recipe = source.read_bytes() + " ".join(FLAGS).encode() + cpu.encode()  # a home may serve two machines
    digest = hashlib.sha256(recipe).hexdigest()[:16]
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "pocketface-training"
    library = cache / f"kernels-{digest}.so"
    if not library.is_file():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as folder:
            built = Path(folder) / "kernels.so"
            subprocess.run(["g++", *FLAGS, "-o", str(built), str(source)], check=True)
            os.replace(built, library)
    return ctypes.CDLL(str(library))


def available() -> bool:
    """Whether a compiler for the kernels is here."""
    return shutil.which("g++") is not None and Path("/proc/cpuinfo").is_file()


def kernel(name: str, x: Tensor) -> Any:
    """The kernel for values of the type of `x`."""
    return getattr(_library(), name + ("_bf16" if x.dtype is torch.bfloat16 else ""))


def pointer(tensor: Tensor | None) -> ctypes.c_void_p:
    """Where a tensor's values begin; null without one."""
    return ctypes.c_void_p(tensor.data_ptr() if tensor is not None else None)


def pointers(tensors: Sequence[Tensor]) -> Any:
    """An array of where tensors' values begin."""
    return (ctypes.c_void_p * len(tensors))(*(t.data_ptr() for t in tensors))
