"""The command `pocketface`.

Each command is a module with `add_parser(subparsers)` and `run(args) -> int`, imported only when chosen.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module

from pocketface import __version__
from pocketface.errors import PocketfaceError

COMMANDS = {
    "verify": ("pocketface.cli.verify", "decide whether two photos show the same person"),
    "detect": ("pocketface.cli.detect", "find the faces in photos"),
    "embed": ("pocketface.cli.embed", "describe the faces of photos as vectors"),
    "enroll": ("pocketface.cli.enroll", "add photos of a person to a gallery"),
    "identify": ("pocketface.cli.identify", "say who of a gallery is in a photo"),
    "forget": ("pocketface.cli.forget", "remove a person from a gallery"),
    "gallery": ("pocketface.cli.gallery", "list, audit and export a gallery"),
    "watch": ("pocketface.cli.watch", "recognise people in a video or before a camera"),
    "calibrate": ("pocketface.cli.calibrate", "measure thresholds on photos of your own"),
    "models": ("pocketface.cli.models", "list, add, fetch, bundle and check models"),
    "doctor": ("pocketface.cli.doctor", "test each engine and graph on this machine"),
    "bench": ("pocketface.cli.bench", "measure speed on this machine"),
}

ERROR = 2
INTERRUPTED = 130  # 128 + SIGINT, as shells report it
BROKEN_PIPE = 141  # 128 + SIGPIPE


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: arguments without the program's name; those of the process when None.

    Returns:
        Exit status: 0 success (or same person), 1 different people, 2 error.
    """
    arguments = sys.argv[1:] if argv is None else list(argv)
    _open_standard_streams()
    for stream in (sys.stdout, sys.stderr):
        # A file name that the terminal cannot show must not end the run.
        getattr(stream, "reconfigure", lambda **_: None)(errors="backslashreplace")
    try:
        status = _run(arguments)
        sys.stdout.flush()
        return status
    except PocketfaceError as error:
        return _fail(str(error))
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # The interpreter flushes once more at its end; that must meet an open file.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except MemoryError:
        return _fail("not enough memory")
    except OSError as error:
        place = f"{error.filename}: " if error.filename is not None else ""
        return _fail(f"{place}{error.strerror or error}")


def _open_standard_streams() -> None:
    """Give a process started with `>&-` or `2>&-` the streams it lacks."""
    while (number := os.open(os.devnull, os.O_RDWR)) < 3:
        pass  # else the next file opened, a gallery perhaps, would be where a library prints to
    os.close(number)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 - for good


def _run(arguments: list[str]) -> int:
    name = next((argument for argument in arguments if not argument.startswith("-")), None)
    parser = argparse.ArgumentParser(
        prog="pocketface",
        description="Face recognition for devices that fit in a pocket. Nothing leaves the device; "
        "only 'pocketface models fetch' uses the network.",
        epilog="Exit status: 0 same person or success, 1 different people, 2 error.",
    )
    parser.add_argument("--version", action="version", version=f"pocketface {__version__}")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND")
    chosen = None
    for command, (module, summary) in COMMANDS.items():
        if command == name:
            chosen = import_module(module)
            chosen.add_parser(subparsers)
        else:
            subparsers.add_parser(command, help=summary)
    args = parser.parse_args(arguments)
    if chosen is None:
        parser.print_help(sys.stderr)
        return ERROR
    status: int = chosen.run(args)
    return status


def _fail(message: str) -> int:
    print(f"pocketface: {message}", file=sys.stderr)
    return ERROR
