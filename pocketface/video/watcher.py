"""Says who arrives: each track is recognised when it is new or seen better, and announced once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pocketface.images import load
from pocketface.quality import assess
from pocketface.video.tracker import Track, Tracker

if TYPE_CHECKING:
    from pocketface.gallery import Gallery, Match
    from pocketface.types import Face
    from pocketface.video.reader import Frame

_BETTER = 1.15
_MIN_QUALITY = 0.25


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


@dataclass(slots=True)
class Seen:
    """What is in one frame.

    Attributes:
        tracks: the track of each face.
        names: the person of each track, None while undecided, "" for unknown.
        arrivals: who was announced with this frame.
    """

    tracks: list[Track]
    names: list[str | None]
    arrivals: list[Arrival] = field(default_factory=list)


class Watcher:
    """Recognises the people in a video against a gallery.

    A decision rests on the quality-weighted mean of a track's embeddings (template averaging is a
    weighted vote of the frames), not on one frame: somebody is announced when `votes` embeddings were
    taken or the track ends. A face is embedded when its track is new or the face is clearly better
    than any before, so most frames cost a detection alone.
    """

    def __init__(self, gallery: Gallery, *, votes: int = 3, patience: int = 25, every: int = 1) -> None:
        """Begin.

        Args:
            gallery: whom to recognise.
            votes: embeddings that decide about a track.
            patience: frames without a detection after which a person has left.
            every: look at each n-th frame only.
        """
        self.gallery = gallery
        self.tracker = Tracker(patience=patience)
        self._votes = votes
        self._every = every
        self._states: dict[int, _State] = {}
        self.embedded = 0

    def look(self, frame: Frame) -> Seen | None:
        """Handle one frame; None when it is skipped."""
        if frame.index % self._every:
            return None
        recognizer = self.gallery.recognizer
        faces = recognizer.detect(frame.pixels, channel_order="bgr")
        tracks, ended = self.tracker.update(faces, frame.index)
        arrivals = [self._announce(track, frame) for track in ended if self._undecided(track)]
        for track in ended:
            self._states.pop(track.number, None)
        self._embed(frame, faces, tracks)
        for i, track in enumerate(tracks):
            state = self._states[track.number]
            if state.votes == 1 and not state.announced:
                tracks[i] = self._rejoin(track)
                state = self._states[tracks[i].number]
            if not state.announced and state.votes >= self._votes:
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

    def _embed(self, frame: Frame, faces: list[Face], tracks: list[Track]) -> None:
        picture = load(frame.pixels, channel_order="bgr")
        chosen: list[tuple[Track, Face, float]] = []
        for face, track in zip(faces, tracks, strict=True):
            state = self._states.setdefault(track.number, _State(frame.seconds))
            quality = assess(picture, face).score
            if quality < _MIN_QUALITY:
                continue
            if state.votes < self._votes or quality > _BETTER * track.best_quality:
                chosen.append((track, face, quality))
        if not chosen:
            return
        found = self.gallery.recognizer.embed_faces(
            picture, [face for _, face, _ in chosen], channel_order="rgb"
        )
        self.embedded += len(chosen)
        for (track, _, quality), face in zip(chosen, found, strict=True):
            assert face.embedding is not None
            track.add(face.embedding, quality)
            state = self._states[track.number]
            state.votes += 1
            assert track.embedding is not None
            (state.match,) = self.gallery.match_vectors(track.embedding[None])

    def _rejoin(self, track: Track) -> Track:
        joined = self.tracker.rejoin(track, self.gallery.operating().threshold.value)
        if joined is not track:
            self._states.pop(track.number)
        return joined

    def _announce(self, track: Track, frame: Frame) -> Arrival:
        state = self._states[track.number]
        state.announced = True
        return Arrival(state.began, frame.index, track.number, state.match, state.votes)

    def _name(self, track: Track) -> str | None:
        state = self._states[track.number]
        if not state.announced:
            return None
        return state.match.person if state.match is not None else ""
