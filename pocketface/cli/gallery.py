"""`pocketface gallery`: list, audit, export, expire and re-embed."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from typing import TYPE_CHECKING

from pocketface.cli import common, galleries
from pocketface.errors import InputError

if TYPE_CHECKING:
    from pocketface.gallery import Audit, Gallery


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "gallery",
        help="list, audit and export a gallery",
        description="List who is enrolled, or look after the gallery.",
    )
    galleries.add_options(parser, decides=True)
    action = parser.add_mutually_exclusive_group()
    action.add_argument(
        "--audit", action="store_true", help="people too close to each other, damage, expected FPIR"
    )
    action.add_argument("--log", action="store_true", help="who was enrolled when")
    action.add_argument(
        "--export", metavar="FILE", help="write the templates, unencrypted, to FILE.json or FILE.npz"
    )
    action.add_argument(
        "--retention", metavar="DAYS", help="forget people so long after their last enrolment; 'never'"
    )
    action.add_argument("--expire", action="store_true", help="forget people beyond the retention period now")
    action.add_argument("--vacuum", action="store_true", help="overwrite what was deleted")
    action.add_argument(
        "--reembed",
        metavar="DIR",
        help="make all templates anew with this model from DIR, which has one folder a person; "
        "people in DIR who are not enrolled stay so",
    )
    parser.add_argument(
        "--any-quality",
        action="store_true",
        help="with --reembed: do not refuse small, blurred or turned faces",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document")


def run(args: argparse.Namespace) -> int:
    """Print the people, or do what was asked."""
    if args.reembed is not None:
        return _reembed(args)
    if args.any_quality:
        raise InputError("--any-quality goes with --reembed")
    with galleries.open_gallery(args) as gallery:
        if args.audit:
            _audit(args, gallery.audit())
        elif args.log:
            _log(args, gallery)
        elif args.export is not None:
            print(f"{args.export}: {gallery.export(args.export)} templates")
        elif args.retention is not None:
            gallery.retention_days = None if args.retention == "never" else _days(args.retention)
            print(f"retention: {_retention(gallery)}")
        elif args.expire:
            for name in gallery.expire():
                print(f"{name}: forgotten")
        elif args.vacuum:
            gallery.store.vacuum()
        else:
            _people(args, gallery)
    return 0


def _people(args: argparse.Namespace, gallery: Gallery) -> None:
    people, header = gallery.people(), gallery.store.header
    if args.json:
        shown = {key: value for key, value in asdict(header).items() if key != "encryption"}
        document = {
            "gallery": gallery.store.url,
            "header": {**shown, "encrypted": header.encryption is not None},
            "retention_days": gallery.retention_days,
            "people": [asdict(person) for person in people],
        }
        print(json.dumps(document, indent=2))
        return
    for person in people:
        photos = f"{person.templates} photo{'' if person.templates == 1 else 's'}"
        print(f"{person.name}: {photos}, last enrolled {person.last[:10]}")
    encrypted = "encrypted" if header.encryption is not None else "not encrypted"
    print(f"{len(people)} people, {header.model}, {encrypted}, retention: {_retention(gallery)}")


def _audit(args: argparse.Namespace, audit: Audit) -> None:
    operating = audit.operating
    if args.json:
        print(json.dumps(asdict(audit), indent=2))
        return
    print(f"{audit.people} people, {audit.templates} templates, no damage found")
    print(f"threshold {operating.threshold.value:.3f}: {common.support(operating.threshold)}")
    if operating.fpir is not None:
        print(
            f"of people who are not enrolled, at most {operating.fpir:.2%} are expected to be taken for "
            "somebody who is"
        )
    if operating.note is not None:
        print(f"note: {operating.note}")
    for pair in audit.close:
        print(f"too close: {pair.first} and {pair.second}, similarity {pair.similarity:.3f}")
    for name in audit.inconsistent:
        print(f"inconsistent: a photo of {name} is unlike the others")
    for name in audit.expired:
        print(f"beyond the retention period: {name}")


def _log(args: argparse.Namespace, gallery: Gallery) -> None:
    events = gallery.events()
    if args.json:
        print(json.dumps([asdict(event) for event in events], indent=2))
        return
    for event in events:
        print(f"{event.at} {event.what} {event.person or '(forgotten)'} {event.templates}")


def _reembed(args: argparse.Namespace) -> int:
    from pocketface.gallery.gallery import reembed
    from pocketface.gallery.open import open_store

    recognizer = common.recognizer(args)
    store = open_store(args.gallery, galleries.secret(args))
    try:
        count = reembed(
            store,
            recognizer,
            galleries.folder_photos(args.reembed),
            check_quality=not args.any_quality,
        )
    finally:
        store.close()
    print(f"{count} templates made anew by {recognizer.model}")
    return 0


def _days(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise InputError(f"--retention takes a number of days or 'never', not {text!r}") from None


def _retention(gallery: Gallery) -> str:
    days = gallery.retention_days
    return "unlimited" if days is None else f"{days:g} days"
