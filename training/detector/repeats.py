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


def unseen(items: Sequence[Item]) -> list[Item]:
    """The items that may be trained on: not held out, and like no held-out one, mirrored or not."""
    kept = [item for item in items if held_out(item.name)]
    rest = [item for item in items if not held_out(item.name)]
    protected = np.concatenate([_prints(kept), _prints(kept, mirrored=True)])
    if not len(protected):
        return rest
    apart = [int(np.bitwise_count(protected ^ own).sum(axis=1).min()) > BITS for own in _prints(rest)]
    return [item for item, far in zip(rest, apart, strict=True) if far]
