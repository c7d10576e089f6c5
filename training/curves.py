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
    panels = [
        ([name for name in values_of if name.startswith("hint")], "fraction of the teacher's variance left"),
        ([name for name in values_of if name in ("cosine", "rate")], ""),
    ]
    panels = [panel for panel in panels if panel[0]]
    figure, axes = plt.subplots(
        1, len(panels), figsize=(5 * len(panels), 4), layout="constrained", squeeze=False
    )
    for axis, (names, what) in zip(axes[0], panels, strict=True):
        for name in names:
            axis.plot(samples, smooth(values_of[name]), label=name)
        axis.set(xlabel="samples, thousands", ylabel=what, ylim=(0, 1))
        axis.legend()
    figure.savefig(picture, dpi=120)
    plt.close(figure)
