"""Results as JSON, as a Markdown table, and as the blocks that a model card takes."""

from __future__ import annotations

import datetime
import json
import platform
import shlex
import sys
from typing import TYPE_CHECKING, Any

import numpy as np

from pocketface.errors import InputError
from pocketface.threads import usable_cpus
from pocketface.tuning import cpu_name

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.accuracy.embeddings import Embeddings
    from benchmarks.accuracy.metrics import Summary
    from pocketface.cards import ModelCard


def model_entry(card: ModelCard, summary: Summary, embeddings: Embeddings) -> dict[str, Any]:
    """What is reported of one graph."""
    return {
        "model": card.name,
        "file": card.file,
        "sha256": card.sha256,
        "space": card.space,
        "precision": card.precision,
        "engine": embeddings.engine,
        "size": card.size,
        "pictures": len(embeddings.found),
        "fte_pictures": int((~embeddings.found).sum()),
        **summary.as_dict(),
    }


def compare_precisions(entries: list[dict[str, Any]], vectors: list[Embeddings]) -> None:
    """Adds to each graph its cosine to the fp32 graph of its space, and what accuracy and TAR gained."""
    for entry, own in zip(entries, vectors, strict=True):
        same_space = [
            i
            for i, other in enumerate(entries)
            if other["space"] == entry["space"] and other["precision"] == "fp32"
        ]
        if not same_space or entries[same_space[0]] is entry:
            continue
        reference = entries[same_space[0]]
        both = own.found & vectors[same_space[0]].found
        cosine = np.einsum("ij,ij->i", own.vectors[both], vectors[same_space[0]].vectors[both])
        entry["compared_with"] = reference["file"]
        entry["cosine_mean"] = float(cosine.mean())
        entry["cosine_min"] = float(cosine.min())
        if entry["accuracy"] is not None:
            entry["accuracy_change"] = entry["accuracy"] - reference["accuracy"]
        entry["tar_change"] = {
            str(mine["fmr"]): mine["tar"] - its["tar"]
            for mine, its in zip(entry["points"], reference["points"], strict=True)
            if mine["supported"]
        }


def card_thresholds(entry: dict[str, Any], data: str) -> list[dict[str, Any]]:
    """The supported operating points in the form of the model card's `thresholds`."""
    return [
        {
            "fmr": point["fmr"],
            "value": round(point["value"], 4),
            "fmr_upper": point["fmr_upper"],
            "fnmr": round(point["fnmr"], 5),
            "impostor_pairs": point["impostor_pairs"],
            "data": data,
        }
        for point in entry["points"]
        if point["supported"]
    ]


def table(entries: list[dict[str, Any]]) -> str:
    """A Markdown table, a graph a row."""
    first = entries[0]
    shown = [i for i, point in enumerate(first["points"]) if 1e-5 <= point["fmr"] <= 1e-2]
    shown = [i for i in shown if first["points"][i]["supported"]] or [1]
    accuracy = first["accuracy"] is not None
    head = ["graph", "engine", "MB"]
    head += ["accuracy, ten folds (points to fp32)"] if accuracy else []
    head += [f"TAR at FMR {first['points'][i]['fmr']:g}" for i in shown]
    head += ["AUC", "EER", "no face found", "cosine to fp32, mean / min"]
    rows = [head, ["---"] * len(head)]
    for entry in entries:
        row = [f"{entry['file']}", entry["engine"], f"{entry['size'] / 1e6:.2f}"]
        if accuracy:
            change = f" ({100 * entry['accuracy_change']:+.2f})" if "accuracy_change" in entry else ""
            row.append(f"{entry['accuracy']:.2%} ± {entry['accuracy_std']:.2%}{change}")
        row += [_tar(entry["points"][i]) for i in shown]
        row += [f"{entry['auc']:.5f}", f"{entry['eer']:.2%}"]
        row.append(f"{entry['fte_pictures']} of {entry['pictures']:,}")
        row.append(
            f"{entry['cosine_mean']:.4f} / {entry['cosine_min']:.4f}" if "cosine_mean" in entry else ""
        )
        rows.append(row)
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def _tar(point: dict[str, Any]) -> str:
    if not point["supported"]:
        return f"not enough pairs ({point['impostor_pairs']:,})"
    interval = "" if point["tar_low"] is None else f" ({point['tar_low']:.2%} to {point['tar_high']:.2%})"
    return f"{point['tar']:.2%}{interval}"


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    return {
        "cpu": cpu_name(),
        "cpus": usable_cpus(),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "date": datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
    }


def command(module: str) -> str:
    """The command line that made a report, to be repeated from the repository's root."""
    return shlex.join(["python", "-m", module, *sys.argv[1:]])


def make_folder(folder: Path) -> None:
    """Make the folder for results before hours of measuring.

    Raises:
        InputError: it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder}: cannot be made a folder for the results ({error.strerror})") from None


def write(file: Path, report: dict[str, Any]) -> None:
    """Write a report as JSON; values that JSON cannot hold are an error."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(report, indent=1, allow_nan=False) + "\n", encoding="utf-8")
