"""`pocketface calibrate`: error rates and a threshold on photos of your own."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

from pocketface.cli import common, galleries
from pocketface.errors import InputError, ThresholdError

if TYPE_CHECKING:
    from pocketface.calibrate import Calibration
    from pocketface.recognizer import FaceRecognizer
    from pocketface.types import Threshold


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "calibrate",
        help="measure thresholds on photos of your own",
        description="Measure FMR and FNMR of the model on your own photos, and find a threshold.",
    )
    parser.add_argument("pairs", nargs="?", help="CSV file: photo, photo, 1 (one person) or 0 (two)")
    parser.add_argument(
        "--folder", metavar="DIR", help="compare all photos in DIR, which has one folder a person"
    )
    parser.add_argument(
        "--fmr", type=float, default=1e-3, metavar="R", help="false match rate wanted (default: 1e-3)"
    )
    parser.add_argument("--report", metavar="OUT.html", help="write a report with plots (extra plots)")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    common.add_recognizer_options(parser)


def run(args: argparse.Namespace) -> int:
    """Measure; 2 when the pairs do not support the rate wanted."""
    from pocketface import calibration_report
    from pocketface.calibrate import from_folder, from_pairs, read_pairs

    if (args.pairs is None) == (args.folder is None):
        raise InputError("give either a CSV file of pairs or --folder DIR")
    if not 0 < args.fmr < 1:
        raise InputError(f"a false match rate lies between 0 and 1, not {args.fmr:g}")
    if args.report is not None:
        calibration_report.check(args.report)
    recognizer = common.recognizer(args)
    with common.progress("photo") as progress:
        if args.folder is not None:
            people = galleries.folder_photos(args.folder)
            calibration = from_folder(recognizer, people, data=args.folder, progress=progress)
        else:
            calibration = from_pairs(recognizer, read_pairs(args.pairs), data=args.pairs, progress=progress)
    chosen: Threshold | None = None
    try:
        chosen = calibration.threshold(args.fmr)
        if chosen.value > 1:  # identical pictures, rounded
            common.complain(
                f"note: {calibration.data}: two people share a photo; no threshold tells them apart"
            )
            chosen = replace(chosen, value=1.0)
    except ThresholdError as error:
        common.complain(error)
    if args.json:
        print(json.dumps(_document(calibration, recognizer, chosen), indent=2))
    else:
        _print(calibration, chosen)
    if args.report is not None:
        calibration_report.write(calibration, recognizer.model, chosen, args.report)
    return 0 if chosen is not None else 2


def _print(calibration: Calibration, chosen: Threshold | None) -> None:
    from pocketface.calibration_report import rounded_up

    people = "" if calibration.people is None else f" of {calibration.people} people"
    print(
        f"{calibration.photos} photos{people}, {len(calibration.failures)} without an embedding; "
        f"{len(calibration.genuine):,} genuine and {len(calibration.impostor):,} impostor pairs; "
        f"equal error rate {calibration.equal_error_rate():.2%}"
    )
    for path, reason in calibration.failures.items():
        common.complain(reason if path in reason else f"{path}: {reason}")
    for row in calibration.thresholds():
        missed, bound = calibration.fnmr(row.value)
        print(
            f"FMR {row.fmr:g} (at most {row.fmr_upper:.2g}): threshold {rounded_up(row.value)}, "
            f"FNMR {missed:.2%} (at most {bound:.2%})"
        )
    if chosen is not None:
        print(f"use it: --threshold {rounded_up(chosen.value)}")


def _document(
    calibration: Calibration, recognizer: FaceRecognizer, chosen: Threshold | None
) -> dict[str, object]:
    return {
        "data": calibration.data,
        "embedder": common.model_json(recognizer.embedder.network.model),
        "detector": common.model_json(recognizer.detector.network.model),
        "photos": calibration.photos,
        "people": calibration.people,
        "genuine_pairs": len(calibration.genuine),
        "impostor_pairs": len(calibration.impostor),
        "equal_error_rate": calibration.equal_error_rate(),
        "threshold": None if chosen is None else asdict(chosen),
        "thresholds": [asdict(row) for row in calibration.thresholds()],
        "failures": calibration.failures,
    }
