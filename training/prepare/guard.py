"""What must not come in: protected people's faces, and faces that are there already."""

import io
import tarfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from training.prepare.crops import crop, find
from training.yunet import Array, Picture, YuNet

Embed = Callable[[Picture], Array]
Prints = npt.NDArray[np.uint64]


def faces_of(shard: Path) -> Iterator[tuple[str, Picture]]:
    """The keys and crops (128, 128, 3) uint8 RGB of a shard."""
    with tarfile.open(shard) as tar:
        for member in tar:
            file = tar.extractfile(member)
            if file is not None:
                with Image.open(io.BytesIO(file.read())) as image:
                    yield member.name.rpartition(".")[0], np.asarray(image.convert("RGB"))


def portraits_of(folder: Path, teacher: YuNet) -> Iterator[Picture]:
    """The aligned face in the middle of each picture below `folder` (LFW's 250x250 photographs)."""
    for path in sorted(folder.glob("*/*.jpg")):
        with Image.open(path) as image:
            picture = np.asarray(image.convert("RGB"))
        faces = find(teacher, picture[30:-30, 30:-30], True, 0.5)
        if len(faces):
            yield crop(picture[30:-30, 30:-30], faces.points[0])[0]


class Protected:
    """Faces near which nothing may be trained on.

    A crop whose cosine to one of them reaches `gate` with the first recogniser is looked at by the
    second one, and is refused when that says `limit` or more; without a second recogniser the first
    decides at `alone`.
    """

    gate, limit, alone = 0.40, 0.40, 0.55

    def __init__(self, first: Embed, second: Embed | None) -> None:
        self.first, self.second = first, second
        self._one: Array = np.zeros((0, 0), np.float32)
        self._two: Array = np.zeros((0, 0), np.float32)

    def load(self, faces: Callable[[], Iterable[Picture]], cache: Path) -> None:
        """Embed the protected faces, or read what an earlier run wrote to `cache`."""
        if not cache.is_file():
            one, two = [], []
            for face in faces():
                one.append(self.first(face))
                two.append(self.second(face) if self.second else np.zeros(1, np.float32))
            partial = cache.with_suffix(".part.npz")
            np.savez(partial, one=np.array(one, np.float32), two=np.array(two, np.float32))
            partial.rename(cache)
        with np.load(cache) as stored:
            self._one, self._two = stored["one"], stored["two"]

    def near(self, face: Picture, embedding: Array) -> bool:
        """Whether a crop, with its embedding by the first recogniser, shows a protected person."""
        if not len(self._one):
            return False
        cosines = self._one @ embedding
        if self.second is None:
            return bool(cosines.max() >= self.alone)
        close = np.flatnonzero(cosines >= self.gate)
        return len(close) > 0 and bool((self._two[close] @ self.second(face)).max() >= self.limit)


class Seen:
    """Faces already taken: by perceptual hash (256 bits) and by embedding."""

    bits, cosine = 12, 0.93

    def __init__(self) -> None:
        self._prints: Prints = np.zeros((4096, 4), np.uint64)
        self._embeddings: Array = np.zeros((4096, 128), np.float32)
        self._n = self._m = 0

    def add_print(self, value: Prints) -> None:
        """Remember a hash (4,) uint64."""
        if self._n == len(self._prints):
            self._prints = np.concatenate([self._prints, np.zeros_like(self._prints)])
        self._prints[self._n] = value
        self._n += 1

    def add(self, value: Prints, embedding: Array) -> None:
        """Remember a face by hash and embedding (d,) float32."""
        self.add_print(value)
        if self._embeddings.shape[1] != len(embedding):
            self._embeddings = np.zeros((4096, len(embedding)), np.float32)
        if self._m == len(self._embeddings):
            self._embeddings = np.concatenate([self._embeddings, np.zeros_like(self._embeddings)])
        self._embeddings[self._m] = embedding
        self._m += 1

    def has_print(self, value: Prints) -> bool:
        """Whether a hash within `bits` of this one was seen."""
        if not self._n:
            return False
        differ = np.bitwise_count(self._prints[: self._n] ^ value).sum(axis=1)
        return bool(differ.min() <= self.bits)

    def has(self, embedding: Array) -> bool:
        """Whether a face with nearly the same embedding was seen: the same picture again."""
        if not self._m or self._embeddings.shape[1] != len(embedding):
            return False
        return bool((self._embeddings[: self._m] @ embedding).max() >= self.cosine)
