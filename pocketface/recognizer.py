"""`FaceRecognizer`: pictures in, faces, embeddings and decisions out."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from PIL import Image

from pocketface import engines, registry
from pocketface.align import align
from pocketface.decide import explicit_threshold, threshold_for
from pocketface.detect import MIN_FACE, FaceDetector, enlarged
from pocketface.embed import Embedder
from pocketface.errors import (
    ExtraError,
    ImageError,
    InputError,
    ModelError,
    NoFaceError,
    PocketfaceError,
    SeveralFacesError,
    ThresholdError,
)
from pocketface.images import CHANNEL_ORDERS, MAX_PIXELS, Picture, Source, describe, read
from pocketface.registry import Model
from pocketface.types import Face, Threshold, Verification

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pocketface.engines.protocol import Engine
    from pocketface.gallery import Gallery

    ModelChoice: TypeAlias = str | os.PathLike[str] | Model | None
    Progress: TypeAlias = Callable[[int, int | None], None]

POLICIES = ("largest", "central", "all", "single")
"""Which of several faces counts: the largest, the one nearest the middle, every one, or an error."""

DEFAULT_FMR = 1e-3

_BATCH_ITEMS = 16
_BATCH_PIXELS = 16_000_000  # pictures held at once; a single larger one is a batch of its own
_ITEM_ERRORS = (ImageError, InputError, NoFaceError, SeveralFacesError, ExtraError)


@dataclass(frozen=True, slots=True)
class ItemError:
    """A picture of a batch that gave no embedding.

    Attributes:
        index: its place among the items.
        source: what it is called: its path, or what kind of thing it is.
        error: why.
    """

    index: int
    source: str
    error: PocketfaceError


@dataclass(frozen=True, slots=True, eq=False)
class BatchResult:
    """What `FaceRecognizer.embed_batch` found.

    Attributes:
        embeddings: float32 `(m, d)`, unit rows in the order of the items.
        indices: int `(m,)`, the item that each row belongs to.
        faces: the face behind each row.
        errors: the items that gave none.
    """

    embeddings: NDArray[np.float32]
    indices: NDArray[np.intp]
    faces: tuple[Face, ...]
    errors: tuple[ItemError, ...]


class FaceRecognizer:
    """Finds, describes and compares faces.

    Made once and used often: graphs are loaded on first use, in each process. One recogniser may be used
    from many threads, pickles, and survives fork and spawn.

    Args:
        detector: name of an installed model, a path, or a `Model`; None for the default one.
        embedder: likewise.
        engine: name of an inference engine or an engine object; None for the one that runs each file.
        threads: threads for one inference; None chooses for the device.
        policy: which of several faces counts in `embed`, `verify` and `embed_batch`: "largest",
            "central", "all" or "single".
        rotate: search each picture turned by 90, 180 and 270 degrees too, and keep the best orientation.
        mirror: average each embedding with its mirror image's: a little more accurate, twice the time.
        fmr: false match rate that the decision threshold is chosen for.
        threshold: cosine similarity to use instead of a calibrated threshold.
        channel_order: order of the channels in arrays, "bgr" (OpenCV) or "rgb".
        max_pixels: larger pictures are refused before decoding.
        min_face: smallest face looked for, as a fraction of the picture's height.

    Raises:
        ModelError: a model is missing, damaged or of the wrong task.
        InputError: an argument has the wrong value.
    """

    def __init__(
        self,
        detector: ModelChoice = None,
        embedder: ModelChoice = None,
        *,
        engine: str | Engine | None = None,
        threads: int | None = None,
        policy: str = "largest",
        rotate: bool = False,
        mirror: bool = False,
        fmr: float = DEFAULT_FMR,
        threshold: float | None = None,
        channel_order: str = "bgr",
        max_pixels: int = MAX_PIXELS,
        min_face: float = MIN_FACE,
    ) -> None:
        _check_policy(policy)
        if channel_order not in CHANNEL_ORDERS:
            raise InputError(f'channel_order must be "bgr" or "rgb", not {channel_order!r}')
        if threshold is not None:
            explicit_threshold(threshold)
        self.detector = FaceDetector(
            _model(detector, "detect", engine),
            engine=engine,
            threads=threads,
            min_face=min_face,
            rotate=rotate,
        )
        self.embedder = Embedder(_model(embedder, "embed", engine), engine=engine, threads=threads)
        self.policy = policy
        self.mirror = mirror
        self.fmr = fmr
        self.explicit_threshold = threshold
        self.channel_order = channel_order
        self.max_pixels = max_pixels

    @property
    def model(self) -> str:
        """Id of the embedder, `name@sha256[:12]`."""
        return self.embedder.card.id

    @property
    def dim(self) -> int:
        """Dimension of the embeddings."""
        return self.embedder.dim

    def detect(self, source: Source, *, channel_order: str | None = None) -> list[Face]:
        """Find the faces of a picture.

        Args:
            source: path, bytes, binary file, PIL image, or uint8 array; see `pocketface.images.load`.
            channel_order: of this array, instead of the recogniser's.

        Returns:
            Faces in pixels of the upright picture, best score first; empty when there are none.

        Raises:
            ImageError: the picture cannot be read or is refused.
            InputError: an array has the wrong dtype or shape.
        """
        picture = self._read(source, channel_order)
        return [enlarged(face, picture.reduction) for face in self.detector.detect(picture.pixels)]

    def analyze(self, source: Source, *, channel_order: str | None = None) -> list[Face]:
        """Find the faces of a picture and embed them in one batch.

        Args:
            source: as for `detect`.
            channel_order: as for `detect`.

        Returns:
            What `detect` returns, with `embedding` and `norm`.
        """
        picture = self._read(source, channel_order)
        faces = self._embedded(picture.pixels, self.detector.detect(picture.pixels))
        return [enlarged(face, picture.reduction) for face in faces]

    def embed_faces(
        self, source: Source, faces: Sequence[Face], *, channel_order: str | None = None
    ) -> list[Face]:
        """Embed faces that were found before, such as those a tracker follows.

        Args:
            source: the picture they were found in.
            faces: what `detect` returned, or some of it.
            channel_order: as for `detect`.

        Returns:
            The same faces with `embedding` and `norm`.
        """
        picture = self._read(source, channel_order)
        found = self._embedded(picture.pixels, [enlarged(face, 1 / picture.reduction) for face in faces])
        return [
            replace(face, embedding=new.embedding, norm=new.norm)
            for face, new in zip(faces, found, strict=True)
        ]

    def embed(
        self, source: Source, *, policy: str | None = None, channel_order: str | None = None
    ) -> NDArray[np.float32]:
        """Embed the face of a picture.

        Args:
            source: as for `detect`.
            policy: which of several faces, instead of the recogniser's; "all" is refused, `analyze`
                gives every face.
            channel_order: as for `detect`.

        Returns:
            float32 `(d,)` of unit norm.

        Raises:
            NoFaceError: no face was found.
            SeveralFacesError: the policy is "single" and there are several.
        """
        policy = self._policy(policy)
        if policy == "all":
            raise InputError('embed gives one embedding; for the policy "all" use analyze or embed_batch')
        embedding = self._chosen(source, policy, channel_order)[0].embedding
        assert embedding is not None
        return embedding

    def verify(
        self,
        a: Source,
        b: Source,
        *,
        fmr: float | None = None,
        threshold: float | None = None,
        policy: str | None = None,
        channel_order: str | None = None,
    ) -> Verification:
        """Decide whether two pictures show the same person.

        Args:
            a: as for `detect`.
            b: the other picture.
            fmr: false match rate, instead of the recogniser's.
            threshold: cosine similarity to use instead of a calibrated threshold.
            policy: which of several faces, instead of the recogniser's; with "all" every face of one is
                compared with every face of the other, and the most similar two decide; the threshold is that
                of the rate divided by the number of comparisons, so that the rate holds for the pictures.
            channel_order: of both arrays, as for `detect`.

        Returns:
            The decision and everything it rests on.

        Raises:
            NoFaceError: a picture has no face.
            SeveralFacesError: the policy is "single" and a picture has several.
            ThresholdError: the model is uncalibrated or does not support the rate.
        """
        policy = self._policy(policy)
        limit = self.threshold(fmr=fmr, threshold=threshold)
        first, second = (self._chosen(source, policy, channel_order) for source in (a, b))
        cosines = _stacked(first) @ _stacked(second).T
        if cosines.size > 1 and limit.fmr is not None:
            limit = self._shared_threshold(self.fmr if fmr is None else fmr, cosines.size)
        i, j = np.unravel_index(np.argmax(cosines), cosines.shape)
        similarity = float(np.clip(cosines[i, j], -1.0, 1.0))
        return Verification(
            verified=similarity >= limit.value,
            similarity=similarity,
            threshold=limit,
            fmr=None if limit.fmr is None else min(1.0, limit.fmr * cosines.size),
            comparisons=cosines.size,
            faces=(first[i], second[j]),
            model=self.model,
            detector=self.detector.card.id,
        )

    def threshold(self, *, fmr: float | None = None, threshold: float | None = None) -> Threshold:
        """The threshold that `verify` uses for these arguments.

        Raises:
            ThresholdError: the model is uncalibrated or does not support the rate.
        """
        if threshold is None and fmr is None:
            threshold = self.explicit_threshold
        if threshold is not None:
            if fmr is not None:
                raise InputError("give a threshold or a false match rate, not both")
            return explicit_threshold(threshold)
        return threshold_for(self.embedder.card, self.fmr if fmr is None else fmr)

    def _shared_threshold(self, fmr: float, comparisons: int) -> Threshold:
        """The threshold at which so many comparisons together keep to `fmr`, by the union bound."""
        try:
            return threshold_for(self.embedder.card, fmr / comparisons)
        except ThresholdError as error:
            raise ThresholdError(f"{comparisons} comparisons share FMR {fmr:g}: {error}") from error

    def embed_batch(
        self, items: Iterable[Source], *, policy: str | None = None, progress: Progress | None = None
    ) -> BatchResult:
        """Embed many pictures, detection and embedding batched.

        Pictures that cannot be read or have no face are reported in the result and stop nothing. At most
        a few pictures are held at once, so the items may be a generator.

        Args:
            items: as for `detect`.
            policy: which of several faces, instead of the recogniser's; with "all" a picture gives a row
                for each face.
            progress: called with the number of items done and of all items, None where that is unknown.

        Returns:
            Embeddings, the item of each, and the items that gave none.

        Raises:
            InputError: `items` is a single picture.
        """
        single = isinstance(items, str | bytes | bytearray | memoryview | os.PathLike | Image.Image)
        single |= isinstance(items, np.ndarray) and items.ndim < 4  # a stack of pictures has four axes
        if single or hasattr(items, "read"):
            raise InputError(f"{describe(items)}: one picture; give embed_batch a list of pictures")
        policy = self._policy(policy)
        total = len(items) if isinstance(items, Sized) else None
        faces: list[Face] = []
        indices: list[int] = []
        errors: list[ItemError] = []
        done = 0
        for group in self._groups(items, errors):
            chosen: list[tuple[int, Picture, list[Face]]] = []
            found = self.detector.detect_batch([picture.pixels for _, _, picture in group])
            for (index, name, picture), candidates in zip(group, found, strict=True):
                try:
                    chosen.append((index, picture, choose(candidates, policy, picture.pixels.shape, name)))
                except (NoFaceError, SeveralFacesError) as error:
                    errors.append(ItemError(index, name, error))
            crops = [align(picture.pixels, face.landmarks) for _, picture, own in chosen for face in own]
            owners = [(index, picture.reduction, face) for index, picture, own in chosen for face in own]
            for (index, reduction, face), new in zip(owners, self._describe(crops), strict=True):
                faces.append(replace(enlarged(face, reduction), embedding=new[0], norm=new[1]))
                indices.append(index)
            if group:
                done = max(done, group[-1][0] + 1)
            if progress is not None:
                progress(done, total)
        errors.sort(key=lambda item: item.index)
        embeddings = _stacked(faces) if faces else np.empty((0, self.dim), np.float32)
        return BatchResult(embeddings, np.array(indices, np.intp), tuple(faces), tuple(errors))

    def embed_aligned(self, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Embed faces that are already aligned.

        Args:
            crops: uint8 `(n, 112, 112, 3)` aligned to the ArcFace template, in the recogniser's
                `channel_order`.

        Returns:
            float32 `(n, d)`, unit rows.

        Raises:
            InputError: the crops have another dtype or shape.
        """
        if isinstance(crops, np.ndarray) and crops.ndim == 4 and self.channel_order == "bgr":
            crops = crops[..., ::-1]
        return self.embedder.embed(crops, self.mirror)[0]

    def gallery(self, location: str | os.PathLike[str], **options: Any) -> Gallery:
        """Open a gallery of known people (1:N search) for this recogniser's embeddings.

        Args:
            location: path or URL.
            **options: passed on to `pocketface.gallery.open_gallery`.
        """
        from pocketface.gallery import open_gallery

        return open_gallery(location, self, **options)

    def _read(self, source: Source, channel_order: str | None = None) -> Picture:
        return read(source, channel_order=channel_order or self.channel_order, max_pixels=self.max_pixels)

    def _policy(self, policy: str | None) -> str:
        if policy is None:
            return self.policy
        _check_policy(policy)
        return policy

    def _chosen(self, source: Source, policy: str, channel_order: str | None) -> list[Face]:
        """The faces that the policy chooses, embedded; one at least."""
        picture = self._read(source, channel_order)
        faces = choose(self.detector.detect(picture.pixels), policy, picture.pixels.shape, describe(source))
        return [enlarged(face, picture.reduction) for face in self._embedded(picture.pixels, faces)]

    def _embedded(self, pixels: NDArray[np.uint8], faces: Sequence[Face]) -> list[Face]:
        described = self._describe([align(pixels, face.landmarks) for face in faces])
        return [
            replace(face, embedding=embedding, norm=norm)
            for face, (embedding, norm) in zip(faces, described, strict=True)
        ]

    def _describe(self, crops: list[NDArray[np.uint8]]) -> list[tuple[NDArray[np.float32], float]]:
        if not crops:
            return []
        embeddings, norms = self.embedder.embed(np.stack(crops), self.mirror)
        return [(embedding, float(norm)) for embedding, norm in zip(embeddings, norms, strict=True)]

    def _groups(
        self, items: Iterable[Source], errors: list[ItemError]
    ) -> Iterator[list[tuple[int, str, Picture]]]:
        """Readable items in groups of bounded size; the others are added to `errors`."""
        group: list[tuple[int, str, Picture]] = []
        pixels = 0
        for index, item in enumerate(items):
            try:
                picture = self._read(item)
            except _ITEM_ERRORS as error:
                errors.append(ItemError(index, describe(item), error))
                continue
            size = picture.pixels.shape[0] * picture.pixels.shape[1]
            if group and (len(group) == _BATCH_ITEMS or pixels + size > _BATCH_PIXELS):
                yield group
                group, pixels = [], 0
            group.append((index, describe(item), picture))
            pixels += size
        yield group


