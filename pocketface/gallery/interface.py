"""The one thing a storage engine must do; `sqlite.py`, `postgres.py` and `qdrant.py` do it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from pocketface.gallery.records import Candidate, Event, Header, Person, Template


class Store(Protocol):
    """Templates on a storage engine. Every method raises GalleryError when the engine fails."""

    @property
    def url(self) -> str:
        """Name of the gallery for messages, without passwords."""
        ...

    @property
    def header(self) -> Header:
        """What all templates have in common, as it was when the store was opened or `replace` was called."""
        ...

    def add(self, person: str, templates: Sequence[Template], *, at: str) -> int:
        """Add templates to a person, all or none; ids that are already there are skipped.

        Returns:
            How many were new.

        Raises:
            GalleryError: another process has replaced the templates by those of another model.
        """
        ...

    def remove(self, person: str, *, at: str, what: str) -> int:
        """Remove a person with all templates and strike the name from the log.

        Returns:
            How many templates were removed; 0 when there is no such person.
        """
        ...

    def replace(self, header: Header, people: Mapping[str, Sequence[Template]], *, at: str) -> None:
        """Exchange the header and all templates, all or nothing.

        People who were there keep the dates of their first and latest enrolment.

        Args:
            header: the new one.
            people: the new templates of each person.
            at: time for the log and for people who were not there.
        """
        ...

    def people(self) -> list[Person]:
        """Everyone enrolled, by name."""
        ...

    def templates(self) -> Iterator[tuple[str, Template]]:
        """Person's name and template, for export and audit."""
        ...

    def known(self, ids: Sequence[str]) -> set[str]:
        """Which of these template ids are stored."""
        ...

    def count(self) -> int:
        """Number of templates."""
        ...

    def search(self, probes: NDArray[np.float32], k: int) -> list[list[Candidate]]:
        """The k most similar people for each probe, exactly.

        Args:
            probes: float32 `(n, dim)`, unit rows.
            k: how many people at most.

        Returns:
            One list for each probe, most similar first, equal ones by name.

        Raises:
            GalleryError: another process has replaced the templates by those of another model.
        """
        ...

    def events(self) -> list[Event]:
        """The log, oldest first."""
        ...

    @property
    def retention_days(self) -> float | None:
        """After how many days without a new enrolment a person is forgotten; None: never."""
        ...

    @retention_days.setter
    def retention_days(self, days: float | None) -> None: ...

    def vacuum(self) -> None:
        """Overwrite what was deleted, as far as the engine can."""
        ...

    def check(self) -> None:
        """Look for damage.

        Raises:
            GalleryError: the gallery is damaged.
        """
        ...

    def close(self) -> None:
        """Release files and connections."""
        ...
