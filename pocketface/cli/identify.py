"""`pocketface identify`: who of a gallery is in a photo?"""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING, Any

from pocketface.cli import ERROR, common, galleries
from pocketface.cli.intermixed import let_options_stand_anywhere
from pocketface.errors import ExtraError, ImageError, InputError

if TYPE_CHECKING:
    from pocketface.gallery import Match

NOBODY = 1


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "identify",
        help="say who of a gallery is in a photo",
        description="Say who of a gallery is in each photo; unknown people stay unknown.",
        epilog="Exit status: 0 somebody was recognised, 1 nobody, 2 when a photo could not be read or a "
        "folder has none.",
    )
    galleries.add_options(parser, decides=True)
    parser.add_argument(
        "photos", nargs="+", help="photos, each with any number of faces, or folders of photos"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    let_options_stand_anywhere(parser)


def run(args: argparse.Namespace) -> int:
    """Print a line for each face."""
    photos = common.expand(args.photos)
    recognizer = common.recognizer(args)
    documents: list[dict[str, Any]] = []
    anybody = failed = False
    with galleries.open_gallery(args, recognizer) as gallery:
        galleries.say_limits(gallery)
        for photo in photos:
            try:
                common.refuse_folder(photo)
                faces = recognizer.analyze(photo)
            except (ImageError, ExtraError, InputError) as error:
                common.complain(error)
                documents.append({"photo": photo, "error": str(error)})
                failed = True
                continue
            matches = gallery.match(faces)
            anybody |= any(match is not None for match in matches)
            if args.json:
                found = [
                    {"face": common.face_json(face), "match": galleries.match_json(match)}
                    for face, match in zip(faces, matches, strict=True)
                ]
                documents.append({"photo": photo, "faces": found})
                continue
            if not faces:
                print(f"{photo}: no face")
            for face, match in zip(faces, matches, strict=True):
                x, y = (round(float(value)) for value in (face.bbox[:2] + face.bbox[2:]) / 2)
                print(f"{photo}: face at {x},{y}: {sentence(match)}")
        if args.json:
            model = common.model_json(recognizer.embedder.network.model)
            print(
                json.dumps({"gallery": gallery.store.url, "embedder": model, "photos": documents}, indent=2)
            )
    if failed:
        return ERROR
    return 0 if anybody else NOBODY


def sentence(match: Match | None) -> str:
    """A match for people."""
    if match is None:
        return "unknown"
    text = f"{match.person} (similarity {match.similarity:.3f}, threshold {match.threshold.value:.3f}"
    if match.fpir is not None:
        text += f", FPIR at most {match.fpir:.2g}"
    if match.margin is not None:
        text += f", margin {match.margin:.3f}"
    text += ")"
    if match.ambiguous:
        tie = "a tie with" if match.margin == 0 else "could as well be"
        text += f"; not sure: {tie} {match.runner_up}"
    return text
