"""Whole pictures with their labels, shrunk once and kept as JPEG in packs that are read at once."""

import hashlib
import re
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import imagehash
import numpy as np
import numpy.typing as npt
from PIL import Image
from tqdm import tqdm

from pocketface.errors import InputError
from training.detector.labels import DOUBT, FACE, label
from training.prepare.cli import decode
from training.prepare.pictures import Picture as Origin
from training.prepare.pictures import contents, listing
from training.yunet import Faces, Picture, YuNet

LONGER_SIDE = 480
HELD_OUT = 10
"""One picture in ten, by the hash of its path, is never trained on."""


@dataclass(frozen=True, slots=True)
class Scenes:
    """A set of whole pictures: which paths of a repository, how many of them, with or without faces."""

    name: str
    origin: str
    pattern: str
    most: int
    faces: bool = True


SETS: tuple[Scenes, ...] = (
    Scenes("caltech", "PigeonDan1/face_reco", r"^Caltech_WebFaces/pic", 10_000),
    Scenes("celeb", "matush97/faceRecognition", r"^Celeb/", 4_000),
    Scenes(
        "masks", "KaranFriends/Mask-Dataset", r"^(trainingimages|trainingmask|mergedfolder|single2-0)/", 6_000
    ),
    Scenes("masked", "chandrikadeb7/Face-Mask-Detection", r"^dataset/", 5_000),
    Scenes("all-age", "middleyuan/All-Age-Faces-Dataset", r"/original images/", 1_500),
    Scenes("headshots", "Friendlykid/football-headshots", r"/headshots/", 600),
    Scenes("utkface", "mattans/AgeProgression", r"^data/UTKFace/unlabeled/", 2_000),
    Scenes("street", "LS-chen/Pedestrian-behavior-detection-and-prediction", r"^JPEGImages/", 1_600),
    Scenes(
        "rooms", "yunjeongyong/Generative-Inpainting-pytorch-master", r"^data/CelebA/images/", 2_500, False
    ),
    Scenes("grey", "JoakimSoderberg/haarcascade-negatives", r"^images/", 1_000, False),
    Scenes("objects", "taibarehm/CVassimgement", r"^caltech-101/(?!Faces)", 9_000, False),
    Scenes("animals", "quoctrung163/keras-cnn-on-cats-and-dogs-dataset", r"^(train|test1)/", 3_500, False),
)

BY_NAME = {scenes.name: scenes for scenes in SETS}


def digest(name: str) -> int:
    """A fixed number for a picture's name, the same on every machine."""
    return int(hashlib.sha1(name.encode()).hexdigest()[:12], 16)


def held_out(name: str) -> bool:
    """Whether a picture `set/path` is kept for evaluation."""
    return digest("held out " + name) % HELD_OUT == 0


@dataclass(frozen=True, slots=True)
class Item:
    """A picture as JPEG bytes, its name `set/path`, its labels, and whether it shows no faces."""

    name: str
    jpeg: npt.NDArray[np.uint8]
    faces: Faces
    negative: bool

    def pixels(self, reduce: int = 1) -> Picture:
        """Pixels (h, w, 3) uint8 RGB, every side divided by `reduce`: 1, 2 or 4, which is faster."""
        how = {1: cv2.IMREAD_COLOR, 2: cv2.IMREAD_REDUCED_COLOR_2, 4: cv2.IMREAD_REDUCED_COLOR_4}
        bgr = cv2.imdecode(self.jpeg, how[reduce])
        assert bgr is not None
        return np.asarray(bgr[:, :, ::-1], np.uint8)


def shrink(pixels: Picture, side: int = LONGER_SIDE) -> Picture:
    """The picture with its longer side at most `side` pixels."""
    scale = side / max(pixels.shape[:2])
    if scale >= 1:
        return pixels
    size = (round(pixels.shape[1] * scale), round(pixels.shape[0] * scale))
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.uint8)


def write(path: Path, items: list[Item]) -> None:
    """A pack of items as one file, complete or absent."""
    partial = path.with_suffix(".part.npz")
    np.savez(
        partial,
        names=np.array([item.name for item in items]),
        negative=np.array([item.negative for item in items]),
        jpeg=np.concatenate([item.jpeg for item in items]),
        sizes=np.array([len(item.jpeg) for item in items]),
        counts=np.array([len(item.faces) for item in items]),
        boxes=np.concatenate([item.faces.boxes for item in items]),
        scores=np.concatenate([item.faces.scores for item in items]),
        points=np.concatenate([item.faces.points for item in items]),
    )
    partial.rename(path)


