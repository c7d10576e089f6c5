"""`pocketface enroll`: add photos of one person, or of everybody in a folder."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from pocketface.cli import common, galleries
from pocketface.cli.intermixed import let_options_stand_anywhere
from pocketface.errors import InputError


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "enroll",
        help="add photos of a person to a gallery",
        description="Add photos of a person to a gallery, which is made when there is none. Photos without "
        "exactly one large, sharp and frontal face are refused. The same photo again changes nothing.",
    )
    galleries.add_options(parser, decides=False)
    parser.add_argument("person", nargs="?", help="the person's name")
    parser.add_argument("photos", nargs="*", help="photos with this one face")
    parser.add_argument(
        "--folder", metavar="DIR", help="enrol everybody in DIR, which has one folder a person"
    )
    parser.add_argument(
        "--any-quality", action="store_true", help="do not refuse small, blurred or turned faces"
    )
    parser.add_argument("--ray", action="store_true", help="with --folder: embed on Ray's workers")
    parser.add_argument(
        "--workers", type=common.positive, default=2, metavar="N", help="with --ray (default: 2)"
    )
    parser.add_argument(
        "--retention", type=float, metavar="DAYS", help="forget people so long after their last enrolment"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    let_options_stand_anywhere(parser)


def run(args: argparse.Namespace) -> int:
    """Enrol; 2 when a photo of a folder was refused, or a person's folder has none."""
    from pocketface.gallery.enrollment import check_name, describe
    from pocketface.gallery.removal import check_retention

    if (args.folder is None) != bool(args.photos) or (args.folder is None) == (args.person is None):
        raise InputError("give a name and photos, or --folder DIR")
    if args.ray and args.folder is None:
        raise InputError("--ray goes with --folder")
    check_retention(args.retention)
    check_quality = not args.any_quality
    people = {} if args.folder is None else galleries.folder_photos(args.folder)
    recognizer = common.recognizer(args)
    first = []
    if args.folder is None and galleries.is_new(args):
        # Before there is a gallery, so that a refused photo leaves none behind.
        person = check_name(args.person)
        first = [describe(recognizer, person, photo, check_quality=check_quality) for photo in args.photos]
    with galleries.open_gallery(args, recognizer, create=True) as gallery:
        if args.retention is not None:
            gallery.store.retention_days = args.retention
        forgotten = gallery.expire()  # here rather than on enrolling, to say whom
        refused: dict[str, str] = {}
        if first:
            enrolled = [gallery.enroll_templates(args.person, first)]
        elif args.folder is None:
            enrolled = [gallery.enroll(args.person, args.photos, check_quality=check_quality)]
        else:
            from pocketface.gallery.bulk import enroll_folder

            with common.progress("person") as progress:
                enrolled, refused = enroll_folder(
                    gallery,
                    people,
                    check_quality=check_quality,
                    workers=args.workers if args.ray else 0,
                    progress=progress,
                )
            empty = [str(Path(args.folder, name)) for name, photos in people.items() if not photos]
            refused |= {folder: common.no_picture(folder) for folder in empty}
        for warning in (warning for done in enrolled for warning in done.warnings):
            common.complain(f"warning: {warning}")
        for reason in refused.values():
            common.complain(reason)
        if args.json:
            print(
                json.dumps(
                    {
                        "enrolled": [
                            {"person": e.person, "added": e.added, "known": e.known, "warnings": e.warnings}
                            for e in enrolled
                        ],
                        "refused": refused,
                        "forgotten": forgotten,
                    },
                    indent=2,
                )
            )
        else:
            for name in forgotten:
                print(f"{name}: forgotten")
            for one in enrolled:
                known = f", {one.known} known before" if one.known else ""
                print(f"{one.person}: {one.added} photo{'' if one.added == 1 else 's'} enrolled{known}")
    return 2 if refused else 0
