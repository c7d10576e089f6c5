"""Options may stand between a command's photos and names."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any


def let_options_stand_anywhere(parser: argparse.ArgumentParser) -> None:
    """Take the words that argparse leaves over, as it fills positionals before the first option after them.

    `parse_intermixed_args` would do this, but not in a subparser. The last positional takes any number.
    """
    plain = parser.parse_known_args
    positionals = [action.dest for action in parser._actions if not action.option_strings]

    def parse(args: Sequence[str] | None = None, namespace: Any = None) -> tuple[Any, list[str]]:
        found, rest = plain(args, namespace)
        end = rest.index("--") if "--" in rest else len(rest)  # what follows it is never an option
        words = [word for word in rest[:end] if not word.startswith("-")] + rest[end + 1 :]
        for name in positionals[:-1]:
            if getattr(found, name) is None and words:
                setattr(found, name, words.pop(0))
        setattr(found, positionals[-1], [*getattr(found, positionals[-1]), *words])
        return found, [word for word in rest[:end] if word.startswith("-")]

    parser.parse_known_args = parse  # type: ignore[assignment]
