"""Enrolment of many people at once; a photo that is refused stops nobody else.

Repeating the call continues it: photos that are enrolled already are recognised by their content
before anything is embedded, each person is one transaction, and only this process writes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from pocketface.errors import ExtraError, ImageError, InputError, NoFaceError, QualityError, SeveralFacesError
from pocketface.gallery.enrollment import check_name, describe, photo_id
from pocketface.gallery.records import Enrollment, Template

if TYPE_CHECKING:
    from pocketface.gallery.gallery import Gallery
    from pocketface.recognizer import FaceRecognizer

# A HEIC photo without the extra for it is an ExtraError.
REFUSALS = (ImageError, NoFaceError, SeveralFacesError, QualityError, ExtraError)


def enroll_folder(
    gallery: Gallery,
    people: Mapping[str, Sequence[str]],
    *,
    check_quality: bool = True,
    workers: int = 0,
    progress: Callable[[int, int | None], None] = lambda done, total: None,
) -> tuple[list[Enrollment], dict[str, str]]:
    """Enrol many people.

    Nobody is compared with those enrolled; run `Gallery.audit` afterwards.

    Args:
        gallery: where to.
        people: each person's photos, as paths; those of a name that cannot be one are refused.
        check_quality: refuse small, blurred and turned faces.
        workers: processes of Ray that embed (extra `ray`); 0 embeds in this one.
        progress: called with the number of people done and of all.

    Returns:
        What was enrolled for each person with at least one good photo, and the reason for each photo
        that was refused, by path.
    """
    gallery.expire()  # first: whom retention removes has no photos enrolled any more
    refused: dict[str, str] = {}
    named: dict[str, list[str]] = {}
    for name, photos in people.items():
        try:
            named.setdefault(check_name(name), []).extend(photos)
        except InputError as error:
            refused |= {photo: f"{photo}: {error}" for photo in photos}
    jobs = _jobs(gallery, named)
    if workers:
        from pocketface.gallery.ray import describe_on_ray

        results = describe_on_ray(gallery.recognizer, jobs, check_quality, workers)
    else:
        results = (
            (name, describe_all(gallery.recognizer, name, photos, check_quality)) for name, photos in jobs
        )
    enrolled: list[Enrollment] = []
    for done, (name, (templates, reasons)) in enumerate(results, 1):
        refused |= reasons
        known = len(named[name]) - len(templates) - len(reasons)
        if templates or known:
            enrolled.append(gallery.enroll_templates(name, templates, known=known, compare=False))
        progress(done, len(named))
    enrolled.sort(key=lambda item: item.person)
    return enrolled, refused


def describe_all(
    recognizer: FaceRecognizer, person: str, photos: Iterable[str], check_quality: bool
) -> tuple[list[Template], dict[str, str]]:
    """Templates of a person's good photos, and why the others were refused."""
    templates: list[Template] = []
    refused: dict[str, str] = {}
    for photo in photos:
        try:
            templates.append(describe(recognizer, person, photo, check_quality=check_quality))
        except REFUSALS as error:
            refused[photo] = str(error)
    return templates, refused


def _jobs(gallery: Gallery, people: Mapping[str, Sequence[str]]) -> Iterator[tuple[str, list[str]]]:
    """Each person with the photos that are not enrolled yet."""
    for name, photos in people.items():
        ids = {photo: photo_id(name, photo) for photo in photos}
        known = gallery.store.known(list(ids.values()))
        yield name, [photo for photo in photos if ids[photo] not in known]
