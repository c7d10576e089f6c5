"""Which pictures show what a held-out one shows: copies, crops of the same size, neighbouring frames.

A hash of the path parts the pictures, and some public sets hold one picture under several names.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from training.detector.collection import Item, held_out
from training.prepare.crops import fingerprint

BITS = 12
"""Perceptual hashes that differ in so many of 256 bits, or in fewer, are of the same picture."""


def _prints(items: Sequence[Item], mirrored: bool = False) -> npt.NDArray[np.uint64]:
    step = -1 if mirrored else 1
    found = [fingerprint(np.ascontiguousarray(item.pixels(4)[:, ::step])) for item in items]
    return np.array(found, np.uint64).reshape(-1, 4)


def _near(items: Sequence[Item], others: Sequence[Item]) -> npt.NDArray[np.bool_]:
    """Which of the items show what one of the others shows, mirrored or not."""
    known = np.concatenate([_prints(others), _prints(others, mirrored=True)])
    if not len(known):
        return np.zeros(len(items), bool)
    apart = [int(np.bitwise_count(known ^ own).sum(axis=1).min()) for own in _prints(items)]
    return np.array(apart) <= BITS


def unseen(items: Sequence[Item]) -> list[Item]:
    """The items that may be trained on: not held out, and like no held-out one."""
    rest = [item for item in items if not held_out(item.name)]
    near = _near(rest, [item for item in items if held_out(item.name)])
    return [item for item, copy in zip(rest, near, strict=True) if not copy]


def alone(items: Sequence[Item]) -> list[Item]:
    """The held-out items that are like none of the others, for weights that were trained on those."""
    kept = [item for item in items if held_out(item.name)]
    near = _near(kept, [item for item in items if not held_out(item.name)])
    return [item for item, copy in zip(kept, near, strict=True) if not copy]
