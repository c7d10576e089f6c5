"""Times the steps from a photo's bytes to a decision, with one thread and with more."""

from __future__ import annotations

import io
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from pocketface import images
from pocketface.align import TEMPLATE, align
from pocketface.bench.timing import time_calls, time_interleaved
from pocketface.detect import FaceDetector
from pocketface.embed import Embedder
from pocketface.errors import NoFaceError, PocketfaceError
from pocketface.recognizer import FaceRecognizer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from pocketface.registry import Model
    from pocketface.types import Verification

BATCH = 8


def measure(
    detector: Model,
    embedder: Model,
    photos: Sequence[bytes],
    *,
    threads: Sequence[int],
    seconds: float,
    progress: Callable[[str], None],
) -> list[dict[str, Any]]:
    """Time every step.

    Args:
        detector: model that finds faces.
        embedder: model that describes them.
        photos: two photos, encoded; the first is used where one is enough.
        threads: thread counts to try.
        seconds: for each measurement.
        progress: told what is measured next.

    Returns:
        A row each: `step`, `threads`, `batch`, and the fields of `Timing`; times are of one call.
    """
    rows: list[dict[str, Any]] = []

    def add(step: str, call: Callable[[], object], *, count: int, batch: int = 1) -> None:
        progress(f"{step}, {count} thread{'s' * (count > 1)}, batch {batch}")
        timing = time_calls(call, seconds=seconds)
        rows.append({"step": step, "threads": count, "batch": batch, **asdict(timing)})

    image = images.load(io.BytesIO(photos[0]))
    faces = FaceDetector(detector, threads=1).detect(image)
    landmarks = faces[0].landmarks if faces else TEMPLATE
    crop = align(image, landmarks)
    batch = np.stack([crop] * BATCH)

    add("read", partial(_read, photos[0]), count=1)
    add("align", partial(align, image, landmarks), count=1)
    for count in threads:
        finder = FaceDetector(detector, threads=count)
        describer = Embedder(embedder, threads=count)
        add("detect", partial(finder.detect, image), count=count)
        add("embed", partial(describer.embed, batch[:1]), count=count)
        if embedder.card.input.batch != 1:
            add("embed", partial(describer.embed, batch), count=count, batch=BATCH)
        if faces:
            recognizer = FaceRecognizer(detector, embedder, threads=count)
            add("photo to embedding", partial(_embed, recognizer, photos[0]), count=count)
            if len(photos) > 1 and _has_face(recognizer, photos[1]):
                decide = partial(_verify, recognizer, photos[0], photos[1])
                add("two photos to a decision", decide, count=count)
    return rows


def compare(
    embedders: Sequence[Model],
    crop: NDArray[np.uint8],
    *,
    threads: Sequence[int],
    seconds: float,
) -> list[dict[str, Any]]:
    """Time several forms of one network in turn.

    Args:
        embedders: forms of one network.
        crop: uint8 `(112, 112, 3)`.
        threads: thread counts to try.
        seconds: for each form.

    Returns:
        A row for each form and thread count that ran; a form that fails has `error` in its row.
    """
    rows = []
    for count in threads:
        calls = {}
        for model in embedders:
            one = Embedder(model, threads=count)
            try:
                one.embed(crop[None])
            except PocketfaceError as error:
                rows.append({"file": model.card.file, "threads": count, "error": str(error)})
                continue
            calls[model.card.file] = partial(one.embed, crop[None])
        for file, timing in time_interleaved(calls, seconds=seconds).items() if calls else ():
            rows.append({"file": file, "threads": count, **asdict(timing)})
    return rows


def _read(photo: bytes) -> NDArray[np.uint8]:
    return images.load(io.BytesIO(photo))


def _embed(recognizer: FaceRecognizer, photo: bytes) -> NDArray[np.float32]:
    return recognizer.embed(io.BytesIO(photo))


def _verify(recognizer: FaceRecognizer, a: bytes, b: bytes) -> Verification:
    # An explicit threshold, so that an uncalibrated model can be timed too.
    return recognizer.verify(io.BytesIO(a), io.BytesIO(b), threshold=0.5)


def _has_face(recognizer: FaceRecognizer, photo: bytes) -> bool:
    try:
        _embed(recognizer, photo)
    except NoFaceError:
        return False
    return True
