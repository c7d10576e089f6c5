"""A calibration as one HTML file with its plots inside."""

from __future__ import annotations

import base64
import html
import io
import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pocketface.atomic import check_target, replacing
from pocketface.errors import ExtraError

if TYPE_CHECKING:
    from pocketface.calibrate import Calibration
    from pocketface.types import Threshold

_STYLE = """body{font:16px/1.5 sans-serif;max-width:52em;margin:2em auto;padding:0 1em;color:#222}
table{border-collapse:collapse}td,th{padding:.3em .8em;border-bottom:1px solid #ddd;text-align:right}
img{max-width:100%}"""


def check(path: str | os.PathLike[str]) -> None:
    """Say before the photos are read that no report can be written.

    Raises:
        InputError: the path does not end in .html, or its folder is missing or write-protected.
        ExtraError: matplotlib is missing.
    """
    check_target(path, (".html", ".htm"))
    _matplotlib()


def rounded_up(value: float) -> str:
    """A threshold with four decimals that keeps the FMR it was measured for, and is a cosine."""
    return f"{min(math.ceil(value * 1e4) / 1e4, 1.0):.4f}"


def write(
    calibration: Calibration, model: str, chosen: Threshold | None, path: str | os.PathLike[str]
) -> None:
    """Write the report.

    Args:
        calibration: what was measured.
        model: id of the embedder.
        chosen: the threshold for the FMR asked for, or None where the pairs do not support it.
        path: ends in .html.

    Raises:
        InputError, ExtraError: as `check`.
    """
    check(path)
    picture = base64.b64encode(plots(calibration, chosen)).decode()
    rows = "".join(
        f"<tr><td>{row.fmr:g}</td><td>{rounded_up(row.value)}</td><td>{row.fmr_upper:.2g}</td>"
        f"<td>{row.fnmr:.2%}</td><td>{calibration.fnmr(row.value)[1]:.2%}</td></tr>"
        for row in calibration.thresholds()
    )
    failures = "".join(
        f"<li>{html.escape(path)}: {html.escape(reason)}</li>"
        for path, reason in calibration.failures.items()
    )
    people = "" if calibration.people is None else f" of {calibration.people} people"
    text = f"""<!doctype html><html lang="en"><meta charset="utf-8"><title>Calibration</title>
<style>{_STYLE}</style>
<h1>Calibration of {html.escape(model)}</h1>
<p>{html.escape(calibration.data)}: {calibration.photos} photos{people}, {len(calibration.genuine):,}
genuine and {len(calibration.impostor):,} impostor pairs;
equal error rate {calibration.equal_error_rate():.2%}.
{len(calibration.failures)} photos gave no embedding.</p>
<p>{_sentence(chosen)}</p>
<table><tr><th>FMR</th><th>threshold</th><th>FMR at most</th><th>FNMR</th><th>FNMR at most</th></tr>
{rows}</table>
<p>Bounds are one-sided at 95 % (Clopper and Pearson) and take pairs as independent; pairs that share people
are not, so with few people the truth may lie above. FMR that is not in the table needs more pairs.</p>
<img alt="Similarities of genuine and impostor pairs, and error rates" src="data:image/png;base64,{picture}">
<ul>{failures}</ul></html>
"""
    with replacing(Path(path)) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")  # odd file names


def plots(calibration: Calibration, chosen: Threshold | None) -> bytes:
    """Histogram of the similarities and detection error trade-off, as PNG."""
    figure_class, canvas_class = _matplotlib()
    figure = figure_class(figsize=(11, 4.2), layout="constrained")
    canvas_class(figure)
    left, right = figure.subplots(1, 2)
    bins = np.linspace(-0.5, 1, 76).tolist()
    for scores, label, colour in (
        (calibration.impostor, "impostor", "#c44"),
        (calibration.genuine, "genuine", "#284"),
    ):
        weights = np.full(len(scores), 1 / len(scores))
        left.hist(scores, bins=bins, weights=weights, alpha=0.6, color=colour, label=label)
    if chosen is not None:
        left.axvline(chosen.value, color="#222", label=f"threshold {chosen.value:.3f}")
    left.set(xlabel="similarity", ylabel="share of pairs", title="Similarities")
    left.legend()
    _, fmr, fnmr = calibration.curve()
    floor = 0.5 / len(calibration.impostor)
    right.plot(np.maximum(fmr, floor), np.maximum(fnmr, 0.5 / len(calibration.genuine)), color="#236")
    if chosen is not None and chosen.fnmr is not None:
        passed = calibration.passed(chosen.value) / len(calibration.impostor)
        missed = max(chosen.fnmr, 0.5 / len(calibration.genuine))
        right.plot([max(passed, floor)], [missed], "o", color="#222")
    right.set(xscale="log", yscale="log", xlabel="FMR", ylabel="FNMR", title="Detection error trade-off")
    right.grid(which="both", alpha=0.3)
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=110)
    return file.getvalue()


def _matplotlib() -> tuple[Any, Any]:
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise ExtraError('the report needs the extra: pip install "pocketface[plots]"') from None
    return Figure, FigureCanvasAgg


def _sentence(chosen: Threshold | None) -> str:
    if chosen is None:
        return "The impostor pairs do not support the false match rate asked for."
    value = rounded_up(chosen.value)
    return (
        f"Threshold <b>{value}</b> for an FMR of {chosen.fmr:g} (at most {chosen.fmr_upper:.2g}), "
        f"FNMR {chosen.fnmr:.2%}: use it with <code>--threshold {value}</code>."
    )
