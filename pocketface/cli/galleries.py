"""Options and steps that the commands on galleries share."""

from __future__ import annotations

import argparse
import getpass
import os
import sys
from contextlib import AbstractContextManager, closing
from pathlib import Path
from typing import TYPE_CHECKING

from pocketface.cli import common
from pocketface.errors import InputError

if TYPE_CHECKING:
    from pocketface.gallery import Gallery, Match
    from pocketface.gallery.encryption import Secret
    from pocketface.gallery.interface import Store
    from pocketface.recognizer import FaceRecognizer


def add_store_options(parser: argparse.ArgumentParser) -> None:
    """Add the gallery and its key."""
    parser.add_argument("gallery", help="a file such as people.db, postgresql://... or qdrant://...")
    key = parser.add_mutually_exclusive_group()
    key.add_argument(
        "--key-file", metavar="FILE", help="key of an encrypted gallery: 32 random bytes or more"
    )
    key.add_argument(
        "--passphrase",
        action="store_true",
        help="ask for the passphrase of an encrypted gallery, or take $POCKETFACE_PASSPHRASE",
    )


def add_options(parser: argparse.ArgumentParser, *, decides: bool) -> None:
    """Add the gallery, its key, and the recogniser's options; with `decides`, the error rate too."""
    add_store_options(parser)
    if decides:
        limit = parser.add_mutually_exclusive_group()
        limit.add_argument(
            "--fpir",
            type=float,
            metavar="R",
            help="false positive identification rate to keep (default: 0.01, as far as calibrated)",
        )
        limit.add_argument("--threshold", type=float, metavar="X", help="cosine similarity to decide by")
    common.add_recognizer_options(parser)


def is_new(args: argparse.Namespace) -> bool:
    """Whether the gallery is a file that does not exist yet."""
    return "://" not in args.gallery and not Path(args.gallery).exists()


def passphrase(args: argparse.Namespace, *, new: bool = False) -> str | None:
    """The passphrase from the environment or the terminal, None when none was asked for.

    Args:
        args: parsed arguments.
        new: it is for a new gallery, which a typo would lock: ask twice.
    """
    if not args.passphrase:
        return None
    given = os.environ.get("POCKETFACE_PASSPHRASE")
    if given is not None:
        return given
    if not sys.stdin.isatty():
        raise InputError("no terminal to ask for the passphrase on; set POCKETFACE_PASSPHRASE")
    try:
        given = getpass.getpass("passphrase of the new gallery: " if new else "passphrase: ")
        if new and getpass.getpass("the same again: ") != given:
            raise InputError("the two passphrases differ; nothing was made")
    except EOFError:
        raise InputError("no passphrase was given") from None
    return given


def secret(args: argparse.Namespace) -> Secret | None:
    """The key that the options give."""
    from pocketface.gallery.encryption import Secret

    phrase = passphrase(args)
    return (
        None
        if phrase is None and args.key_file is None
        else Secret(passphrase=phrase, key_file=args.key_file)
    )


def open_gallery(
    args: argparse.Namespace, recognizer: FaceRecognizer | None = None, *, create: bool = False
) -> Gallery:
    """The gallery that the options of `add_options` describe."""
    recognizer = recognizer or common.recognizer(args)
    return recognizer.gallery(
        args.gallery,
        passphrase=passphrase(args, new=create and is_new(args)),
        key_file=args.key_file,
        create=create,
        fpir=getattr(args, "fpir", None),
        threshold=getattr(args, "threshold", None),
    )


def open_store(args: argparse.Namespace) -> AbstractContextManager[Store]:
    """The gallery for what compares no faces: loads no model, and takes a gallery of any."""
    from pocketface.gallery.open import open_store

    return closing(open_store(args.gallery, secret(args)))


def say_limits(gallery: Gallery) -> None:
    """Tell on stderr when the decision promises less than usual."""
    note = gallery.operating().note
    if note is not None:
        common.complain(f"note: {note}")


def folder_photos(folder: str) -> dict[str, list[str]]:
    """Photos of a folder that has one folder a person, by name; says which belong to nobody.

    Raises:
        InputError: there is no such folder, or nobody in it.
    """
    root = Path(folder)
    if not root.is_dir():
        raise InputError(f"{folder}: no such folder; one folder a person is expected in it")
    people = {
        person.name: common.pictures_in(person)
        for person in sorted(root.iterdir())
        if person.is_dir() and not person.name.startswith(".")
    }
    if not any(people.values()):
        raise InputError(f"{folder}: no photos; one folder a person is expected in it")
    loose = [path.name for path in sorted(root.iterdir()) if common.is_picture(path) and path.name[0] != "."]
    if loose:
        lie = "picture lies" if len(loose) == 1 else "pictures lie"
        named = f"{loose[0]}{' ...' if len(loose) > 1 else ''}"
        common.complain(
            f"{folder}: {len(loose)} {lie} beside the people's folders ({named}); "
            "passed over, move what is somebody's into that folder"
        )
    return people


def match_json(match: Match | None) -> dict[str, object] | None:
    """A match as JSON values, or None for unknown."""
    if match is None:
        return None
    return {
        "person": match.person,
        "similarity": round(match.similarity, 4),
        "margin": None if match.margin is None else round(match.margin, 4),
        "runner_up": match.runner_up,
        "ambiguous": match.ambiguous,
        "threshold": round(match.threshold.value, 4),
        "fmr": match.threshold.fmr,
        "fpir": match.fpir,
    }
