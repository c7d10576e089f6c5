"""`pocketface gallery`: list, audit, export, expire and re-embed."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from typing import TYPE_CHECKING

from pocketface.cli import common, galleries
from pocketface.errors import InputError

if TYPE_CHECKING:
    from pocketface.gallery import Audit, Store


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "gallery",
        help="list, audit and export a gallery",
        description="List who is enrolled, or look after the gallery. Only --audit and --reembed use the "
        "model; all else also works in a gallery that another one has made.",
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
    if args.audit:
        with galleries.open_gallery(args) as gallery:
            _audit(args, gallery.audit())
        return 0
    with galleries.open_store(args) as store:
        if args.log:
            _log(args, store)
        elif args.export is not None:
            _export(args, store)
        elif args.retention is not None or args.expire:
            _expire(args, store)
        elif args.vacuum:
            store.vacuum()
            if args.json:
                _print({"vacuumed": True})
        else:
            _people(args, store)
    return 0


def _print(document: object) -> None:
    print(json.dumps(document, indent=2), flush=True)


def _people(args: argparse.Namespace, store: Store) -> None:
    people, header = store.people(), store.header
    if args.json:
        shown = {key: value for key, value in asdict(header).items() if key != "encryption"}
        document = {
            "gallery": store.url,
            "header": {**shown, "encrypted": header.encryption is not None},
            "retention_days": store.retention_days,
            "people": [asdict(person) for person in people],
        }
        _print(document)
        return
    for person in people:
        photos = f"{person.templates} photo{'' if person.templates == 1 else 's'}"
        print(f"{person.name}: {photos}, last enrolled {person.last[:10]}")
    encrypted = "encrypted" if header.encryption is not None else "not encrypted"
    print(f"{len(people)} people, {header.model}, {encrypted}, retention: {_retention(store)}")


def _audit(args: argparse.Namespace, audit: Audit) -> None:
    operating = audit.operating
    if args.json:
        _print(asdict(audit))
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


def _log(args: argparse.Namespace, store: Store) -> None:
    events = store.events()
    if args.json:
        _print([asdict(event) for event in events])
        return
    for event in events:
        print(f"{event.at} {event.what} {event.person or '(forgotten)'} {event.templates}")


def _export(args: argparse.Namespace, store: Store) -> None:
    from pocketface.gallery.export import export

    count = export(store, args.export)
    if args.json:
        _print({"exported": count, "file": args.export})
    else:
        print(f"{args.export}: {count} templates")


def _expire(args: argparse.Namespace, store: Store) -> None:
    """Forget who is overdue, where asked for by a new limit."""
    from pocketface.gallery.removal import check_retention, expire

    limit = {}
    if args.retention is not None:
        days = None if args.retention == "never" else _days(args.retention)
        check_retention(days)
        store.retention_days = limit["retention_days"] = days
    forgotten = expire(store)
    if args.json:
        _print({**limit, "forgotten": forgotten})
    else:
        if limit:
            print(f"retention: {_retention(store)}")
        for name in forgotten:
            print(f"{name}: forgotten", flush=True)
    if forgotten:
        store.vacuum()  # last, as it fails while another process reads


def _reembed(args: argparse.Namespace) -> int:
    from pocketface.gallery.gallery import reembed

    recognizer = common.recognizer(args)
    with galleries.open_store(args) as store:
        count = reembed(
            store,
            recognizer,
            galleries.folder_photos(args.reembed),
            check_quality=not args.any_quality,
        )
    if args.json:
        _print({"reembedded": count, "embedder": common.model_json(recognizer.embedder.network.model)})
    else:
        print(f"{count} templates made anew by {recognizer.model}")
    return 0


def _days(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise InputError(f"--retention takes a number of days or 'never', not {text!r}") from None


def _retention(store: Store) -> str:
    days = store.retention_days
    return "unlimited" if days is None else f"{days:g} days"
