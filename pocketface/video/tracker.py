"""Follows faces from frame to frame: overlap of boxes first, embeddings where boxes do not decide.

The association of SORT (Bewley et al., "Simple online and realtime tracking", ICIP 2016) without its
Kalman filter: at a door, faces move less than their own width between two frames. Pairs are taken
greedily, most overlap first. What is left over may be a face that jumped or was hidden; it joins a
lost track when its embedding says so. Tracker libraries would bring SciPy and a GPU framework for that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pocketface.types import Face


@dataclass(slots=True, eq=False)
class Track:
    """One face over time.

    Attributes:
        number: unique within the tracker, from 1.
        face: where it was seen last.
        first_frame: index of the first frame.
        last_frame: index of the last frame it was seen in.
        seen: how many frames it was seen in.
        embedding: float32 `(d,)`, the quality-weighted mean of its embeddings, unit norm, or None.
        best_quality: highest quality that was embedded, 0 to 1.
    """

    number: int
    face: Face
    first_frame: int
    last_frame: int
    seen: int = 1
    embedding: NDArray[np.float32] | None = None
    best_quality: float = 0.0
    _sum: NDArray[np.float64] | float = field(default=0.0, repr=False)

    def add(self, embedding: NDArray[np.float32], quality: float) -> None:
        """Take one more embedding into the mean, weighted by its quality."""
        self._sum = self._sum + max(quality, 1e-3) * embedding.astype(np.float64)
        self.embedding = (self._sum / np.linalg.norm(self._sum)).astype(np.float32)
        self.best_quality = max(self.best_quality, quality)


class Tracker:
    """Gives each detected face its track."""

    def __init__(self, *, min_iou: float = 0.2, patience: int = 25) -> None:
        """Begin without tracks.

        Args:
            min_iou: overlap (intersection over union) from which two boxes may be one face.
            patience: frames without a detection after which a track ends.
        """
        self._min_iou = min_iou
        self._patience = patience
        self._next = 1
        self.tracks: list[Track] = []

    def update(self, faces: Sequence[Face], frame: int) -> tuple[list[Track], list[Track]]:
        """Assign the faces of a frame.

        Args:
            faces: detections.
            frame: the frame's index.

        Returns:
            The track of each face, in their order, and the tracks that have ended.
        """
        ended = [track for track in self.tracks if frame - track.last_frame > self._patience]
        self.tracks = [track for track in self.tracks if frame - track.last_frame <= self._patience]
        overlap = iou([track.face for track in self.tracks], faces)
        owner: dict[int, Track] = {}
        for flat in np.argsort(-overlap, axis=None, kind="stable"):
            t, f = divmod(int(flat), len(faces))
            if overlap[t, f] < self._min_iou:
                break
            track = self.tracks[t]
            if f not in owner and track.last_frame != frame:
                owner[f] = track
                track.face, track.last_frame, track.seen = faces[f], frame, track.seen + 1
        for f, face in enumerate(faces):
            if f not in owner:
                owner[f] = Track(self._next, face, frame, frame)
                self._next += 1
                self.tracks.append(owner[f])
        return [owner[f] for f in range(len(faces))], ended

    def replace(self, track: Track) -> Track:
        """End a track whose face has become somebody else's, and begin a new one in its place.

        Args:
            track: a track seen in the last frame.

        Returns:
            The new track, without embeddings.
        """
        new = Track(self._next, track.face, track.last_frame, track.last_frame)
        self._next += 1
        self.tracks[self.tracks.index(track)] = new
        return new

    def rejoin(self, new: Track, threshold: float) -> Track:
        """Join a new, embedded track to the lost one that it continues, if there is one.

        Args:
            new: a track that began in its last frame.
            threshold: cosine similarity from which the two are the same person.

        Returns:
            The older track, which now ends where `new` is, or `new` itself.
        """
        lost = [
            track
            for track in self.tracks
            if track is not new and track.last_frame < new.first_frame and track.embedding is not None
        ]
        if new.embedding is None or not lost:
            return new
        similarity, best = max(
            (
                (float(track.embedding @ new.embedding), track)
                for track in lost
                if track.embedding is not None
            ),
            key=lambda pair: pair[0],
        )
        if similarity < threshold:
            return new
        best.add(new.embedding, new.best_quality)
        best.face, best.last_frame, best.seen = new.face, new.last_frame, best.seen + new.seen
        self.tracks.remove(new)
        return best


def iou(first: Sequence[Face], second: Sequence[Face]) -> NDArray[np.float64]:
    """Intersection over union of all pairs of boxes, `(len(first), len(second))`."""
    a = np.array([face.bbox for face in first], np.float64).reshape(-1, 1, 4)
    b = np.array([face.bbox for face in second], np.float64).reshape(1, -1, 4)
    sides = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])
    both = np.clip(sides, 0, None).prod(axis=-1)
    areas = (a[..., 2:] - a[..., :2]).prod(axis=-1) + (b[..., 2:] - b[..., :2]).prod(axis=-1)
    overlap: NDArray[np.float64] = both / np.maximum(areas - both, 1e-9)
    return overlap
