"""Which photos may be enrolled: exactly one face, large, sharp and frontal enough."""

from __future__ import annotations

import hashlib
import os
import unicodedata
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from pocketface import images
from pocketface.errors import ImageError, InputError, NoFaceError, QualityError, SeveralFacesError
from pocketface.gallery.records import Template
from pocketface.quality import assess

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pocketface.images import Source
    from pocketface.recognizer import FaceRecognizer

_NAMESPACE = uuid.UUID("6f1f4a52-6a0e-5f0c-9d43-0d6c0a5f6e11")
# A passer-by in the background does not make it a picture of several people.
_BACKGROUND = 0.15
# Held-out photos that stand upright score less when they are turned (103 of 104), others this much more.
_TURNED = 0.02


def photo_id(person: str, source: Source) -> str:
    """The template id of a photo: the same photo of the same person always gets the same one."""
    return str(uuid.uuid5(_NAMESPACE, f"{person}\0{hashlib.sha256(_content(source)).hexdigest()}"))


def describe(
    recognizer: FaceRecognizer, person: str, source: Source, *, check_quality: bool = True
) -> Template:
    """Make a template of a photo.

    Args:
        recognizer: finds and embeds the face.
        person: whose photo it is.
        source: path, bytes, PIL image or array.
        check_quality: refuse small, blurred and turned faces.

    Raises:
        NoFaceError: no face in the photo.
        SeveralFacesError: more than one; which of them is the person is not to be guessed.
        QualityError: the face would make a bad template; the message gives every reason.
        ImageError: the photo cannot be read.
    """
    label = images.describe(source)
    image = images.load(source, channel_order=recognizer.channel_order, max_pixels=recognizer.max_pixels)
    faces = recognizer.analyze(image, channel_order="rgb")
    if not faces:
        raise NoFaceError(f"{label}: no face found; take a photo in which the face is larger and well lit")
    largest = max(faces, key=lambda face: face.area)
    others = [face for face in faces if face is not largest and face.area > _BACKGROUND * largest.area]
    if others:
        raise SeveralFacesError(f"{label}: {len(others) + 1} faces; crop the photo to the one to enrol")
    quality = assess(image, largest)
    if check_quality and quality.problems:
        raise QualityError(f"{label}: {'; '.join(quality.problems)}")
    # A face upside down is found as well, with wrong landmarks: its template would resemble nobody.
    unchecked = not check_quality or recognizer.detector.rotate
    if not unchecked and recognizer.detector.score_turned(image) > largest.det_score + _TURNED:
        raise QualityError(f"{label}: the photo seems to lie on its side or head; turn it, or use --rotate")
    assert largest.embedding is not None
    return Template(photo_id(person, source), largest.embedding, _name(source), quality.score)


def check_name(person: str) -> str:
    """The name without surrounding space, in Unicode's form NFC.

    Raises:
        InputError: it is empty, too long, or has control characters.
    """
    name = normal_name(person) if isinstance(person, str) else ""
    if not name or len(name) > 200 or not name.isprintable():
        raise InputError(f"a person's name is 1 to 200 printable characters, not {person!r}")
    return name


def normal_name(person: str) -> str:
    """The form in which equal names are equal strings: the same letter can be written in several ways."""
    return unicodedata.normalize("NFC", person).strip()


def _content(source: Source) -> bytes | memoryview:
    if isinstance(source, np.ndarray):
        array: NDArray[Any] = np.ascontiguousarray(source)
        return f"{array.shape}{array.dtype}".encode() + array.tobytes()
    if isinstance(source, Image.Image):
        pixels: bytes = images._guarded(images.describe(source), source.tobytes)
        return f"{source.size}{source.mode}".encode() + pixels
    if isinstance(source, bytes | bytearray | memoryview):
        return bytes(source)
    if isinstance(source, str | os.PathLike):
        try:
            return Path(source).read_bytes()
        except OSError:
            return os.fsencode(source)  # images.load says what is wrong with it
        except ValueError:
            raise ImageError(f"{os.fspath(source)!r}: no file can have this name") from None
    raise InputError(
        f"a photo to enrol is a path, bytes, a PIL image or an array, not {type(source).__name__}"
    )


def _name(source: Source) -> str:
    """A file's name, never its folder: the gallery may travel further than the photos."""
    if not isinstance(source, str | os.PathLike):
        return ""
    # A name may hold bytes that are no text, which no database stores as text.
    return Path(os.fsdecode(source)).name.encode(errors="backslashreplace").decode()
