"""Types and helps of arguments that several command lines share."""

from argparse import ArgumentTypeError

BF16 = "maps in bfloat16, on a CPU that multiplies it well (AMD since Zen 4)"
"""The help of `--bf16`."""


def count(text: str) -> int:
    """A whole number of at least one."""
    if not text.isdecimal() or int(text) < 1:
        raise ArgumentTypeError(f"expected a whole number above zero, got {text!r}")
    return int(text)


def minutes(text: str) -> float:
    """A time above zero."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not value > 0:
        raise ArgumentTypeError(f"expected a number above zero, got {text!r}")
    return value


def share(text: str) -> float:
    """A number above zero, one at most."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= 1:
        raise ArgumentTypeError(f"expected a number above zero and at most one, got {text!r}")
    return value
