"""From one comparison to a whole gallery: the threshold for 1:N.

A probe of somebody who is not enrolled is compared with N templates, and one false match among them
is enough to name the wrong person. Whatever the dependence between the comparisons, the false
positive identification rate obeys `FPIR <= N * FMR` (the union bound; ISO/IEC 19795-1 defines the
rates; for independent comparisons `1 - (1 - FMR)^N` is almost the same while small). The threshold is
therefore the card's for `FMR <= FPIR / N`, counted with the upper confidence bound of each FMR.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pocketface.errors import ThresholdError
from pocketface.types import Threshold

DEFAULT_FPIR = 0.01
"""One probe in a hundred of unknown people may be named by mistake, unless another rate is asked for."""


@dataclass(frozen=True, slots=True)
class Operating:
    """How a gallery decides.

    Attributes:
        threshold: the 1:1 threshold that is used for every comparison.
        fpir: upper bound of the FPIR with it, or None when the threshold is uncalibrated.
        note: one line when that is more than the default promises, else None.
    """

    threshold: Threshold
    fpir: float | None
    note: str | None = None


def bound(threshold: Threshold, templates: int) -> float:
    """Upper bound of the FPIR of a gallery of so many templates at a calibrated threshold."""
    fmr = threshold.fmr_upper
    if fmr is None:
        # Without a bound the rule of three (ISO/IEC 19795-1): fewer than 3 / n cannot have been seen.
        fmr = max(threshold.fmr or 0.0, 3 / (threshold.impostor_pairs or 1))
    return min(1.0, max(templates, 1) * fmr)


def for_gallery(calibrated: Sequence[Threshold], templates: int, fpir: float | None = None) -> Operating:
    """Choose the threshold for a gallery.

    Args:
        calibrated: thresholds of the model's card, in any order.
        templates: number of enrolled templates.
        fpir: false positive identification rate asked for, above 0 and at most 1. None asks for
            `DEFAULT_FPIR` and, in a gallery too large for the calibration, takes the strictest
            threshold there is and says so in the note.

    Raises:
        ThresholdError: the model has no calibrated thresholds, or they do not reach the rate asked for.
    """
    if fpir is not None and not 0 < fpir <= 1:
        raise ThresholdError(
            f"a false positive identification rate lies above 0 and at most at 1, not {fpir:g}"
        )
    if not calibrated:
        raise ThresholdError(
            "this model has no calibrated thresholds: measure one with pocketface calibrate, "
            "or give an explicit threshold"
        )
    wanted = DEFAULT_FPIR if fpir is None else fpir
    reaching = [threshold for threshold in calibrated if bound(threshold, templates) <= wanted]
    if reaching:
        chosen = min(reaching, key=lambda threshold: threshold.value)
        return Operating(chosen, bound(chosen, templates))
    strictest = max(calibrated, key=lambda threshold: threshold.value)
    reached = bound(strictest, templates)
    limit = (
        f"with {templates} templates the model's calibration supports an FPIR of {reached:.2g} "
        f"(strictest threshold: FMR {strictest.fmr:g} on {strictest.data})"
    )
    if fpir is not None:
        raise ThresholdError(f"{limit}, not {fpir:g}; ask for that, or calibrate on more impostor pairs")
    return Operating(strictest, reached, f"{limit}, more than the usual {DEFAULT_FPIR:g}")
