"""DET and ROC curves and the histogram of scores, as PNG."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from benchmarks.accuracy.metrics import Scores


def draw(scores: dict[str, Scores], title: str, folder: Path, stem: str) -> list[Path]:
    """Draw all three.

    Args:
        scores: by the name in the legend.
        title: the protocol.
        folder: where the files go.
        stem: how their names begin.

    Returns:
        The files written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    return [
        _curves(scores, title, folder / f"{stem}-det.png", det=True),
        _curves(scores, title, folder / f"{stem}-roc.png", det=False),
        _histograms(scores, title, folder / f"{stem}-scores.png"),
    ]


def curve(scores: Scores, points: int = 2000) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """FMR and FNMR at up to `points` thresholds, spaced evenly in rank on a logarithmic scale."""
    genuine, impostor = scores.genuine, scores.impostor
    ranks = np.unique(np.geomspace(1, len(impostor), points).astype(np.int64))
    thresholds = impostor[len(impostor) - ranks]
    fmr = 1 - np.searchsorted(impostor, thresholds, side="left") / len(impostor)
    fnmr = np.searchsorted(genuine, thresholds, side="left") / len(genuine)
    return fmr, fnmr


def _curves(scores: dict[str, Scores], title: str, file: Path, *, det: bool) -> Path:
    figure, axes = _figure(title)
    for name, one in scores.items():
        fmr, fnmr = curve(one)
        axes.plot(fmr, np.maximum(fnmr, 1e-6) if det else 1 - fnmr, label=name, linewidth=1.4)
    axes.set_xscale("log")
    axes.set_xlabel("false match rate")
    if det:
        axes.set_yscale("log")
        axes.set_ylim(bottom=min(1 / len(one.genuine) for one in scores.values()) / 2, top=1)
        axes.set_ylabel("false non-match rate")
    else:
        axes.set_ylabel("true accept rate")
    axes.grid(visible=True, which="both", alpha=0.2)
    axes.legend(fontsize=8)
    return _save(figure, file)


def _histograms(scores: dict[str, Scores], title: str, file: Path) -> Path:
    figure = Figure(figsize=(7, 2.1 * len(scores) + 0.6), dpi=110, layout="constrained")
    figure.suptitle(title.replace("; ", "\n"), fontsize=9)
    panels = np.atleast_1d(figure.subplots(len(scores), sharex=True))
    for axes, (name, one) in zip(panels, scores.items(), strict=True):
        bins = np.linspace(-0.5, 1, 151)
        for values, label in ((one.impostor, "impostor pairs"), (one.genuine, "genuine pairs")):
            axes.hist(values[np.isfinite(values)], bins, density=True, alpha=0.6, label=label)
        axes.set_title(name, fontsize=8)
        axes.set_yticks([])
    panels[0].legend(fontsize=8)
    panels[-1].set_xlabel("cosine similarity")
    return _save(figure, file)


def _figure(title: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(7, 5), dpi=110, layout="constrained")
    axes = figure.subplots()
    axes.set_title(title.replace("; ", "\n"), fontsize=9)
    return figure, axes


def _save(figure: Figure, file: Path) -> Path:
    # No pyplot: figures of an imported module must not pile up in a global list.
    FigureCanvasAgg(figure)
    figure.savefig(file)
    return file
