"""Finds faces in pictures of any size.

The picture is reduced so that the smallest face wanted is still seen, padded to what the graph takes,
and the graph's claims are decoded, thinned out and brought back to the picture's pixels. Faces that fill
or overflow the frame escape detectors trained on scenes, so a picture in which nothing was found is
tried again smaller, with a margin around it. Where the graph doubts, two looks at the face alone, of
another size and one of them mirrored, have their say; landmarks of faces that it saw small or large come
from two looks as well, whose mean is more exact (training/detector/README.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from pocketface.decoders import DECODERS, suppress
from pocketface.errors import InputError, ModelError
from pocketface.network import Network
from pocketface.types import Face
from pocketface.views import View, fit, fit_close, fit_face, fit_judged, mirrored, mirrored_back

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pocketface.cards import ModelCard
    from pocketface.decoders import Candidates
    from pocketface.engines.protocol import Engine
    from pocketface.registry import Model

MIN_FACE = 0.05
"""Smallest face looked for, as a fraction of the picture's height."""

SCORE_THRESHOLDS = {"pocketface": 0.6, "yunet": 0.6, "scrfd": 0.5}
"""Default by kind; ours: four false positives in 1,479 held-out pictures (training/detector/README.md)."""

_NMS_OVERLAP = 0.4
_MAX_BATCH = 8
_DOUBTFUL = (0.3, 0.8)  # scores that two looks at the face alone decide
_SEEN_WELL = (56, 200)  # heights on the canvas at which more looks bring nothing
_LOOK_SCORE = 0.3  # less in a look at a face alone is nothing
_MAX_LOOKS = 16  # so many doubtful faces, and so many seen small or large: bounds the time for crowds


