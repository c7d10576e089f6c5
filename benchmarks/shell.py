"""What the commands of the benchmarks say at the shell when something is missing."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pocketface.errors import PocketfaceError

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def one_line(extra: str = "benchmarks") -> Iterator[None]:
    """Ends the process with one line on stderr and status 2 where the block fails on bad input.

    Args:
        extra: names the packages, one of which may be missing (setup.cfg).
    """
    try:
        yield
    except PocketfaceError as error:
        message = str(error)
    except ModuleNotFoundError as error:
        message = f"no module named {error.name!r}; in the clone run: pip install '.[{extra}]'"
    except OSError as error:
        message = f"{error.filename}: {error.strerror or error}"
    else:
        return
    print(f"error: {message}", file=sys.stderr)
    raise SystemExit(2)
