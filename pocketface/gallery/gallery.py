"""Who is this: enrol people, identify faces, forget people."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, cast

import numpy as np

from pocketface.decide import explicit_threshold
from pocketface.errors import GalleryError, InputError, ThresholdError
from pocketface.gallery import audit as _audit
from pocketface.gallery import export as _export
from pocketface.gallery import removal
from pocketface.gallery.enrollment import check_name, describe, normal_name, photo_id
from pocketface.gallery.records import (
    Candidate,
    Enrollment,
    Event,
    Header,
    Match,
    Person,
    Template,
    check_space,
    now,
)
from pocketface.gallery.thresholds import Operating, for_gallery

if TYPE_CHECKING:
    import os

    from numpy.typing import NDArray

    from pocketface.gallery.interface import Store
    from pocketface.images import Source
    from pocketface.recognizer import FaceRecognizer
    from pocketface.types import Face

# Landmarks: 1 a second look at faces seen too small or large, 2 the mean of two looks at each,
# 3 one look, 4 that mean for faces seen small or large.
PREPROCESSING = "arcface-112/4"
"""Version of everything between a picture and the network's input; raised when templates change with it."""

_EXPIRE_EVERY = 3600.0


class Gallery:
    """Enrolled people, and the recogniser whose embeddings they are made of.

    Made by `FaceRecognizer.gallery(url)` or `pocketface.gallery.open_gallery`. A context manager.
    Threads may share it; processes open their own.
    """

    def __init__(
        self,
        store: Store,
        recognizer: FaceRecognizer,
        *,
        fpir: float | None = None,
        threshold: float | None = None,
    ) -> None:
        """Use a store.

        Args:
            store: where the templates are.
            recognizer: the one that made them.
            fpir: false positive identification rate to keep (see `thresholds.py`), None for the default.
            threshold: an explicit cosine similarity instead; then no rate is promised.

        Raises:
            GalleryError: the templates were made by another model or preprocessing.
            InputError: both a rate and a threshold were given, or the threshold is not a cosine.
        """
        if fpir is not None and threshold is not None:
            raise InputError("give either fpir or threshold, not both")
        self._threshold = None if threshold is None else explicit_threshold(threshold)
        check_space(store.url, store.header, new_header(recognizer))
        self._dim = recognizer.embedder.dim
        self.store = store
        self.recognizer = recognizer
        self._fpir = fpir
        self._expired_at = -_EXPIRE_EVERY
        self._overdue_stay = False

    def __enter__(self) -> Gallery:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Release files and connections."""
        self.store.close()

    def people(self) -> list[Person]:
        """Everyone enrolled, by name."""
        return self.store.people()

    def events(self) -> list[Event]:
        """Who was enrolled when, oldest first; forgotten people without their names."""
        return self.store.events()

    def operating(self) -> Operating:
        """The threshold for this gallery's size and the FPIR it bounds.

        Raises:
            ThresholdError: the model's calibration does not support the rate asked for.
        """
        if self._threshold is not None:
            return Operating(self._threshold, None, "explicit threshold: no error rate is known for it")
        return for_gallery(self.recognizer.embedder.card.thresholds, self.store.count(), self._fpir)

    def enroll(
        self, person: str, sources: Source | Sequence[Source], *, check_quality: bool = True
    ) -> Enrollment:
        """Add photos of a person, all or none of them.

        Photos enrolled before are skipped, so that a call may be repeated.

        Args:
            person: the name; an existing one gets more templates.
            sources: one photo or several.
            check_quality: refuse small, blurred and turned faces.

        Returns:
            What was added, with warnings: the person seems to be enrolled under another name, or the
            photos seem to show different people.

        Raises:
            NoFaceError, SeveralFacesError, QualityError, ImageError: a photo is refused; the message
                names it and the reason, and nothing was stored.
            InputError: no photo, or the name is empty.
            GalleryError: the gallery cannot be written, or another process has made it anew with another
                model.
        """
        person = check_name(person)
        photos = _several(sources)
        if not photos:
            raise InputError(f"{person}: no photos to enrol")
        self.expire()  # first: whom retention removes has no photos enrolled any more
        ids = [photo_id(person, photo) for photo in photos]
        known = self.store.known(ids)
        fresh = {number: photo for number, photo in zip(ids, photos, strict=True) if number not in known}
        templates = [
            describe(self.recognizer, person, photo, check_quality=check_quality) for photo in fresh.values()
        ]
        return self.enroll_templates(person, templates, known=len(photos) - len(templates))

    def enroll_templates(
        self, person: str, templates: Sequence[Template], *, known: int = 0, compare: bool = True
    ) -> Enrollment:
        """Add templates that were made elsewhere by the same model, in one transaction.

        Args:
            person: the name.
            templates: of unit norm.
            known: photos the caller skipped, for the report.
            compare: warn when the templates look like somebody else's; a bulk enrolment does without.
        """
        person = check_name(person)
        warnings = self._warnings(person, templates) if compare else ()
        added = self.store.add(person, templates, at=now()) if templates else 0
        return Enrollment(person, added, known + len(templates) - added, warnings)

    def _warnings(self, person: str, templates: Sequence[Template]) -> tuple[str, ...]:
        if not templates:
            return ()
        try:
            value = (self._threshold or self._usual().threshold).value
        except ThresholdError:
            return (
                f"{person}: not compared with the people enrolled, as the model has no calibrated thresholds",
            )
        vectors = np.stack([template.vector for template in templates])
        others: dict[str, float] = {}
        for candidate in (candidate for row in self.store.search(vectors, 2) for candidate in row):
            if candidate.person != person and candidate.similarity >= value:
                others[candidate.person] = max(others.get(candidate.person, -1.0), candidate.similarity)
        warnings = [
            f"{person} may be enrolled already as {other} (similarity {similarity:.2f})"
            for other, similarity in sorted(others.items(), key=lambda item: -item[1])
        ]
        lowest = float((vectors @ vectors.T).min())
        if lowest < value:
            warnings.append(
                f"{person}: two of the photos may show different people (similarity {lowest:.2f})"
            )
        return tuple(warnings)

    def _usual(self) -> Operating:
        return for_gallery(self.recognizer.embedder.card.thresholds, self.store.count())

    def identify(self, source: Source, *, channel_order: str | None = None) -> list[Match | None]:
        """Who is in a picture?

        Args:
            source: path, bytes, file object, PIL image or uint8 array.
            channel_order: of an array, "bgr" or "rgb"; None for the recogniser's.

        Returns:
            One entry for each face, in the order of `FaceRecognizer.analyze`: the person, or None when
            nobody enrolled passes the threshold.
        """
        return self.match(self.recognizer.analyze(source, channel_order=channel_order))

    def match(self, faces: Sequence[Face]) -> list[Match | None]:
        """`identify` for faces that are embedded already."""
        if not faces:
            return []
        vectors = [face.embedding for face in faces if face.embedding is not None]
        if len(vectors) != len(faces):
            raise InputError("faces without embeddings; take them from FaceRecognizer.analyze")
        return self.match_vectors(np.stack(vectors))

    def match_vectors(self, probes: NDArray[np.float32]) -> list[Match | None]:
        """`identify` for embeddings, float32 `(n, dim)` of unit rows.

        Raises:
            InputError: another shape or dtype, or rows that are not of unit norm.
            GalleryError: another process has made the gallery anew with another model.
        """
        dim = self._dim
        if probes.dtype != np.float32 or probes.ndim != 2 or probes.shape[1] != dim:
            raise InputError(f"embeddings must be float32 (n, {dim}), not {probes.dtype} {probes.shape}")
        if not np.allclose(np.linalg.norm(probes, axis=1), 1, atol=1e-3):
            raise InputError("embeddings must have unit norm")
        left_out = self._left_out()
        operating = self.operating()
        return [
            _decide([candidate for candidate in row if candidate.person not in left_out][:2], operating)
            for row in self.store.search(probes, 2 + len(left_out))
        ]

    def _left_out(self) -> set[str]:
        """People beyond the retention period who cannot be removed, as others write the gallery."""
        with contextlib.suppress(GalleryError):
            self.expire(if_due=True)
        return set(removal.overdue(self.store)) if self._overdue_stay else set()

    def forget(self, person: str, *, overwrite: bool = True) -> int:
        """Remove a person and overwrite what was stored.

        The log keeps that somebody was forgotten, without the name.

        Args:
            person: the name.
            overwrite: False leaves the overwriting to a call of `store.vacuum` after the last of several.

        Returns:
            The number of templates removed.

        Raises:
            GalleryError: nobody has that name, or the person is forgotten but could not be overwritten,
                as another process is reading.
        """
        return removal.forget(self.store, person, overwrite=overwrite)

    @property
    def retention_days(self) -> float | None:
        """Days after a person's latest enrolment when the person is forgotten; None: never."""
        return self.store.retention_days

    @retention_days.setter
    def retention_days(self, days: float | None) -> None:
        removal.check_retention(days)
        self.store.retention_days = days
        self.expire()

    def expire(self, *, if_due: bool = False) -> list[str]:
        """Forget everyone beyond the retention period.

        Enrolling calls this, and identifying at most once an hour.

        Returns:
            The names.
        """
        if if_due and time.monotonic() < self._expired_at + _EXPIRE_EVERY:
            return []
        self._expired_at = time.monotonic()
        self._overdue_stay = True
        names = removal.expire(self.store)
        self._overdue_stay = False
        if names:
            self.store.vacuum()
        return names

    def audit(self) -> _audit.Audit:
        """Compare all enrolled people with each other; time grows with the square of their number.

        Raises:
            GalleryError: the gallery is damaged.
        """
        self.store.check()
        operating = self.operating()
        close, inconsistent = _audit.compare_people(self.store, operating.threshold.value)
        return _audit.Audit(
            len(self.store.people()),
            self.store.count(),
            operating,
            close,
            inconsistent,
            tuple(removal.overdue(self.store)),
        )

    def export(self, path: str | os.PathLike[str]) -> int:
        """Write all templates, unencrypted and without photos, to a .json or .npz file; see `export.py`."""
        return _export.export(self.store, path)

    def reembed(
        self,
        recognizer: FaceRecognizer,
        photos: Mapping[str, Sequence[Source]],
        *,
        check_quality: bool = True,
    ) -> Gallery:
        """Make every template anew with another model; see `reembed` below.

        Returns:
            The gallery with the new recogniser; this one must not be used any more.
        """
        reembed(self.store, recognizer, photos, check_quality=check_quality)
        threshold = None if self._threshold is None else self._threshold.value
        return Gallery(self.store, recognizer, fpir=self._fpir, threshold=threshold)