class FaceDetector:
    """Finds faces and their landmarks. Safe to use from several threads, to pickle, and across forks.

    Args:
        model: a model whose card has the task "detect"; its `kind` says how it is decoded.
        engine: name of an engine, an engine object, or None for the one that runs the file's format.
        threads: threads for one call; None chooses for the device.
        score_threshold: faces below are dropped, between 0 and 1; None takes the kind's default.
        min_face: smallest face looked for, as a fraction of the picture's height; larger is quicker.
        rotate: search the picture turned by 90, 180 and 270 degrees too, four times the time, and keep
            the orientation with the best score.

    Raises:
        ModelError: the model is no detector.
        InputError: an argument is out of range.
    """

    def __init__(
        self,
        model: Model,
        *,
        engine: str | Engine | None = None,
        threads: int | None = None,
        score_threshold: float | None = None,
        min_face: float = MIN_FACE,
        rotate: bool = False,
    ) -> None:
        card = model.card
        if card.task != "detect":
            raise ModelError(f"{card.name} is an embedder, not a detector")
        if score_threshold is None:
            score_threshold = SCORE_THRESHOLDS[card.kind]
        if not 0 < score_threshold < 1:
            raise InputError(f"score_threshold must lie between 0 and 1, not {score_threshold}")
        if not 0 < min_face <= 1:
            raise InputError(f"min_face is a fraction of the picture's height, not {min_face}")
        self.network = Network(model, engine=engine, threads=threads)
        self.score_threshold = score_threshold
        self.min_face = min_face
        self.rotate = rotate

    @property
    def card(self) -> ModelCard:
        """The model's card."""
        return self.network.card

    def detect(self, image: NDArray[np.uint8]) -> list[Face]:
        """Find the faces of one picture.

        Args:
            image: uint8 `(h, w, 3)`, RGB, upright.

        Returns:
            Faces in pixels of the picture, best score first.

        Raises:
            InputError: the picture has another shape or dtype.
            ModelError: the graph does not fit its card.
            EngineError: the engine is missing or failed.
        """
        return self.detect_batch([image])[0]

    def detect_batch(self, images: Sequence[NDArray[np.uint8]]) -> list[list[Face]]:
        """Find the faces of several pictures; those of one size go through the graph together.

        Args:
            images: as for `detect`.

        Returns:
            For each picture what `detect` returns.
        """
        for image in images:
            _check_image(image)
        found = self._search(images)
        for turns in (1, 2, 3) if self.rotate else ():
            turned = self._search([np.rot90(image, turns) for image in images])
            for index, faces in enumerate(turned):
                # Most faces upside down are found too, with a lower score and with wrong landmarks.
                if _best(faces) > _best(found[index]):
                    found[index] = [_turned_back(face, images[index].shape, turns) for face in faces]
        return found

    def score_turned(self, image: NDArray[np.uint8]) -> float:
        """The best score of a face in the picture turned by 90, 180 or 270 degrees, 0.0 without a face.

        Above the score of the upright picture's faces it says that the picture lies on its side or head.

        Args:
            image: as for `detect`.
        """
        _check_image(image)
        turned = [np.rot90(image, turns) for turns in (1, 2, 3)]
        views = [fit(picture, self.card.input.size, self.min_face) for picture in turned]
        return max(map(_best, self._judged(turned, views)))

    def _search(self, images: Sequence[NDArray[np.uint8]]) -> list[list[Face]]:
        """Faces of upright pictures: first at the ordinary scale, then smaller with a margin."""
        views = [fit(image, self.card.input.size, self.min_face) for image in images]
        found = self._judged(images, views)
        rest = [index for index, faces in enumerate(found) if not faces]
        close = [fit_close(images[index], self.card.input.size) for index in rest]
        judged = self._judged([images[index] for index in rest], close)
        for index, view, faces in zip(rest, close, judged, strict=True):
            views[index], found[index] = view, faces
        return [self._look_closer(*each) for each in zip(images, views, found, strict=True)]

    def _judged(self, images: Sequence[NDArray[np.uint8]], views: list[View]) -> list[list[Face]]:
        """Faces of each picture's view, doubtful scores decided."""
        claims = self._run(views, min(_DOUBTFUL[0], self.score_threshold))
        return [self._judge(*each) for each in zip(images, claims, strict=True)]

    def _judge(self, image: NDArray[np.uint8], faces: list[Face]) -> list[Face]:
        """Make a doubtful score the mean of three, with two looks at the face alone; drop what is too low."""
        least, sure = _DOUBTFUL
        doubtful = [face for face in faces if least <= face.det_score < sure][:_MAX_LOOKS]
        size = self.card.input.size
        plain = [fit_face(image, size, face) for face in doubtful]
        turned = [fit_judged(image, size, face) for face in doubtful]
        means = {
            id(face): (face.det_score + sum(look.det_score for look in seen)) / 3
            for face, seen in zip(doubtful, self._looks(doubtful, plain, turned), strict=True)
        }
        judged = [replace(face, det_score=means.get(id(face), face.det_score)) for face in faces]
        kept = [face for face in judged if face.det_score >= self.score_threshold]
        return sorted(kept, key=lambda face: -face.det_score)

    def _look_closer(self, image: NDArray[np.uint8], view: View, faces: list[Face]) -> list[Face]:
        """Replace what was not seen well by the mean of two looks at the face alone, one of them mirrored."""
        least, most = _SEEN_WELL
        unsure = [face for face in faces if not least <= face.height * view.scale[1] <= most]
        largest = sorted(unsure, key=lambda face: -face.area)[:_MAX_LOOKS]
        views = [fit_face(image, self.card.input.size, face) for face in largest]
        better: dict[int, Face] = {}
        for face, seen in zip(largest, self._looks(largest, views, views), strict=True):
            if seen:
                better[id(face)] = replace(
                    face,
                    bbox=np.mean([look.bbox for look in seen], axis=0, dtype=np.float32),
                    landmarks=np.mean([look.landmarks for look in seen], axis=0, dtype=np.float32),
                )
        return [better.get(id(face), face) for face in faces]

    def _looks(self, faces: list[Face], plain: list[View], turned: list[View]) -> list[list[Face]]:
        """What one view of each face alone shows of it, and another, mirrored; none, one or two faces."""
        looks = self._run([*plain, *map(mirrored, turned)], _LOOK_SCORE)
        seen = []
        for face, view, ours, theirs in zip(
            faces, turned, looks[: len(faces)], looks[len(faces) :], strict=True
        ):
            both = _same(face, ours), _same(face, [mirrored_back(other, view) for other in theirs])
            seen.append([look for look in both if look is not None])
        return seen

    def _run(self, views: list[View], least: float) -> list[list[Face]]:
        """Run views through the graph, those of equal size together; faces scored `least` and above."""
        results: list[list[Face]] = [[] for _ in views]
        limit = min(self.network.batch or _MAX_BATCH, _MAX_BATCH)
        by_size: dict[tuple[int, ...], list[int]] = {}
        for index, view in enumerate(views):
            by_size.setdefault(view.canvas.shape, []).append(index)
        for (rows, columns, _), members in by_size.items():
            for start in range(0, len(members), limit):
                part = members[start : start + limit]
                outputs = self.network.run(np.stack([views[index].canvas for index in part]))
                decode = DECODERS[self.card.kind]
                candidates = decode(outputs, len(part), (rows, columns), least)
                for index, candidate in zip(part, candidates, strict=True):
                    results[index] = _faces(candidate, views[index])
        return results


