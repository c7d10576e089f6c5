"""`pocketface detect`: where are the faces?"""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING, Any

from pocketface.cli import ERROR, common
from pocketface.cli.intermixed import let_options_stand_anywhere
from pocketface.errors import ExtraError, ImageError, InputError

if TYPE_CHECKING:
    from pocketface.types import Face


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "detect",
        help="find the faces in photos",
        description="Find the faces in photos: boxes and five landmarks, in pixels of the upright photo.",
        epilog="Exit status: 0 success (also without faces), 2 when a photo could not be read or a folder "
        "has none.",
    )
    parser.add_argument("pictures", nargs="+", metavar="PICTURE", help="photo, or folder of photos")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--save-picture", metavar="OUT.png", help="draw the faces of the only photo")
    common.add_detector_options(parser)
    let_options_stand_anywhere(parser)


def run(args: argparse.Namespace) -> int:
    """Print the faces of each photo."""
    files = common.expand(args.pictures)
    if args.save_picture and len(files) != 1:
        raise InputError("--save-picture draws one photo; give one")
    if args.save_picture:
        from pocketface import picture

        picture.check_save(args.save_picture)
    detector = common.detector(args)
    from pocketface import images
    from pocketface.detect import enlarged

    limit = images.MAX_PIXELS if args.max_pixels is None else args.max_pixels
    document: list[dict[str, Any]] = []
    status = 0
    with common.progress("picture") as show:
        for done, path in enumerate(files, 1):
            try:
                common.refuse_folder(path)
                photo = images.read(path, max_pixels=limit)
            except (ImageError, ExtraError, InputError) as error:
                common.complain(error)
                document.append({"path": path, "error": str(error)})
                status = ERROR
                continue
            faces = [enlarged(face, photo.reduction) for face in detector.detect(photo.pixels)]
            if args.save_picture:
                picture.save(picture.detection(photo, faces), args.save_picture)
            document.append({"path": path, "faces": [common.face_json(face) for face in faces]})
            if not args.json:
                _print(path, faces)
            show(done, len(files))
    if args.json:
        model = common.model_json(detector.network.model)
        print(json.dumps({"detector": model, "pictures": document}, indent=2))
    return status


def _print(path: str, faces: list[Face]) -> None:
    print(f"{path}: {len(faces)} face{'' if len(faces) == 1 else 's'}")
    for face in faces:
        left, top, right, bottom = (round(float(value)) for value in face.bbox)
        turned = f", turned by {face.rotation}" if face.rotation else ""
        print(f"  score {face.det_score:.2f}, from ({left}, {top}) to ({right}, {bottom}){turned}")
