"""Files that are either there in full or not at all."""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pocketface.errors import InputError


@contextmanager
def replacing(target: Path, *, private: bool = False) -> Iterator[Path]:
    """A temporary file beside `target` that takes its place when the block ends without an error.

    A symbolic link stays, and what it points at is replaced. A device or a pipe is written to directly.

    Args:
        target: the file to be written; its folder must exist.
        private: readable by its owner alone; otherwise an existing file's mode stays, and a new one has
            the mode that the umask leaves.

    Yields:
        The empty temporary file, with the suffix of `target`.

    Raises:
        OSError: the folder is missing or cannot be written to; `filename` is the target.
    """
    real = Path(os.path.realpath(target))
    try:
        old = real.stat().st_mode
    except FileNotFoundError:
        old = None
    if old is not None and not stat.S_ISREG(old):
        yield real
        return
    temporary = real.with_name(f".{real.stem}.{secrets.token_hex(4)}{real.suffix}")
    mode = 0o666 if old is None and not private else 0o600
    try:
        os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode))
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(target)) from None
    try:
        yield temporary
        if old is not None and not private:
            with suppress(PermissionError):  # memory cards have no modes
                temporary.chmod(stat.S_IMODE(old))
        os.replace(temporary, real)
    finally:
        temporary.unlink(missing_ok=True)


def check_target(path: str | os.PathLike[str], suffixes: Collection[str] = ()) -> None:
    """Say before the work, not after it, that a file cannot be written.

    Args:
        path: the file to be written later.
        suffixes: those it may have, lower case with the dot; any when empty.

    Raises:
        InputError: another suffix, a folder of that name, or its folder is missing or write-protected.
    """
    target = Path(path)
    if suffixes and target.suffix.lower() not in suffixes:
        raise InputError(f"{target}: give a file that ends in {' or '.join(suffixes)}")
    real = Path(os.path.realpath(target))
    if real.is_dir():
        raise InputError(f"{target}: is a folder; give a file")
    if not real.parent.is_dir():
        raise InputError(f"{target}: the folder {target.parent} does not exist; make it first")
    if not os.access(real if real.exists() and not real.is_file() else real.parent, os.W_OK):
        raise InputError(f"{target}: no permission to write there")