def enlarged(face: Face, factor: float) -> Face:
    """The face in the same picture at another size, such as before a JPEG was reduced while decoding.

    Args:
        face: a face, in pixels of this picture.
        factor: pixels there for each pixel here.
    """
    if factor == 1:
        return face

    def scale(points: NDArray[np.float32]) -> NDArray[np.float32]:
        return ((points + 0.5) * factor - 0.5).astype(np.float32)

    return replace(face, bbox=scale(face.bbox), landmarks=scale(face.landmarks))


def _faces(candidates: Candidates, view: View) -> list[Face]:
    kept = suppress(candidates.boxes, candidates.scores, _NMS_OVERLAP)
    boxes = view.back(candidates.boxes[kept].reshape(-1, 2, 2))
    landmarks = view.back(candidates.landmarks[kept])
    return [
        Face(bbox=box.reshape(4), landmarks=points, det_score=float(score))
        for box, points, score in zip(boxes, landmarks, candidates.scores[kept], strict=True)
        if _plausible(box, points)
    ]


def _plausible(box: NDArray[np.float32], landmarks: NDArray[np.float32]) -> bool:
    """Whether a crop can be cut out: an extent of a pixel at least, landmarks that do not coincide."""
    return bool((box[1] - box[0] >= 1).all() and np.ptp(landmarks, axis=0).max() >= 1)


def _same(face: Face, others: Sequence[Face]) -> Face | None:
    """The one of `others` that is this face, or None."""
    best = max(others, key=lambda other: _overlap(face, other), default=None)
    return best if best is not None and _overlap(face, best) > 0.5 else None


def _overlap(a: Face, b: Face) -> float:
    """Intersection over union of two faces' boxes."""
    corners = np.maximum(a.bbox[:2], b.bbox[:2]), np.minimum(a.bbox[2:], b.bbox[2:])
    shared = float(np.clip(corners[1] - corners[0], 0, None).prod())
    return shared / max(a.area + b.area - shared, 1e-9)


def _best(faces: Sequence[Face]) -> float:
    return max((face.det_score for face in faces), default=0.0)


def _turned_back(face: Face, shape: tuple[int, ...], turns: int) -> Face:
    """The face in the picture as it was before `turns` quarter turns counter-clockwise."""
    height, width = shape[:2]

    def back(points: NDArray[np.float32]) -> NDArray[np.float32]:
        x, y = points[..., 0], points[..., 1]
        if turns == 1:
            x, y = width - 1 - y, x
        elif turns == 2:
            x, y = width - 1 - x, height - 1 - y
        else:
            x, y = y, height - 1 - x
        return np.stack([x, y], axis=-1)

    corners = back(face.bbox.reshape(2, 2))
    bbox = np.concatenate([corners.min(axis=0), corners.max(axis=0)])
    return replace(face, bbox=bbox, landmarks=back(face.landmarks), rotation=90 * turns)


def _check_image(image: NDArray[np.uint8]) -> None:
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        what = f"{image.dtype} {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
        raise InputError(
            f"a picture of {what}; expected uint8 (h, w, 3); pocketface.images.load reads any source"
        )
    if 0 in image.shape:
        raise InputError(f"a picture of shape {image.shape} has no pixels")
