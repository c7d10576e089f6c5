"""What engines' errors are turned into: one line that says what to do."""

from __future__ import annotations

import numpy as np


def first_line(error: BaseException) -> str:
    """The first line of an error, at most 200 characters."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:200]


def numpy_2() -> bool:
    """Whether this is numpy 2 or later."""
    return int(np.__version__.split(".")[0]) >= 2


def is_numpy_mismatch(error: BaseException) -> bool:
    """Whether an import failed because the module was built for another numpy."""
    text = str(error)
    return numpy_2() and ("multiarray" in text or "_ARRAY_API" in text)


def built_for_numpy_1(package: str, remedy: str) -> str:
    """The message for a package whose binary does not fit numpy 2."""
    return (
        f'{package} was built for numpy 1, this is numpy {np.__version__}: {remedy}, or pip install "numpy<2"'
    )


def cannot_import(package: str, error: BaseException) -> str:
    """The message for any other failed import."""
    return f"{package} cannot be imported ({first_line(error)}): pip install --force-reinstall {package}"
