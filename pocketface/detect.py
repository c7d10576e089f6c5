"""Finds faces in pictures of any size.

The picture is reduced so that the smallest face wanted is still seen, padded to what the graph takes,
and the graph's claims are decoded, thinned out and brought back to the picture's pixels. Faces that fill
or overflow the frame escape detectors trained on scenes, so a picture in which nothing was found is
tried again smaller, with a margin around it. Landmarks of faces that the graph saw small or large come
from two more looks at the face alone, one of them mirrored, whose mean is more exact
(training/detector/README.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from pocketface.decoders import DECODERS, suppress
from pocketface.errors import InputError, ModelError
from pocketface.images import to_pillow
from pocketface.network import Network
from pocketface.types import Face

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pocketface.cards import ModelCard
    from pocketface.decoders import Candidates
    from pocketface.engines.protocol import Engine
    from pocketface.registry import Model

MIN_FACE = 0.05
"""Smallest face looked for, as a fraction of the picture's height."""

SCORE_THRESHOLDS = {"pocketface": 0.6, "yunet": 0.6, "scrfd": 0.5}
"""Default by kind of detector; ours: one false positive in 300 held-out pictures (training/detector/)."""

_NMS_OVERLAP = 0.4
_FACE_PX = 24  # height at which a face is found reliably
_MAX_SIDE = 2560  # of the graph's input; bounds memory on extreme formats
_GRID = 32
_CLOSE_SIDE = 192  # second try: the picture's longer side ...
_CLOSE_CANVAS = 320  # ... in the middle of this much black
_MAX_BATCH = 8
_SEEN_WELL = (56, 200)  # heights on the canvas at which more looks bring nothing
_LOOK_SIDE = 160  # side of the canvas with the face alone ...
_LOOK_FACE = 96  # ... and the face's height there
_LOOK_SCORE = 0.3  # enough there, for that it is a face was decided before
_MAX_LOOKS = 16  # the largest faces that get them: bounds the time for crowds
_MIRRORED = [1, 0, 2, 4, 3]  # left and right eye and mouth corner change places


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
        return max(map(_best, self._run([self._fit(np.rot90(image, turns)) for turns in (1, 2, 3)])))

    def _search(self, images: Sequence[NDArray[np.uint8]]) -> list[list[Face]]:
        """Faces of upright pictures: first at the ordinary scale, then smaller with a margin."""
        views = [self._fit(image) for image in images]
        found = self._run(views)
        rest = [index for index, faces in enumerate(found) if not faces]
        close = [self._fit_close(images[index]) for index in rest]
        for index, view, faces in zip(rest, close, self._run(close), strict=True):
            views[index], found[index] = view, faces
        return [self._look_closer(*each) for each in zip(images, views, found, strict=True)]

    def _look_closer(self, image: NDArray[np.uint8], view: _View, faces: list[Face]) -> list[Face]:
        """Replace what was not seen well by the mean of two looks at the face alone, one of them mirrored."""
        least, most = _SEEN_WELL
        unsure = [face for face in faces if not least <= face.height * view.scale[1] <= most]
        largest = sorted(unsure, key=lambda face: -face.area)[:_MAX_LOOKS]
        views = [self._fit_face(image, face) for face in largest]
        looks = self._run([*views, *map(_mirrored, views)], _LOOK_SCORE)
        plain, mirrored = looks[: len(views)], looks[len(views) :]
        better: dict[int, Face] = {}
        for face, view, ours, theirs in zip(largest, views, plain, mirrored, strict=True):
            both = _same(face, ours), _same(face, [_mirrored_back(other, view) for other in theirs])
            seen = [look for look in both if look is not None]
            if seen:
                better[id(face)] = replace(
                    face,
                    bbox=np.mean([look.bbox for look in seen], axis=0, dtype=np.float32),
                    landmarks=np.mean([look.landmarks for look in seen], axis=0, dtype=np.float32),
                )
        return [better.get(id(face), face) for face in faces]

    def _fit(self, image: NDArray[np.uint8]) -> _View:
        height, width = image.shape[:2]
        fixed = self.card.input.size
        if fixed[0] is not None and fixed[1] is not None:
            scale = min(1.0, fixed[0] / height, fixed[1] / width)
            return _view(image, scale, (fixed[0], fixed[1]), centred=False)
        scale = min(1.0, _FACE_PX / self.min_face / height, _MAX_SIDE / max(height, width))
        canvas = (_up(height * scale), _up(width * scale))
        return _view(image, scale, canvas, centred=False)

    def _fit_close(self, image: NDArray[np.uint8]) -> _View:
        height, width = image.shape[:2]
        rows, columns = self.card.input.size
        canvas = (rows or _CLOSE_CANVAS, columns or _CLOSE_CANVAS)
        side = _CLOSE_SIDE * min(canvas) / _CLOSE_CANVAS
        return _view(image, min(1.0, side / max(height, width)), canvas, centred=True)

    def _fit_face(self, image: NDArray[np.uint8], face: Face) -> _View:
        rows, columns = self.card.input.size
        canvas = (rows or _LOOK_SIDE, columns or _LOOK_SIDE)
        scale = min(1.0, _LOOK_FACE / face.height)
        half = (_LOOK_SIDE / 2 - 1) / scale
        centre = (face.bbox[:2] + face.bbox[2:]) / 2
        height, width = image.shape[:2]
        left, top = (int(value) for value in np.clip(np.floor(centre - half), 0, (width - 1, height - 1)))
        right, bottom = (int(value) for value in np.clip(np.ceil(centre + half), 1, (width, height)))
        right, bottom = max(right, left + 1), max(bottom, top + 1)
        view = _view(image[top:bottom, left:right], scale, canvas, centred=True)
        shift = view.shift[0] - left * view.scale[0], view.shift[1] - top * view.scale[1]
        return _View(view.canvas, view.scale, shift)

    def _run(self, views: list[_View], score: float | None = None) -> list[list[Face]]:
        """Run views through the graph, those of equal size together; faces from `score` on, or the usual."""
        least = self.score_threshold if score is None else score
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


