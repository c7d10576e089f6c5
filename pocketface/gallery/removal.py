"""Who is removed from a gallery: on request, and beyond the retention period.

Nothing is compared, so that no model is needed, and a gallery of any model will do.
"""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING

from pocketface.errors import GalleryError, InputError
from pocketface.gallery.enrollment import check_name, normal_name
from pocketface.gallery.records import now, stamp

if TYPE_CHECKING:
    from pocketface.gallery.interface import Store


def forget(store: Store, person: str, *, overwrite: bool = True) -> int:
    """Remove a person; see `Gallery.forget`."""
    person = check_name(person)
    # Galleries of before names were normalised hold other forms of one, and perhaps several.
    forms = [enrolled.name for enrolled in store.people() if normal_name(enrolled.name) == person]
    removed = sum(store.remove(form, at=now(), what="forget") for form in forms)
    if not removed:
        raise GalleryError(f"{store.url}: nobody is enrolled as {person!r}")
    if overwrite:
        store.vacuum()
    return removed


def expire(store: Store) -> list[str]:
    """Remove everyone beyond the retention period; a call of `store.vacuum` overwrites what was stored.

    Returns:
        The names.
    """
    names = overdue(store)
    for name in names:
        store.remove(name, at=now(), what="expire")
    return names


def overdue(store: Store) -> list[str]:
    """Names of those beyond the retention period."""
    days = store.retention_days
    if days is None:
        return []
    oldest = stamp(datetime.now(timezone.utc) - timedelta(days=days))
    return [person.name for person in store.people() if person.last < oldest]


def check_retention(days: float | None) -> None:
    """Refuse what is no retention period.

    Raises:
        InputError: `days` is neither None nor a number above 0 and below 36525.
    """
    if days is not None and not 0 < days < 36525:
        raise InputError(f"a retention period lies above 0 and below 36525 days, not {days:g}")
