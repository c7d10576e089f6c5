"""`pocketface forget`: remove a person and overwrite the templates."""

from __future__ import annotations

import argparse

from pocketface.cli import galleries


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "forget",
        help="remove a person from a gallery",
        description="Remove a person from a gallery and overwrite what was stored of the person.",
    )
    galleries.add_options(parser, decides=False)
    parser.add_argument("person", nargs="+", help="names")


def run(args: argparse.Namespace) -> int:
    """Forget."""
    with galleries.open_gallery(args) as gallery:
        for person in args.person:
            removed = gallery.forget(person)
            print(f"{person}: forgotten, {removed} template{'' if removed == 1 else 's'} removed")
    return 0
