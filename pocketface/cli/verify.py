"""`pocketface verify`: are these two photos of the same person?"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from typing import TYPE_CHECKING

from pocketface import __version__
from pocketface.cli import common

if TYPE_CHECKING:
    from pocketface.recognizer import FaceRecognizer
    from pocketface.types import Verification

SAME, DIFFERENT = 0, 1


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "verify",
        help="decide whether two photos show the same person",
        description="Decide whether two photos show the same person.",
        epilog="Exit status: 0 same person, 1 different people, 2 error.",
    )
    parser.add_argument("a", help="a photo: JPEG, PNG, WebP, BMP, GIF or HEIC")
    parser.add_argument("b", help="another photo")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--save-picture", metavar="OUT.png", help="draw both photos, faces and the decision")
    limit = parser.add_mutually_exclusive_group()
    limit.add_argument("--threshold", type=float, metavar="X", help="cosine similarity to decide by")
    limit.add_argument(
        "--fmr", type=float, metavar="R", help="false match rate to choose the threshold for (default: 1e-3)"
    )
    common.add_recognizer_options(parser)


def run(args: argparse.Namespace) -> int:
    """Print the decision."""
    if args.save_picture:
        from pocketface import picture

        picture.check_save(args.save_picture)
    recognizer = common.recognizer(args)
    result = recognizer.verify(args.a, args.b, fmr=args.fmr, threshold=args.threshold)
    if args.save_picture:
        from pocketface import images

        photos = [images.read(path, max_pixels=recognizer.max_pixels) for path in (args.a, args.b)]
        picture.save(picture.comparison((photos[0], photos[1]), result), args.save_picture)
    if args.json:
        print(json.dumps(_document(args, recognizer, result), indent=2))
    else:
        decision = "same person" if result.verified else "different people"
        sign = ">=" if result.verified else "<"
        print(f"{decision}: similarity {result.similarity:.3f} {sign} threshold {result.threshold.value:.3f}")
        print(f"  {common.support(result.threshold)}")
        if result.comparisons > 1 and result.fmr is not None:
            print(f"  best of {result.comparisons} comparisons: FMR {result.fmr:g} for the two pictures")
        print(f"  {result.model} with {result.detector}")
    return SAME if result.verified else DIFFERENT


def _document(
    args: argparse.Namespace, recognizer: FaceRecognizer, result: Verification
) -> dict[str, object]:
    return {
        "verified": result.verified,
        "similarity": result.similarity,
        "threshold": {**asdict(result.threshold), "calibrated": result.threshold.calibrated},
        "fmr": result.fmr,
        "comparisons": result.comparisons,
        "pictures": [
            {"path": path, "face": common.face_json(face)}
            for path, face in zip((args.a, args.b), result.faces, strict=True)
        ],
        "policy": recognizer.policy,
        "mirror": recognizer.mirror,
        "rotate": args.rotate,
        "embedder": common.model_json(recognizer.embedder.network.model),
        "detector": common.model_json(recognizer.detector.network.model),
        "version": __version__,
    }
