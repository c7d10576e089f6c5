"""Draws what was found: faces in a photo, or two photos, their crops and the decision."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from pocketface.align import CROP_SIZE, align
from pocketface.atomic import check_target, replacing
from pocketface.detect import enlarged
from pocketface.images import to_pillow

if TYPE_CHECKING:
    from pocketface.images import Picture
    from pocketface.types import Face, Verification

_FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}
_PHOTO = (480, 420)  # room for each photo
_LARGEST = 1600  # longer side of a detection's picture
_MARGIN = 20
_BACKGROUND, _INK, _FAINT = "#ffffff", "#1c1c1e", "#c7c7cc"
_SAME, _DIFFERENT = "#1a7f37", "#c0362c"
_BOX, _POINTS = "#2f80ed", ("#ffb000", "#ffb000", "#ff5fa2", "#3ddc97", "#3ddc97")


def detection(photo: Picture, faces: Sequence[Face]) -> Image.Image:
    """A photo with its faces' boxes, landmarks and scores.

    Args:
        photo: as `pocketface.images.read` gives it.
        faces: in pixels of the file.
    """
    canvas, scale = _reduced(photo, (_LARGEST, _LARGEST))
    draw = ImageDraw.Draw(canvas)
    for face in faces:
        _mark(draw, enlarged(face, scale), (0, 0))
    return canvas


def comparison(photos: tuple[Picture, Picture], result: Verification) -> Image.Image:
    """Both photos with the compared faces, the aligned crops, and the similarity on its scale.

    Args:
        photos: as `pocketface.images.read` gives them.
        result: what `FaceRecognizer.verify` gave for them.
    """
    width = 2 * _PHOTO[0] + 3 * _MARGIN
    crops_top = _PHOTO[1] + 2 * _MARGIN
    scale_top = crops_top + CROP_SIZE + _MARGIN
    canvas = Image.new("RGB", (width, scale_top + 150), _BACKGROUND)
    draw = ImageDraw.Draw(canvas)
    for side, (photo, face) in enumerate(zip(photos, result.faces, strict=True)):
        left = _MARGIN + side * (_PHOTO[0] + _MARGIN)
        small, scale = _reduced(photo, _PHOTO)
        corner = (left + (_PHOTO[0] - small.width) // 2, _MARGIN + (_PHOTO[1] - small.height) // 2)
        canvas.paste(small, corner)
        _mark(draw, enlarged(face, scale), corner)
        crop = align(photo.pixels, enlarged(face, 1 / photo.reduction).landmarks)
        canvas.paste(to_pillow(crop), (left + (_PHOTO[0] - CROP_SIZE) // 2, crops_top))
    _draw_scale(draw, result, (_MARGIN, scale_top, width - _MARGIN))
    return canvas


def check_save(path: str | os.PathLike[str]) -> None:
    """Say before the work what `save` would say after it.

    Raises:
        InputError: the suffix is none of .png, .jpg, .jpeg and .webp, or nothing can be written there.
    """
    check_target(path, _FORMATS)


def save(image: Image.Image, path: str | os.PathLike[str]) -> None:
    """Write a picture; the file is there in full or not at all.

    Raises:
        InputError: as `check_save`.
    """
    check_save(path)
    target = Path(path)
    with replacing(target) as temporary:
        image.save(temporary, format=_FORMATS[target.suffix.lower()])


def _reduced(photo: Picture, room: tuple[int, int]) -> tuple[Image.Image, float]:
    """The photo fitted into the room, and its pixels for each pixel of the file."""
    image = to_pillow(photo.pixels)
    factor = min(room[0] / image.width, room[1] / image.height, 2.0)
    size = max(round(image.width * factor), 1), max(round(image.height * factor), 1)
    return image.resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0), factor / photo.reduction


def _mark(draw: ImageDraw.ImageDraw, face: Face, corner: tuple[int, int]) -> None:
    shift = np.array(corner, np.float32)
    box = (face.bbox.reshape(2, 2) + shift).round().astype(int)
    draw.rectangle([tuple(box[0]), tuple(box[1])], outline=_BOX, width=2)
    radius = max(face.width / 50, 2.0)
    for (x, y), colour in zip(face.landmarks + shift, _POINTS, strict=True):
        draw.ellipse([x - radius, y - radius, x + radius, y + radius], fill=colour, outline="black")
    draw.text(
        (int(box[0][0]) + 4, int(box[0][1]) + 3),
        f"{face.det_score:.2f}",
        fill="white",
        font=_font(13),
        stroke_width=2,
        stroke_fill="black",
    )


def _draw_scale(draw: ImageDraw.ImageDraw, result: Verification, place: tuple[int, int, int]) -> None:
    left, top, right = place
    colour = _SAME if result.verified else _DIFFERENT
    decision = "same person" if result.verified else "different people"
    draw.text((left, top), f"{decision}: similarity {result.similarity:.3f}", fill=colour, font=_font(26))

    low = min(-0.2, result.similarity, result.threshold.value)

    def at(value: float) -> float:
        return left + (value - low) / (1 - low) * (right - left)

    line = top + 70
    limit, here = at(result.threshold.value), at(result.similarity)
    draw.line([(left, line), (right, line)], fill=_FAINT, width=6)
    draw.line([(limit, line), (right, line)], fill="#b7e0c2", width=6)
    draw.line([(limit, line - 14), (limit, line + 14)], fill=_INK, width=3)
    draw.ellipse([here - 9, line - 9, here + 9, line + 9], fill=colour, outline="white", width=2)
    for value in (0.0, 0.5, 1.0):
        draw.text((at(value), line + 18), f"{value:g}", fill=_INK, font=_font(13), anchor="ma")
    basis = f"FMR {result.threshold.fmr:g}" if result.threshold.calibrated else "uncalibrated"
    label = f"threshold {result.threshold.value:.3f} ({basis})"
    anchor = "ma" if left + 120 < limit < right - 120 else ("la" if limit <= left + 120 else "ra")
    draw.text((limit, line + 38), label, fill=_INK, font=_font(15), anchor=anchor)


def _font(size: int) -> ImageFont.ImageFont | ImageFont.FreeTypeFont:
    return ImageFont.load_default(size)
