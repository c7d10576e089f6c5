"""Exact search: one matrix product, then the best template of each person."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pocketface.gallery.records import Candidate

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Probes are taken in blocks so that the similarities of a large gallery fit a small memory.
_BLOCK_BYTES = 64 << 20
# So many maxima are found more quickly one by one than by sorting.
_FEW = 8


@dataclass(frozen=True, slots=True, eq=False)
class Matrix:
    """All templates of a gallery in memory.

    Attributes:
        names: people in alphabetical order.
        starts: int64 `(len(names),)`, row of each person's first template.
        rows: float32 `(n, dim)`, templates grouped by person in the order of `names`.
    """

    names: tuple[str, ...]
    starts: NDArray[np.int64]
    rows: NDArray[np.float32]

    def search(self, probes: NDArray[np.float32], k: int) -> list[list[Candidate]]:
        """See `Store.search`."""
        if not self.names:
            return [[] for _ in probes]
        block = max(1, _BLOCK_BYTES // (4 * len(self.rows)))
        found: list[list[Candidate]] = []
        for start in range(0, len(probes), block):
            similarity = probes[start : start + block] @ self.rows.T
            if len(self.names) < len(self.rows):  # else each person has one template
                similarity = np.maximum.reduceat(similarity, self.starts, axis=1)
            found += [self._top(row, k) for row in similarity]
        return found

    def _top(self, best: NDArray[np.float32], k: int) -> list[Candidate]:
        """The k best people of a row, which is used up; of equal ones the first by name."""
        if k > _FEW:
            order = np.argsort(-best, kind="stable")[:k]
            return [Candidate(self.names[i], float(best[i])) for i in order.tolist()]
        found: list[Candidate] = []
        for _ in range(min(k, len(best))):
            i = int(best.argmax())
            found.append(Candidate(self.names[i], float(best[i])))
            best[i] = -np.inf
        return found
