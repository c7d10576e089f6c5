"""A run's log as a picture: cosine, hints and learning rate by samples."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

WINDOW = 15
"""Rows of the log that are averaged to one point."""


def columns(log: Path) -> list[str]:
    """The columns of a log that goes on; none where it is missing, or a killed run left it empty."""
    text = log.read_text(encoding="utf-8") if log.is_file() else ""
    return text.partition("\n")[0].split(",") if text else []


def read_log(path: Path) -> dict[str, NDArray[np.float64]]:
    """The columns of a log; what a row lacks is not a number."""
    with open(path, encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    if not rows:
        raise ValueError(f"{path}: no rows yet")
    return {name: np.array([float(row[name] or "nan") for row in rows]) for name in rows[0]}


def smooth(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Means over `WINDOW` rows; the result is shorter by `WINDOW - 1`, or one mean."""
    window = min(WINDOW, len(values))
    return np.convolve(values, np.ones(window) / window, mode="valid")


def draw(log: Path, picture: Path) -> None:
    """Write the curves as PNG; needs matplotlib."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    values_of = read_log(log)
    samples = smooth(values_of.pop("samples")) / 1000
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    for name, values in values_of.items():
        if name.startswith("hint"):
            left.plot(samples, smooth(values), label=name)
        elif name in ("cosine", "rate"):
            right.plot(samples, smooth(values), label=name)
    left.set(xlabel="samples, thousands", ylabel="fraction of the teacher's variance left", ylim=(0, 1))
    right.set(xlabel="samples, thousands", ylim=(0, 1))
    left.legend()
    right.legend()
    figure.savefig(picture, dpi=120)
    plt.close(figure)
