"""What a gallery stores and what it answers."""

from __future__ import annotations

import json
import shlex
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from pocketface.errors import GalleryError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from pocketface.types import Threshold


@dataclass(frozen=True, slots=True)
class Header:
    """What all templates of a gallery have in common; written once, when the gallery is made.

    Attributes:
        space: embedding-space id of the model's card; templates of other spaces are refused.
        preprocessing: version of alignment and mirroring, as `arcface-112/4`.
        dim: length of a template.
        model: id of the embedder that made the gallery (`name@sha256[:12]`).
        model_sha256: sha256 of that embedder's graph.
        created: UTC time, ISO 8601.
        encryption: how the key is derived and checked (see `encryption.py`), or None for plain templates.
    """

    space: str
    preprocessing: str
    dim: int
    model: str
    model_sha256: str
    created: str
    encryption: dict[str, Any] | None = None

    def to_json(self) -> str:
        """The header as canonical JSON: equal headers give equal text."""
        return json.dumps(asdict(self), sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Header:
        """The opposite of `to_json`.

        Raises:
            ValueError: the text is not such a header.
        """
        try:
            return cls(**json.loads(text))
        except TypeError as error:
            raise ValueError(f"not a gallery header: {error}") from None


def check_space(url: str, stored: Header, own: Header) -> None:
    """Refuse templates that cannot be compared.

    Args:
        url: name of the gallery for the message.
        stored: the gallery's header.
        own: header of the templates at hand.

    Raises:
        GalleryError: the embedding spaces, preprocessings or dimensions differ.
    """
    for what, theirs, ours in (
        ("embedding space", stored.space, own.space),
        ("preprocessing", stored.preprocessing, own.preprocessing),
        ("dimension", stored.dim, own.dim),
    ):
        if theirs != ours:
            raise GalleryError(
                f"{url}: made by {stored.model}, {what} {theirs}; this recogniser ({own.model}) "
                f"has {ours}. Use that model, or make the templates anew: "
                f"pocketface gallery {shlex.quote(url)} --reembed FOLDER"
            )


def now() -> str:
    """The time as galleries write it."""
    return stamp(datetime.now(timezone.utc))


def stamp(moment: datetime) -> str:
    """A time as galleries write it: ISO 8601, so that equal zones sort as text."""
    return moment.isoformat(timespec="milliseconds")


@dataclass(frozen=True, slots=True, eq=False)
class Template:
    """One enrolled embedding (ISO/IEC 2382-37: biometric reference template).

    Attributes:
        id: unique within the gallery; the same photo of the same person gets the same id.
        vector: float32 `(dim,)` of unit norm.
        source: where the photo came from, for people; the photo itself is not stored.
        quality: the enrolment's quality score, 0 to 1, or None.
    """

    id: str
    vector: NDArray[np.float32]
    source: str = ""
    quality: float | None = None


@dataclass(frozen=True, slots=True)
class Person:
    """One enrolled person.

    Attributes:
        name: unique within the gallery.
        templates: how many there are.
        first: UTC time of the first enrolment, ISO 8601.
        last: UTC time of the latest enrolment.
    """

    name: str
    templates: int
    first: str
    last: str


@dataclass(frozen=True, slots=True)
class Event:
    """One line of the log of who was enrolled when.

    Attributes:
        at: UTC time, ISO 8601.
        what: `enroll`, `forget`, `expire` or `reembed`.
        person: the name, or None once that person was forgotten.
        templates: how many templates were added or removed.
    """

    at: str
    what: str
    person: str | None
    templates: int


@dataclass(frozen=True, slots=True)
class Candidate:
    """A person and the similarity of the person's most similar template."""

    person: str
    similarity: float


@dataclass(frozen=True, slots=True)
class Match:
    """The answer to "who is this?".

    Attributes:
        person: the most similar enrolled person.
        similarity: cosine to that person's most similar template.
        runner_up: the next most similar person, or None when only one is enrolled.
        margin: `similarity` minus the runner-up's, or None.
        ambiguous: the runner-up passes the threshold too, so that both claims would be accepted:
            siblings, one person under two names, or a tie. Treat the name as a guess.
        threshold: the decision threshold, stricter than the 1:1 one by the gallery's size.
        fpir: upper bound of the false positive identification rate at that threshold for this
            gallery (ISO/IEC 19795-1), or None when the threshold is uncalibrated.
    """

    person: str
    similarity: float
    runner_up: str | None
    margin: float | None
    ambiguous: bool
    threshold: Threshold
    fpir: float | None


@dataclass(frozen=True, slots=True)
class Enrollment:
    """What an enrolment did.

    Attributes:
        person: the name.
        added: templates stored by this call.
        known: photos that were enrolled for this person before, and skipped.
        warnings: one line each, such as that the person is already there under another name.
    """

    person: str
    added: int
    known: int = 0
    warnings: tuple[str, ...] = field(default=())