@dataclass(frozen=True, slots=True, eq=False)
class _View:
    """A picture as the graph sees it: `canvas = (picture + 0.5) * scale - 0.5 + shift`, x and y."""

    canvas: NDArray[np.uint8]
    scale: tuple[float, float]
    shift: tuple[float, float]


def _view(image: NDArray[np.uint8], scale: float, size: tuple[int, int], *, centred: bool) -> _View:
    height, width = image.shape[:2]
    rows, columns = max(round(height * scale), 1), max(round(width * scale), 1)
    if (rows, columns) != (height, width):
        small = to_pillow(image).resize((columns, rows), Image.Resampling.BILINEAR, reducing_gap=2.0)
        image = np.asarray(small)
    top, left = ((size[0] - rows) // 2, (size[1] - columns) // 2) if centred else (0, 0)
    canvas = np.zeros((*size, 3), np.uint8)
    canvas[top : top + rows, left : left + columns] = image
    return _View(canvas, (columns / width, rows / height), (left, top))


def _faces(candidates: Candidates, view: _View) -> list[Face]:
    kept = suppress(candidates.boxes, candidates.scores, _NMS_OVERLAP)
    scale = np.array(view.scale, np.float32)
    shift = np.array(view.shift, np.float32)
    half = np.float32(0.5)
    boxes = (candidates.boxes[kept].reshape(-1, 2, 2) - shift + half) / scale - half
    landmarks = (candidates.landmarks[kept] - shift + half) / scale - half
    return [
        Face(bbox=box.reshape(4), landmarks=points, det_score=float(score))
        for box, points, score in zip(boxes, landmarks, candidates.scores[kept], strict=True)
        if _plausible(box, points)
    ]


def _plausible(box: NDArray[np.float32], landmarks: NDArray[np.float32]) -> bool:
    """Whether a crop can be cut out: an extent of a pixel at least, landmarks that do not coincide."""
    return bool((box[1] - box[0] >= 1).all() and np.ptp(landmarks, axis=0).max() >= 1)


def _mirrored(view: _View) -> _View:
    """The view with its canvas mirrored; faces found there are brought back by `_mirrored_back`."""
    return replace(view, canvas=np.ascontiguousarray(view.canvas[:, ::-1]))


def _mirrored_back(face: Face, view: _View) -> Face:
    """A face that was found in the mirrored canvas of a view, as it is in the picture."""
    # x in the picture is (canvas - shift + 0.5) / scale - 0.5, and the canvas counts from the other side.
    width, scale, shift = view.canvas.shape[1], view.scale[0], view.shift[0]
    total = np.float32((width - 2 * shift) / scale - 1)
    left, top, right, bottom = face.bbox
    landmarks = face.landmarks[_MIRRORED].copy()
    landmarks[:, 0] = total - landmarks[:, 0]
    return replace(face, bbox=np.array([total - right, top, total - left, bottom]), landmarks=landmarks)


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


def _up(length: float) -> int:
    return max(-(-round(length) // _GRID), 1) * _GRID


def _check_image(image: NDArray[np.uint8]) -> None:
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        what = f"{image.dtype} {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
        raise InputError(
            f"a picture of {what}; expected uint8 (h, w, 3); pocketface.images.load reads any source"
        )
    if 0 in image.shape:
        raise InputError(f"a picture of shape {image.shape} has no pixels")
