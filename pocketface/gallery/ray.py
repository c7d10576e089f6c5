"""Bulk enrolment on Ray: workers find and embed faces, this process alone writes the gallery.

A worker that dies is started again and its person is done again; as only finished templates are
written, each person in one transaction, nobody is enrolled twice or half. Ray's own usage reports are
switched off, as nothing here speaks to the network unasked.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any

from pocketface.errors import ExtraError
from pocketface.gallery.bulk import describe_all

if TYPE_CHECKING:
    from pocketface.gallery.records import Template
    from pocketface.recognizer import FaceRecognizer

_RETRIES = 3


class _Worker:
    """Lives in a process of its own, with its own recogniser."""

    def __init__(self, recognizer: FaceRecognizer, check_quality: bool) -> None:
        self.recognizer = recognizer
        self.check_quality = check_quality

    def describe(self, person: str, photos: list[str]) -> tuple[list[Template], dict[str, str]]:
        """See `bulk.describe_all`."""
        return describe_all(self.recognizer, person, photos, self.check_quality)


def describe_on_ray(
    recognizer: FaceRecognizer, jobs: Iterable[tuple[str, list[str]]], check_quality: bool, workers: int
) -> Iterator[tuple[str, tuple[list[Template], dict[str, str]]]]:
    """Templates of each person, in the order in which they are done.

    Args:
        recognizer: copied to every worker.
        jobs: names and photos; photos must be readable for the workers under the same paths.
        check_quality: refuse small, blurred and turned faces.
        workers: how many; a Ray cluster that this process is connected to is used, else one is started here.

    Raises:
        ExtraError: Ray is missing.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError:
        raise ExtraError('enrolling on Ray needs the extra: pip install "pocketface[ray]"') from None
    own = not ray.is_initialized()
    if own:
        ray.init(num_cpus=workers, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    try:
        actor: Any = ray.remote(num_cpus=1, max_restarts=-1, max_task_retries=_RETRIES)(_Worker)
        # Not through the object store, from which a worker could not be started again.
        pool = [actor.remote(recognizer, check_quality) for _ in range(workers)]
        waiting = iter(jobs)
        running: dict[Any, tuple[str, list[str], Any]] = {}

        def give(worker: Any, count: int) -> None:
            for person, photos in islice(waiting, count):
                running[worker.describe.remote(person, photos)] = person, photos, worker

        for worker in pool:
            give(worker, 2)  # one at work and one waiting, so that no worker idles
        while running:
            (done,), _ = ray.wait(list(running), num_returns=1)
            person, photos, worker = running.pop(done)
            try:
                result: tuple[list[Template], dict[str, str]] = ray.get(done)
            except ray.exceptions.RayActorError:
                reason = f"its worker died {_RETRIES + 1} times; enrol this photo alone to see why"
                result = [], {photo: f"{photo}: {reason}" for photo in photos}
            give(worker, 1)
            yield person, result
    finally:
        if own:
            ray.shutdown()
