"""What the steps of the pipeline hand to each other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class Face:
    """One detected face, in pixels of the upright picture (EXIF orientation applied).

    Attributes:
        bbox: float32 `(4,)`, `[x1, y1, x2, y2]`; may reach beyond the picture.
        landmarks: float32 `(5, 2)`, x and y of the picture's left eye, right eye, nose tip,
            left and right mouth corner (the ArcFace order).
        det_score: confidence of the detector, 0 to 1.
        rotation: degrees (0, 90, 180, 270) by which the picture was turned counter-clockwise
            before the face was found; the coordinates are already turned back.
        embedding: float32 `(d,)` of unit norm, or None where only detection ran.
        norm: Euclidean norm of the raw embedding, a rough sign of quality, or None.
    """

    bbox: NDArray[np.float32]
    landmarks: NDArray[np.float32]
    det_score: float
    rotation: int = 0
    embedding: NDArray[np.float32] | None = None
    norm: float | None = None

    @property
    def width(self) -> float:
        """Width of the box in pixels."""
        return float(self.bbox[2] - self.bbox[0])

    @property
    def height(self) -> float:
        """Height of the box in pixels."""
        return float(self.bbox[3] - self.bbox[1])

    @property
    def area(self) -> float:
        """Area of the box in square pixels."""
        return max(self.width, 0.0) * max(self.height, 0.0)


@dataclass(frozen=True, slots=True)
class Threshold:
    """A decision threshold and what supports it.

    Attributes:
        value: cosine similarity; a pair at or above it counts as the same person.
        fmr: false match rate that was asked for (ISO/IEC 19795-1), or None for an explicit value.
        fmr_upper: upper bound of the measured FMR at 95 % confidence, or None.
        data: name of the data set whose impostor pairs it was measured on, or None.
        impostor_pairs: how many impostor pairs that were, or None.
        fnmr: false non-match rate measured at this threshold, or None.
    """

    value: float
    fmr: float | None = None
    fmr_upper: float | None = None
    data: str | None = None
    impostor_pairs: int | None = None
    fnmr: float | None = None

    @property
    def calibrated(self) -> bool:
        """Whether measured impostor pairs support the value."""
        return self.impostor_pairs is not None


@dataclass(frozen=True, slots=True)
class Verification:
    """The answer to "are these two pictures of the same person?".

    Attributes:
        verified: True when `similarity >= threshold.value`.
        similarity: cosine of the two embeddings, -1 to 1.
        threshold: the threshold and what supports it.
        fmr: false match rate of the decision, None when uncalibrated: the threshold's, times `comparisons`.
        comparisons: how many pairs of faces were compared; more than one only with the policy "all".
        faces: the face compared from each picture.
        model: id of the embedder (`name@sha256[:12]`).
        detector: id of the detector.
    """

    verified: bool
    similarity: float
    threshold: Threshold
    fmr: float | None
    faces: tuple[Face, Face]
    model: str
    detector: str
    comparisons: int = 1
