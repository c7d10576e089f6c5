"""What a run that goes on finds in its folder: a checkpoint of the same settings, a log that ends there."""

from __future__ import annotations

import contextlib
import csv
import os
import pickle
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from pocketface.errors import InputError, PocketfaceError


def read_state(path: Path) -> dict[str, Any]:
    """The dict that `torch.save` wrote, on the CPU; InputError where there is none."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, ValueError, KeyError, EOFError, pickle.UnpicklingError) as error:
        raise InputError(f"{path}: damaged, or not a file of weights") from error
    if not isinstance(state, dict):
        raise InputError(f"{path}: not a file of weights")
    return state


def same_settings(path: Path, kept: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Raise InputError where the checkpoint's settings differ from those of now, in what both have.

    Checkpoints from before settings were kept have none, and pass.
    """
    was, new = flat(kept), flat(now)
    others = [name for name in was if name in new and was[name] != new[name]]
    if others:
        first = f"{others[0]} {was[others[0]]}, not {new[others[0]]}"
        what = first if len(first) < 80 else f"another {others[0]}"
        more = f" and {len(others) - 1} more differences" if len(others) > 1 else ""
        raise InputError(f"{path}: begun with {what}{more}: give the same again, or another --out")


def flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Settings within settings as `outer.inner`."""
    result: dict[str, Any] = {}
    for name, value in settings.items():
        result |= flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {prefix + name: value}
    return result


@contextlib.contextmanager
def restoring(path: Path) -> Iterator[None]:
    """InputError in place of what PyTorch says where a checkpoint does not fit."""
    try:
        yield
    except PocketfaceError:
        raise
    except (RuntimeError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{path}: of another network or optimiser: give the options it was begun with, or another --out"
        ) from error


def cut(log: Path, column: str, last: int) -> None:
    """Drop the rows that a killed run wrote after its checkpoint, those with more than `last` in a column."""
    if not log.is_file():
        return
    with open(log, encoding="utf-8", newline="") as stream:
        reader = csv.DictReader(stream)
        fields = reader.fieldnames or []
        # A row that was cut short lacks its last fields.
        rows = [row for row in reader if None not in row.values() and int(row[column]) <= last]
    if not rows:
        log.unlink()
        return
    part = log.with_suffix(".part")
    with open(part, "w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, fields)
        writer.writeheader()
        writer.writerows(rows)
    os.replace(part, log)
