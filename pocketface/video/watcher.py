"""Says who arrives: each track is recognised when it is new or seen better, and announced once.

Boxes that overlap say nothing of who is in them, so a track is embedded again from time to time; when
somebody else has taken the place, the track ends and the newcomer is recognised like any other.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pocketface.errors import ThresholdError
from pocketface.images import load
from pocketface.quality import assess
from pocketface.video.tracker import Track, Tracker

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from pocketface.gallery import Gallery, Match
    from pocketface.types import Face
    from pocketface.video.reader import Frame

_BETTER = 1.15
_MIN_QUALITY = 0.25
_CHECK_EVERY = 10  # frames: nobody takes another's place much faster, and it costs a tenth of a recognition
_DOUBTS = 3  # embeddings in a row that disagree end a track: one may be blurred ...
_DOUBT_EVERY = 3  # ... and so may the frames next to it


@dataclass(frozen=True, slots=True)
class Arrival:
    """Somebody has arrived.

    Attributes:
        seconds: when the track began.
        frame: index of the frame in which it was decided.
        track: the track's number.
        match: who it is, or None for somebody unknown.
        votes: how many embeddings the decision rests on.
    """

    seconds: float
    frame: int
    track: int
    match: Match | None
    votes: int


@dataclass(slots=True)
class _State:
    began: float
    match: Match | None = None
    votes: int = 0
    announced: bool = False
    named: bool = False  # it was announced with a name
    last_frame: int | None = None
    unchecked: int = 0  # frames since the last embedding
    doubts: int = 0  # embeddings in a row that disagree with the track
    gap: bool = False  # it was out of sight, and no embedding since says that it is the same person


@dataclass(slots=True)
class Seen:
    """What is in one frame.

    Attributes:
        tracks: the track of each face.
        names: the person of each track, None while undecided or in doubt, "" for unknown.
        arrivals: who was announced with this frame.
    """

    tracks: list[Track]
    names: list[str | None]
    arrivals: list[Arrival] = field(default_factory=list)


class Watcher:
    """Recognises the people in a video against a gallery.

    A decision rests on the quality-weighted mean of a track's embeddings (template averaging is a
    weighted vote of the frames), not on one frame: somebody is announced when `votes` embeddings were
    taken or the track ends, and once more when better pictures name somebody announced as unknown. A
    face is embedded when its track is new, the face is clearly better than any before, or the track is
    due to be checked: every tenth frame, and after each gap. So most frames cost a detection alone. A
    track ends when several checks in a row are of somebody else, or when the camera was lost.
    """

    def __init__(self, gallery: Gallery, *, votes: int = 3, patience: int = 25, every: int = 1) -> None:
        """Begin.

        Args:
            gallery: whom to recognise.
            votes: embeddings that decide about a track.
            patience: frames without a detection after which a person has left; two looks at least.
            every: look at each n-th frame only.
        """
        self.gallery = gallery
        self.tracker = Tracker(patience=max(patience, 2 * every))
        self._votes = votes
        self._every = every
        self._states: dict[int, _State] = {}
        self._looked: int | None = None  # index of the frame looked at before
        self._connection = 0
        self.embedded = 0

    def look(self, frame: Frame) -> Seen | None:
        """Handle one frame; None when it is skipped."""
        if frame.index % self._every:
            return None
        arrivals: list[Arrival] = []
        if frame.connection != self._connection:
            arrivals += self.finish(frame)
            self.tracker.tracks.clear()
            self._states.clear()
            self._connection = frame.connection
        recognizer = self.gallery.recognizer
        faces = recognizer.detect(frame.pixels, channel_order="bgr")
        tracks, ended = self.tracker.update(faces, frame.index)
        arrivals += [self._announce(track, frame) for track in ended if self._undecided(track)]
        for track in ended:
            self._states.pop(track.number, None)
        for track in tracks:
            state = self._states.setdefault(track.number, _State(frame.seconds))
            state.gap |= state.last_frame not in (None, self._looked)
            state.last_frame = frame.index
            state.unchecked += 1
        self._looked = frame.index
        arrivals += self._embed(frame, faces, tracks)
        for i, track in enumerate(tracks):
            state = self._states[track.number]
            if state.votes == 1 and not state.announced:
                tracks[i] = self._rejoin(track)
                state = self._states[tracks[i].number]
            decided = not state.announced and state.votes >= self._votes
            if decided or (state.announced and not state.named and state.match is not None):
                arrivals.append(self._announce(tracks[i], frame))
        return Seen(tracks, [self._name(track) for track in tracks], arrivals)

    def finish(self, frame: Frame) -> Iterator[Arrival]:
        """Announce those who are still undecided at the end."""
        for track in self.tracker.tracks:
            if self._undecided(track):
                yield self._announce(track, frame)

    def _undecided(self, track: Track) -> bool:
        state = self._states.get(track.number)
        return state is not None and not state.announced and state.votes > 0

    def _embed(self, frame: Frame, faces: list[Face], tracks: list[Track]) -> list[Arrival]:
        """Embed the faces whose turn it is; in `tracks`, replace those that have become somebody else's."""
        picture = load(frame.pixels, channel_order="bgr")
        chosen: list[tuple[int, float]] = []
        for i, (face, track) in enumerate(zip(faces, tracks, strict=True)):
            quality = assess(picture, face).score
            if quality >= _MIN_QUALITY and (self._adds(track, quality) or self._due(track)):
                chosen.append((i, quality))
        if not chosen:
            return []
        found = self.gallery.recognizer.embed_faces(
            picture, [faces[i] for i, _ in chosen], channel_order="rgb"
        )
        self.embedded += len(chosen)
        arrivals: list[Arrival] = []
        for (i, quality), face in zip(chosen, found, strict=True):
            assert face.embedding is not None
            track, state = tracks[i], self._states[tracks[i].number]
            state.unchecked = 0
            if not self._agrees(track, face.embedding):
                state.doubts += 1
                if state.doubts < _DOUBTS:
                    continue
                # A lone embedding of nobody known, contradicted at once, was a blur and no visitor.
                if self._undecided(track) and (state.match is not None or state.votes > 1):
                    arrivals.append(self._announce(track, frame))
                del self._states[track.number]
                track = tracks[i] = self.tracker.replace(track)
                state = self._states[track.number] = _State(frame.seconds, last_frame=frame.index)
            state.doubts, state.gap = 0, False
            if self._adds(track, quality):
                track.add(face.embedding, quality)
                state.votes += 1
                assert track.embedding is not None
                (state.match,) = self.gallery.match_vectors(track.embedding[None])
        return arrivals

    def _adds(self, track: Track, quality: float) -> bool:
        """Whether an embedding of that quality would better the track's mean."""
        return self._states[track.number].votes < self._votes or quality > _BETTER * track.best_quality

    def _due(self, track: Track) -> bool:
        """Whether it is time to see if the track still shows the same person."""
        state = self._states[track.number]
        return state.gap or state.unchecked >= (_DOUBT_EVERY if state.doubts else _CHECK_EVERY)

    def _agrees(self, track: Track, embedding: NDArray[np.float32]) -> bool:
        """Whether an embedding shows the person of the track: like its mean, or the same name by itself."""
        if track.embedding is None:
            return True
        limit = self.gallery.operating().threshold.value
        with suppress(ThresholdError):
            # Two pictures are compared here, not one with everybody: the 1:1 threshold is enough.
            limit = min(limit, self.gallery.recognizer.threshold().value)
        if float(track.embedding @ embedding) >= limit:
            return True
        match = self._states[track.number].match
        if match is None:
            return False
        (own,) = self.gallery.match_vectors(embedding[None])
        return own is not None and own.person == match.person

    def _rejoin(self, track: Track) -> Track:
        joined = self.tracker.rejoin(track, self.gallery.operating().threshold.value)
        if joined is not track:
            old, new = self._states[joined.number], self._states.pop(track.number)
            old.last_frame, old.unchecked, old.doubts, old.gap = new.last_frame, 0, 0, False
        return joined

    def _announce(self, track: Track, frame: Frame) -> Arrival:
        state = self._states[track.number]
        state.announced, state.named = True, state.match is not None
        return Arrival(state.began, frame.index, track.number, state.match, state.votes)

    def _name(self, track: Track) -> str | None:
        state = self._states[track.number]
        if not state.announced or state.doubts or state.gap:
            return None
        return state.match.person if state.match is not None else ""