def choose(faces: Sequence[Face], policy: str, shape: Sequence[int], name: str = "picture") -> list[Face]:
    """The faces that a policy chooses.

    Args:
        faces: what a detector found.
        policy: one of `POLICIES`.
        shape: of the picture, height first.
        name: what error messages call the picture.

    Returns:
        One face, or all of them.

    Raises:
        NoFaceError: there are none.
        SeveralFacesError: the policy is "single" and there are several.
    """
    if not faces:
        raise NoFaceError(f"{name}: no face found")
    if policy == "all":
        return list(faces)
    if policy == "single" and len(faces) > 1:
        raise SeveralFacesError(f"{name}: {len(faces)} faces, one is expected")
    if policy == "central":
        middle = np.array([shape[1] / 2, shape[0] / 2])
        return [
            min(faces, key=lambda face: float(np.linalg.norm((face.bbox[:2] + face.bbox[2:]) / 2 - middle)))
        ]
    return [max(faces, key=lambda face: face.area)]


def _check_policy(policy: str) -> None:
    if policy not in POLICIES:
        raise InputError(f"policy must be one of {', '.join(POLICIES)}, not {policy!r}")


def _model(choice: ModelChoice, task: str, engine: str | Engine | None) -> Model:
    suffixes = None
    if engine is not None:
        suffixes = (engines.get(engine) if isinstance(engine, str) else engine).formats
    if choice is None:
        return registry.default(task, suffixes=suffixes)
    if isinstance(choice, Model):
        return choice
    if isinstance(choice, str | os.PathLike):
        return registry.find(choice, task=task, suffixes=suffixes)
    raise ModelError(f"a model is a name, a path or a Model, not {type(choice).__name__}")


def _stacked(faces: Sequence[Face]) -> NDArray[np.float32]:
    return np.stack([face.embedding for face in faces if face.embedding is not None])
