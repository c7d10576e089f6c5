"""`pocketface forget`: remove a person and overwrite the templates."""

from __future__ import annotations

import argparse

from pocketface.cli import common, galleries
from pocketface.cli.intermixed import let_options_stand_anywhere
from pocketface.errors import PocketfaceError


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "forget",
        help="remove a person from a gallery",
        description="Remove a person from a gallery and overwrite what was stored of the person. "
        "No model is needed: the gallery may be of any.",
    )
    galleries.add_store_options(parser)
    parser.add_argument("person", nargs="+", help="names")
    let_options_stand_anywhere(parser)


def run(args: argparse.Namespace) -> int:
    """Forget everybody named; 2 when somebody was not there, or could not be overwritten."""
    from pocketface.gallery.removal import forget

    status = 0
    anybody = False
    with galleries.open_store(args) as store:
        for person in args.person:
            try:
                removed = forget(store, person, overwrite=False)
            except PocketfaceError as error:
                common.complain(error)
                status = 2
                continue
            anybody = True
            print(f"{person}: forgotten, {removed} template{'' if removed == 1 else 's'} removed", flush=True)
        if anybody:
            store.vacuum()
    return status
