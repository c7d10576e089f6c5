"""What a network takes and what its cards say: given in a JSON file, else assumed and said so."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pocketface.cards import Accuracy, License
from pocketface.errors import InputError, ModelError
from pocketface.types import Threshold


@dataclass(frozen=True)
class Contract:
    """The part of a card that no form of a network changes.

    Attributes:
        task: "embed" or "detect".
        kind: see `pocketface.cards.ModelCard`.
        license: terms.
        source: where the weights come from.
        mean: of the input, in units of a pixel.
        scale: of the input.
        data: name of the data of thresholds and figures.
        thresholds: from the training's figures.
        accuracy: likewise.
        fastest_on: processors on which a form is the fastest, measured elsewhere, by form.
        default: whether the project recommends this network.
    """

    task: str = "embed"
    kind: str = "embedder"
    license: License = field(default_factory=lambda: License("unknown", "unknown", "unclear"))
    source: str = "own checkpoint"
    mean: float = 127.5
    scale: float = 1 / 127.5
    data: str = "held-out faces"
    thresholds: tuple[Threshold, ...] = ()
    accuracy: tuple[Accuracy, ...] = ()
    fastest_on: dict[str, list[str]] = field(default_factory=dict)
    default: bool = False


_FIELDS: dict[str, tuple[type, str]] = {
    "license": (dict, "an object"),
    "source": (str, "text"),
    "task": (str, "text"),
    "kind": (str, "text"),
    "data": (str, "text"),
    "thresholds": (list, "a list of objects"),
    "fastest_on": (dict, "an object with a list for each form"),
    "default": (bool, "true or false"),
}
"""What the JSON file of a card may hold."""


def read_contract(info: Path | None, figures: Path) -> Contract:
    """The contract of a network.

    Args:
        info: JSON with `license`, `source` and any of `task`, `kind`, `data`, `thresholds`,
            `fastest_on`, `default`; see `export/info/`.
        figures: JSON that the training left beside the weights, if it did: held-out operating points.

    Raises:
        InputError: a file is missing, no JSON, or holds something unknown or of another type.
    """
    given = {} if info is None else _object(info)
    for key, value in given.items():
        if key not in _FIELDS:
            raise InputError(f"{info}: unknown field {key!r}; known are {', '.join(sorted(_FIELDS))}")
        kind, words = _FIELDS[key]
        if not isinstance(value, kind):
            raise InputError(f"{info}: {key!r} must be {words}, not {json.dumps(value)[:60]}")
    for form, processors in given.get("fastest_on", {}).items():
        if not isinstance(processors, list) or not all(isinstance(p, str) for p in processors):
            raise InputError(f"{info}: 'fastest_on' of {form!r} must be a list of processors' names")
    values: dict[str, Any] = dict(given)
    try:
        if "license" in values:
            values["license"] = License(**values["license"])
        if "thresholds" in values:
            values["thresholds"] = tuple(Threshold(**item) for item in values["thresholds"])
    except TypeError as error:
        raise InputError(f"{info}: {error}") from error
    if values.get("task") == "detect":
        values = {"kind": "pocketface", "mean": 0.0, "scale": 1.0, **values}
    data = str(values.get("data", "held-out faces"))
    if figures.is_file() and values.get("task", "embed") == "embed":
        measured = _object(figures)
        if "heldout" in measured:
            thresholds, accuracy = _operating_points(measured, data, figures)
            values.setdefault("thresholds", thresholds)
            values["accuracy"] = accuracy
        if "samples" in measured:
            values["source"] = f"{values.get('source', 'own checkpoint')}; {measured['samples']:,} samples"
    elif figures.is_file():
        measured = _object(figures)
        if "figures" in measured:
            values["accuracy"] = _detection(measured, figures)
    return Contract(**values)


def _object(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read as JSON ({error})") from error
    if not isinstance(document, dict):
        raise InputError(f"{path}: expected a JSON object")
    return document


def _operating_points(
    figures: dict[str, Any], data: str, path: Path
) -> tuple[tuple[Threshold, ...], tuple[Accuracy, ...]]:
    """Thresholds and true accept rates of `training.evaluation.verify`."""
    try:
        heldout = figures["heldout"]
        pairs, points = int(heldout["impostor"]), heldout["points"]
        thresholds = tuple(
            Threshold(
                value=math.ceil(float(p["threshold"]) * 1e6) / 1e6,
                fmr=float(p["fmr"]),
                fmr_upper=float(p["fmr_upper"]),
                data=data,
                impostor_pairs=pairs,
                fnmr=round(1 - float(p["tar"]), 6),
            )
            for p in points
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(f"{path}: no figures of the training ({error!r})") from error
    return thresholds, operating_accuracy(thresholds, data)


RECALL = "recall at 1 false positive per 100 pictures"


def _detection(figures: dict[str, Any], path: Path) -> tuple[Accuracy, ...]:
    """Recall and landmark errors of `training.detector evaluate`, by each yardstick."""
    try:
        side = figures["longer side, pixels"]
        alone = " --alone" if figures.get("without copies") else ""
        return tuple(
            Accuracy(
                f"held-out pictures ({yardstick})",
                f"{ours['faces']:,} faces, {ours['pictures']:,} pictures of {side} px, fp32, "
                "1 false positive per 100 pictures",
                metric,
                round(float(ours[key]), 4),
                f"python -m training.detector evaluate GRAPH SCENES --caltech CLONE{alone}",
            )
            for yardstick, both in figures["figures"].items()
            for ours in (both["ours"],)
            for key, metric in (
                (RECALL, "recall"),
                ("landmark error, mean", "mean landmark error over the eye distance"),
            )
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ModelError(f"{path}: no figures of the detector's evaluation ({error!r})") from error


def operating_accuracy(thresholds: tuple[Threshold, ...], data: str) -> tuple[Accuracy, ...]:
    """The true accept rates behind thresholds, as a card states them."""
    return tuple(
        Accuracy(
            data,
            "all genuine and impostor pairs of aligned faces, one picture each, no mirror",
            f"TAR at FMR {t.fmr:g}",
            round(1 - t.fnmr, 4),
            "python -m export CHECKPOINT --out DIR --heldout FACES",
        )
        for t in thresholds
        if t.fnmr is not None
    )