def reembed(
    store: Store,
    recognizer: FaceRecognizer,
    photos: Mapping[str, Sequence[Source]],
    *,
    check_quality: bool = True,
) -> int:
    """Replace all templates of a gallery, and its header, in one transaction.

    Embeddings of different models cannot be converted, and the gallery keeps no photos: they must be
    given again, for everybody. People who are not enrolled stay so, whatever photos there are of them,
    and those who are keep the dates of their first and latest enrolment.

    Args:
        store: the gallery's store.
        recognizer: with the new model.
        photos: each enrolled person's photos.
        check_quality: refuse small, blurred and turned faces.

    Returns:
        The number of templates.

    Raises:
        GalleryError: a person has no photo, or people were enrolled or forgotten meanwhile; nothing was
            changed.
        NoFaceError, SeveralFacesError, QualityError, ImageError: a photo is refused; nothing was changed.
    """
    enrolled = store.people()
    given: dict[str, list[Source]] = {}
    for name, sources in photos.items():
        given.setdefault(normal_name(name), []).extend(sources)
    missing = [person.name for person in enrolled if not given.get(normal_name(person.name))]
    if missing:
        raise GalleryError(
            f"{store.url}: no photos of {', '.join(missing[:5])}{' ...' if len(missing) > 5 else ''}; "
            "give them, or forget these people first"
        )
    people = {
        person.name: [
            describe(recognizer, person.name, photo, check_quality=check_quality)
            for photo in given[normal_name(person.name)]
        ]
        for person in enrolled
    }
    if store.people() != enrolled:
        raise GalleryError(
            f"{store.url}: people were enrolled or forgotten meanwhile; nothing was changed, do it again"
        )
    store.replace(new_header(recognizer, encryption=store.header.encryption), people, at=now())
    return sum(map(len, people.values()))


def new_header(recognizer: FaceRecognizer, *, encryption: dict[str, object] | None = None) -> Header:
    """The header of a gallery to be filled by this recogniser."""
    card = recognizer.embedder.card
    assert card.space is not None
    return Header(
        space=card.space,
        preprocessing=PREPROCESSING,
        dim=recognizer.embedder.dim,
        model=card.id,
        model_sha256=card.sha256,
        created=now(),
        encryption=encryption,
    )


def _decide(candidates: Sequence[Candidate], operating: Operating) -> Match | None:
    value = operating.threshold.value
    if not candidates or candidates[0].similarity < value:
        return None
    best = candidates[0]
    if len(candidates) == 1:
        return Match(best.person, best.similarity, None, None, False, operating.threshold, operating.fpir)
    second = candidates[1]
    return Match(
        best.person,
        best.similarity,
        second.person,
        best.similarity - second.similarity,
        second.similarity >= value,
        operating.threshold,
        operating.fpir,
    )


def _several(sources: Source | Sequence[Source]) -> list[Source]:
    return list(sources) if isinstance(sources, list | tuple) else [cast("Source", sources)]