def arrays(path: Path, *names: str) -> dict[str, npt.NDArray[Any]]:
    """The arrays of an npz file; InputError where it is none, or does not have those `names`."""
    try:
        with open(path, "rb") as file, np.load(file) as stored:  # np.load leaves a damaged file open
            return {name: stored[name] for name in names}
    except (zipfile.BadZipFile, zlib.error, ValueError, LookupError, EOFError, TypeError) as error:
        raise InputError(f"{path}: damaged, or not a file with {', '.join(names)}") from error


def read(path: Path) -> list[Item]:
    """The items of a pack; InputError where it is damaged."""
    stored = arrays(path, "names", "negative", "jpeg", "sizes", "counts", "boxes", "scores", "points")
    jpegs = np.split(stored["jpeg"], np.cumsum(stored["sizes"])[:-1])
    edges = np.cumsum(stored["counts"])[:-1]
    boxes, scores, points = (np.split(stored[name], edges) for name in ("boxes", "scores", "points"))
    return [
        Item(str(name), jpegs[i], Faces(boxes[i], scores[i], points[i]), bool(stored["negative"][i]))
        for i, name in enumerate(stored["names"])
    ]


def read_all(folder: Path) -> list[Item]:
    """The items of all packs in a folder, in the order of the packs; InputError where it has none."""
    packs = [path for path in sorted(folder.glob("pack-*.npz")) if ".part" not in path.name]
    if not packs:
        raise InputError(f"{folder}: no pack-*.npz; python -m training.detector collect writes them")
    return [item for path in packs for item in read(path)]


def hashes(folder: Path) -> set[str]:
    """Perceptual hashes of the pictures below a folder (LFW's), which no pack may hold."""
    found = set()
    for path in tqdm(sorted(folder.rglob("*.jpg")), "protected", mininterval=5):
        with Image.open(path) as image:
            image.draft("L", (64, 64))
            found.add(str(imagehash.dhash(image)))
    return found


def _chosen(sources: dict[str, Path]) -> list[Origin]:
    """A fixed shuffle of at most `most` pictures of each set."""
    found: list[Origin] = []
    for name, root in sources.items():
        scenes = BY_NAME.get(name, Scenes(name, "", "", 1_000_000))
        every = [origin for origin in listing(name, root) if re.search(scenes.pattern, origin.path)]
        every.sort(key=lambda origin: digest(f"{origin.source}/{origin.path}"))
        found += every[: scenes.most]
    return sorted(found, key=lambda origin: digest(f"{origin.source}/{origin.path}"))


def _stream(sources: dict[str, Path], origins: list[Origin]) -> Iterator[tuple[Origin, bytes]]:
    for name in sources:
        yield from contents(sources[name], [origin for origin in origins if origin.source == name])


def collect(
    sources: dict[str, Path], out: Path, teacher: YuNet, protected: set[str], size: int = 1500
) -> None:
    """Write packs of `size` pictures, each a sample of all sources; packs that exist are kept."""
    out.mkdir(parents=True, exist_ok=True)
    origins = _chosen(sources)
    bar = tqdm(total=len(origins), desc="pictures", mininterval=5)
    for number, start in enumerate(range(0, len(origins), size)):
        path = out / f"pack-{number:03d}.npz"
        part = origins[start : start + size]
        if path.is_file():
            bar.update(len(part))
            continue
        items = []
        for origin, data in _stream(sources, part):
            bar.update()
            pixels = decode(data)
            if pixels is None:
                continue
            pixels = shrink(pixels)
            if str(imagehash.dhash(Image.fromarray(pixels).convert("L"))) in protected:
                continue
            negative = origin.source in BY_NAME and not BY_NAME[origin.source].faces
            faces = teacher.detect(pixels, DOUBT) if negative else label(teacher, pixels)
            if negative:
                faces = Faces(faces.boxes, np.clip(faces.scores, DOUBT, FACE - 0.01), faces.points)
            done, jpeg = cv2.imencode(".jpg", pixels[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 92])
            if done:
                name = f"{origin.source}/{origin.path}"
                items.append(Item(name, np.asarray(jpeg, np.uint8), faces, negative))
        if not items:
            raise InputError(f"{', '.join(map(str, sources.values()))}: no picture that can be read")
        write(path, items)
