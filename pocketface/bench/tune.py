"""Chooses form and thread count of a network for this device."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Any

from pocketface import engines
from pocketface.errors import ModelError
from pocketface.registry import FORMS
from pocketface.tuning import Choice, cpu_name

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pocketface.registry import Model

GAIN = 0.9
"""A less exact form, or one more thread, has to take less than this share of the time to be chosen."""


def candidates(embedder: Model, installed: Sequence[Model]) -> list[Model]:
    """Forms of the same network that may stand in for one: same space, calibrated if that is, runnable."""
    card = embedder.card
    runnable = engines.runnable()
    forms = {
        model.card.file: model
        for model in [*reversed(installed), embedder]
        if model.card.space == card.space
        and model.card.name == card.name
        and model.card.calibrated >= card.calibrated
        and model.path.suffix in runnable
    }
    return sorted(forms.values(), key=_exactness)


def choose(forms: Sequence[Model], rows: Sequence[dict[str, Any]]) -> Choice:
    """The fastest form and thread count, where `GAIN` is worth it.

    Args:
        forms: what `candidates` gave, most exact first.
        rows: what `stages.compare` measured.

    Raises:
        ModelError: no form ran.
    """
    rank = {model.card.file: place for place, model in enumerate(forms)}
    ran = sorted((row for row in rows if "p50" in row), key=lambda row: (rank[row["file"]], row["threads"]))
    if not ran:
        raise ModelError("no form of the model ran on this device; see 'pocketface doctor'")
    best = ran[0]
    for row in ran[1:]:
        if row["p50"] < GAIN * best["p50"]:
            best = row
    suffix = next(model.path.suffix for model in forms if model.card.file == best["file"])
    return Choice(
        engine=engines.for_format(suffix).name,
        file=best["file"],
        threads=best["threads"],
        measured=datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
        cpu=cpu_name(),
    )


def _exactness(model: Model) -> int:
    return FORMS.index((model.card.format, model.card.precision))
