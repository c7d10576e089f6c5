"""Targets that lean towards what the other pictures of the same person have.

A teacher's embedding of one picture holds the person and the picture: pose, age, light, a hand before the
face. Where a person is in several pictures, the sum of what the teacher sees in the others says which part is
whose, as class centres of a teacher do in Boutros et al., "AdaDistill" (ECCV 2024); faces of people
in one picture, and blends, keep what they have.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

DOUBT = 2.0
"""Pictures that a person's sum is divided by beside their own number: two of them say little."""

STRANGER = 0.25
"""Cosine to a person's other pictures below which a picture is taken for somebody else's."""

ENOUGH = 4
"""Pictures of a person from which on a stranger among them is looked for."""


def agreed(targets: NDArray[np.float32], people: Sequence[str], weight: float) -> NDArray[np.float32]:
    """Unit-norm float32 `(n, d)`: of unit-norm targets `(n, d)` and who is in each face, "" if unknown.

    To each target is added `weight` times the sum of the person's others, divided by their number and
    `DOUBT`.
    """
    result = targets.copy()
    pictures: dict[str, list[int]] = defaultdict(list)
    for index, person in enumerate(people):
        if person:
            pictures[person].append(index)
    for indices in pictures.values():
        own = _without_strangers(targets, np.array(indices))
        if len(own) > 1:
            others = targets[own].sum(axis=0) - targets[own]
            mixed = targets[own] + weight * others / (len(own) - 1 + DOUBT)
            result[own] = mixed / np.linalg.norm(mixed, axis=1, keepdims=True)
    return result


def _without_strangers(targets: NDArray[np.float32], indices: NDArray[np.int64]) -> NDArray[np.int64]:
    if len(indices) < ENOUGH:
        return indices
    own = targets[indices]
    others = own.sum(axis=0) - own
    kept: NDArray[np.bool_] = (own * others).sum(axis=1) > STRANGER * np.linalg.norm(others, axis=1)
    return indices[kept]
