"""From similarity to a decision: thresholds that say what supports them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pocketface.errors import InputError, ThresholdError
from pocketface.types import Threshold

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from pocketface.cards import ModelCard

MIN_EXPECTED_ERRORS = 3
"""Impostor pairs must lead one to expect this many false matches, or the rate was not measured.

The "rule of 3" of ISO/IEC 19795-1: with n pairs and no error seen, rates below 3 / n are unknown at 95 %.
"""


def similarity(a: ArrayLike, b: ArrayLike) -> float:
    """Cosine similarity of two embeddings.

    Args:
        a: `(d,)`, any norm but zero.
        b: `(d,)`.

    Returns:
        -1 to 1.

    Raises:
        InputError: the shapes differ, or an embedding is zero or not finite.
    """
    x, y = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if x.ndim != 1 or x.shape != y.shape:
        raise InputError(f"embeddings of shapes {x.shape} and {y.shape}; expected (d,) twice")
    norms = float(np.linalg.norm(x) * np.linalg.norm(y))
    if not np.isfinite(norms) or norms == 0.0:
        raise InputError("an embedding is zero or not finite")
    return float(np.clip(x @ y / norms, -1.0, 1.0))


def threshold_for(card: ModelCard, fmr: float) -> Threshold:
    """The card's threshold for a false match rate: the measured one, or the next stricter.

    Args:
        card: an embedder's card.
        fmr: false match rate asked for, such as 1e-3.

    Returns:
        A threshold whose measured rate is at most `fmr`; its `fmr` is the one measured.

    Raises:
        ThresholdError: the card is uncalibrated, or its impostor pairs do not support the rate.
        InputError: `fmr` is not between 0 and 1.
    """
    if not 0 < fmr < 1:
        raise InputError(f"a false match rate lies between 0 and 1, not {fmr}")
    supported = [entry for entry in card.thresholds if _supported(entry)]
    if not supported:
        raise ThresholdError(
            f"{card.name} is uncalibrated: give a threshold, or measure one on your own pictures "
            "with 'pocketface calibrate'"
        )
    # A relative tolerance: 1e-3 written in a file and 0.001 typed by a user are the same rate.
    fitting = [entry for entry in supported if _rate(entry) <= fmr * (1 + 1e-9)]
    if not fitting:
        least = min(supported, key=_rate)
        raise ThresholdError(
            f"{card.name}: FMR {fmr:g} is not supported; its {least.impostor_pairs:,} impostor pairs "
            f"({least.data}) support {_rate(least):g} and above"
        )
    return max(fitting, key=_rate)


def explicit_threshold(value: float) -> Threshold:
    """A threshold that somebody chose; nothing supports it.

    Raises:
        InputError: `value` is not a cosine.
    """
    if not -1 <= value <= 1:
        raise InputError(f"a threshold is a cosine similarity, -1 to 1, not {value}")
    return Threshold(float(value))


def _rate(entry: Threshold) -> float:
    assert entry.fmr is not None
    return entry.fmr


def _supported(entry: Threshold) -> bool:
    """Whether enough impostor pairs were compared to have seen such a rate."""
    expected = _rate(entry) * (entry.impostor_pairs or 0)
    return expected >= MIN_EXPECTED_ERRORS * (1 - 1e-9)
