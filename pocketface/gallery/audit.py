"""How well a gallery's people can be told apart: pairs that are too close, and the FPIR to expect."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pocketface.gallery.thresholds import Operating

if TYPE_CHECKING:
    from pocketface.gallery.interface import Store

_BLOCK = 256


@dataclass(frozen=True, slots=True)
class ClosePair:
    """Two enrolled people who pass for each other: relatives, one person twice, or bad photos."""

    first: str
    second: str
    similarity: float


@dataclass(frozen=True, slots=True)
class Audit:
    """What `Gallery.audit` found.

    Attributes:
        people: number of people.
        templates: number of templates.
        operating: threshold of this gallery, and the FPIR expected of people who are not enrolled.
        close: pairs of people whose templates reach the threshold, closest first.
        inconsistent: people with a template that is below the threshold to all their others.
        expired: people beyond the retention period.
    """

    people: int
    templates: int
    operating: Operating
    close: tuple[ClosePair, ...]
    inconsistent: tuple[str, ...]
    expired: tuple[str, ...]


def compare_people(store: Store, threshold: float) -> tuple[tuple[ClosePair, ...], tuple[str, ...]]:
    """Compare everybody with everybody: close pairs, and people whose own photos disagree."""
    owners: list[str] = []
    vectors = []
    for person, template in store.templates():
        owners.append(person)
        vectors.append(template.vector)
    if not vectors:
        return (), ()
    names, person_of = np.unique(np.array(owners), return_inverse=True)
    rows = np.stack(vectors)
    closest: dict[tuple[int, int], float] = {}
    alone: set[int] = set()
    for start in range(0, len(rows), _BLOCK):
        similarity = rows[start : start + _BLOCK] @ rows.T
        mine = np.arange(start, start + len(similarity))
        similarity[np.arange(len(similarity)), mine] = -1  # not with itself
        same = person_of[mine, None] == person_of[None]
        has_others = same.sum(axis=1) > 1
        agrees = np.where(same, similarity, -1).max(axis=1) >= threshold
        alone.update(int(person) for person in person_of[mine[has_others & ~agrees]])
        for i, j in zip(*np.nonzero((similarity >= threshold) & ~same), strict=True):
            a, b = sorted((int(person_of[mine[i]]), int(person_of[j])))
            closest[a, b] = max(closest.get((a, b), -1.0), float(similarity[i, j]))
    pairs = [ClosePair(str(names[a]), str(names[b]), value) for (a, b), value in closest.items()]
    pairs.sort(key=lambda pair: (-pair.similarity, pair.first, pair.second))
    return tuple(pairs), tuple(str(names[i]) for i in sorted(alone))
