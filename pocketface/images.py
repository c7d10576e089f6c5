"""Reads pictures of any origin into one form: uint8 RGB, upright, bounded in size.

Formats come from an allow-list; each file's own plugin of Pillow is called directly, so neither
Pillow's registry nor its limits are changed, and the pixel limit is checked before decoding.
"""

from __future__ import annotations

import io
import os
import struct
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any, TypeAlias

import numpy as np
from PIL import BmpImagePlugin, GifImagePlugin, Image, JpegImagePlugin, PngImagePlugin, WebPImagePlugin

from pocketface.errors import ExtraError, ImageError, InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

Source: TypeAlias = (
    "str | os.PathLike[str] | bytes | bytearray | memoryview | IO[bytes] | Image.Image | NDArray[np.uint8]"
)
"""What a picture may be given as."""

MAX_PIXELS = 64_000_000
"""Default limit on a picture's pixels: phones' full-size photos pass, decompression bombs do not."""

CHANNEL_ORDERS = ("bgr", "rgb")

_ORIENTATION_TAG = 0x0112  # EXIF 2.32, 4.6.4
_ORIENTATIONS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_MAX_REDUCTION = 4  # of a JPEG's sides: more pixels than 16 times the limit are refused all the same


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """A decoded picture.

    Attributes:
        pixels: uint8 `(h, w, 3)`, RGB, upright; read only where it shares the caller's memory.
        reduction: 1, or by how much a JPEG above the pixel limit was reduced while decoding: one
            pixel here is `reduction` pixels of the file.
    """

    pixels: NDArray[np.uint8]
    reduction: int = 1


def load(source: Source, *, channel_order: str = "bgr", max_pixels: int = MAX_PIXELS) -> NDArray[np.uint8]:
    """Read a picture.

    Args:
        source: path, bytes, binary file object, PIL image, or uint8 array `(h, w)`, `(h, w, 1)`,
            `(h, w, 3)` or `(h, w, 4)`, whose fourth channel is ignored. Files: JPEG, PNG, WebP, BMP,
            GIF (first frame), HEIC with the extra `heic`. Transparency is laid over white.
        channel_order: order of an array's channels, "bgr" as OpenCV gives them, or "rgb".
        max_pixels: more are refused before decoding, except that JPEGs of up to 16 times as many are
            decoded at reduced size.

    Returns:
        uint8 `(h, w, 3)`, RGB, with the EXIF orientation applied; may be a view of the given array.

    Raises:
        ImageError: unreadable, truncated, of another format, or too large; the message names the file.
        InputError: not a picture at all, or an array of another dtype or shape.
        ExtraError: a HEIC file and pillow-heif is not installed.
    """
    return read(source, channel_order=channel_order, max_pixels=max_pixels).pixels


def read(source: Source, *, channel_order: str = "bgr", max_pixels: int = MAX_PIXELS) -> Picture:
    """Read a picture as `load` does, and say by how much it was reduced."""
    if channel_order not in CHANNEL_ORDERS:
        raise InputError(f'channel_order must be "bgr" or "rgb", not {channel_order!r}')
    if isinstance(source, np.ndarray):
        return Picture(_from_array(source, channel_order))
    name = describe(source)
    if isinstance(source, Image.Image):
        _check_size(name, source.size, max_pixels)
        return Picture(_guarded(name, lambda: _upright(source)))
    if isinstance(source, str | os.PathLike):
        return _read_path(source, name, max_pixels)
    if isinstance(source, bytes | bytearray | memoryview):
        return _read_file(io.BytesIO(source), name, max_pixels)
    if hasattr(source, "read"):
        return _read_stream(source, name, max_pixels)
    raise InputError(
        "a picture is a path, bytes, a binary file, a PIL image or a uint8 array, "
        f"not {type(source).__name__}"
    )


def describe(source: object) -> str:
    """What error messages call a source: its path, or what kind of thing it is."""
    if isinstance(source, str | os.PathLike):
        return os.fsdecode(source)
    if isinstance(source, Image.Image):
        return str(getattr(source, "filename", "") or "PIL image")
    if isinstance(source, bytes | bytearray | memoryview):
        return f"picture of {len(source):,} bytes"
    if isinstance(source, np.ndarray):
        return f"array of shape {source.shape}"
    return str(getattr(source, "name", "") or type(source).__name__)


def to_pillow(pixels: NDArray[np.uint8]) -> Image.Image:
    """The pixels as a PIL image in mode RGB.

    Args:
        pixels: uint8 `(h, w, 3)`, RGB; a reversed view of a BGR array costs nothing extra.
    """
    height, width = pixels.shape[:2]
    if pixels.strides[2] == -1:  # Pillow swaps the channels faster than numpy copies a reversed view
        data = np.ascontiguousarray(pixels[:, :, ::-1])
        return Image.frombuffer("RGB", (width, height), data, "raw", "BGR", 0, 1)
    return Image.frombuffer("RGB", (width, height), np.ascontiguousarray(pixels), "raw", "RGB", 0, 1)


def _from_array(array: NDArray[Any], channel_order: str) -> NDArray[np.uint8]:
    expected = "expected uint8 of shape (h, w, 3), 0..255"
    if array.dtype != np.uint8:
        hint = ""
        if array.dtype.kind == "f":
            hint = "; multiply 0..1 by 255, clip, and use .astype(numpy.uint8)"
        raise InputError(f"array of dtype {array.dtype}; {expected}{hint}")
    if array.ndim == 2:
        array = array[:, :, None]
    if array.ndim != 3 or array.shape[2] not in (1, 3, 4) or 0 in array.shape:
        hint = "; transpose it to (h, w, 3)" if array.ndim == 3 and array.shape[0] == 3 else ""
        raise InputError(f"array of shape {array.shape}; {expected}{hint}")
    if array.shape[2] == 1:
        return np.repeat(array, 3, axis=2)
    array = array[:, :, :3]
    return array[:, :, ::-1] if channel_order == "bgr" else array


def _read_path(path: str | os.PathLike[str], name: str, max_pixels: int) -> Picture:
    if not name or "\0" in name:
        raise InputError("the path of a picture is empty or holds a zero character")
    try:
        file = open(path, "rb")  # noqa: SIM115 - closed below; opening fails with messages of its own
    except FileNotFoundError:
        raise ImageError(f"{name}: no such file") from None
    except IsADirectoryError:
        raise ImageError(f"{name}: is a folder, not a picture") from None
    except UnicodeEncodeError:
        raise InputError(f"{name!r}: no file can have this name") from None
    except OSError as error:
        raise ImageError(f"{name}: cannot be opened ({error.strerror or error})") from error
    with file:
        if not file.seekable():  # a pipe
            return _read_stream(file, name, max_pixels)
        return _read_file(file, name, max_pixels)


def _read_stream(stream: IO[bytes], name: str, max_pixels: int) -> Picture:
    try:
        data = stream.read()
    except (OSError, ValueError) as error:
        raise ImageError(f"{name}: cannot be read ({error})") from error
    if not isinstance(data, bytes | bytearray | memoryview):
        raise InputError(f"{name}: the file is open for text; open it in binary mode")
    return _read_file(io.BytesIO(data), name, max_pixels)


def _read_file(file: IO[bytes], name: str, max_pixels: int) -> Picture:
    prefix = _guarded(name, lambda: file.read(16))
    if not prefix:
        raise ImageError(f"{name}: the file is empty")
    if _is_heif(prefix):
        return _read_heif(file, name, max_pixels)
    plugin = next((plugin for accept, plugin in _PLUGINS if accept(prefix)), None)
    if plugin is None:
        raise ImageError(f"{name}: {_guess(prefix)}; JPEG, PNG, WebP, BMP, GIF and HEIC can be read")
    file.seek(0)

    def open_header() -> Image.Image:
        # Pillow warns of harmless flaws in metadata; the narrow filter hides only its own messages.
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")
            return plugin(file)

    image = _guarded(name, open_header)
    with image:
        whole = image.size
        reduction = _draft(image, name, max_pixels)
        _check_size(name, image.size, max_pixels, whole)
        return Picture(_guarded(name, lambda: _upright(image)), reduction)


def _draft(image: Image.Image, name: str, max_pixels: int) -> int:
    """Ask a JPEG that is too large for a reduced form; returns the reduction of its sides."""
    width, height = image.size
    if not isinstance(image, JpegImagePlugin.JpegImageFile) or width * height <= max_pixels:
        return 1
    if image.info.get("progressive"):  # libjpeg holds all coefficients of such a file at full size
        return 1
    reduction = 2
    while reduction < _MAX_REDUCTION and -(-width // reduction) * -(-height // reduction) > max_pixels:
        reduction *= 2
    _guarded(name, lambda: image.draft(None, (max(width // reduction, 1), max(height // reduction, 1))))
    return -(-width // image.size[0])


def _check_size(
    name: str, size: tuple[int, int], max_pixels: int, whole: tuple[int, int] | None = None
) -> None:
    """Refuse what is too large once decoded; `whole` is its size in the file, where that is another."""
    width, height = size
    if width < 1 or height < 1:
        raise ImageError(f"{name}: a picture of {width} x {height} pixels")
    if width * height > max_pixels:
        wide, high = whole or size
        raise ImageError(
            f"{name}: {wide} x {high} pixels are more than the limit of {max_pixels:,}; "
            "raise max_pixels if you trust the file"
        )


def _upright(image: Image.Image) -> NDArray[np.uint8]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")
        try:
            orientation = image.getexif().get(_ORIENTATION_TAG, 1)
        except (SyntaxError, ValueError, LookupError, TypeError, EOFError, struct.error):
            orientation = 1  # malformed EXIF says nothing of the pixels; viewers pass over it too
    image.load()
    rgb = _to_rgb(image)
    if orientation in _ORIENTATIONS:
        rgb = rgb.transpose(_ORIENTATIONS[orientation])
    return np.asarray(rgb)


def _to_rgb(image: Image.Image) -> Image.Image:
    mode = image.mode
    if mode == "RGB" and "transparency" not in image.info:
        return image
    if mode.startswith("I"):
        values = np.asarray(image)
        # 16-bit grey is "I;16" or its kin, and "I" from a PNG in older Pillow; other "I" tell no range.
        eight_bits = mode == "I" and image.format != "PNG" and values.max() <= 255
        grey = np.clip(values, 0, 255) if eight_bits else np.clip(values, 0, 65535) >> 8
        return Image.fromarray(grey.astype(np.uint8)).convert("RGB")
    if mode == "F":
        raise ImageError("pixels of mode F have no known range; convert to 8 bits first")
    if mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        white = Image.new("RGB", image.size, "white")
        white.paste(rgba, mask=rgba.getchannel("A"))
        return white
    return image.convert("RGB")


def _is_heif(prefix: bytes) -> bool:
    return prefix[4:8] == b"ftyp" and prefix[8:12] in _HEIF_BRANDS


def _read_heif(file: IO[bytes], name: str, max_pixels: int) -> Picture:
    try:
        import pillow_heif
    except ImportError as error:
        raise ExtraError(f'{name}: reading HEIC needs an extra: pip install "pocketface[heic]"') from error
    file.seek(0)
    heif = _guarded(name, lambda: pillow_heif.open_heif(file))
    _check_size(name, _guarded(name, lambda: heif.size), max_pixels)
    # The decoder has already turned the picture, and to_pillow() resets the orientation to match.
    return Picture(_guarded(name, lambda: _upright(heif.to_pillow())))


def _guess(prefix: bytes) -> str:
    for magic, what in _OTHERS:
        if magic in prefix:
            return f"{what} is not supported"
    return "not a picture"


def _guarded(name: str, step: Callable[[], Any]) -> Any:
    """Run a step of decoding; whatever a decoder makes of a damaged file becomes an ImageError."""
    try:
        return step()
    except (ImageError, ExtraError) as error:
        raise type(error)(f"{name}: {error}") from error
    except MemoryError as error:
        raise ImageError(f"{name}: not enough memory to decode it") from error
    except Exception as error:  # decoders raise nearly anything on damaged files
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ImageError(f"{name}: damaged or truncated ({reason})") from error


_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
_OTHERS = (
    (b"avif", "AVIF"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"%PDF", "PDF"),
    (b"8BPS", "Photoshop"),
    (b"<svg", "SVG"),
    (b"ftyp", "a video or an unknown HEIF brand"),
    (b"<!DOCTYPE", "a web page"),
    (b"<html", "a web page"),
    (b"version https://", "a Git LFS pointer"),
)
_PLUGINS: tuple[tuple[Callable[[bytes], bool], Callable[[IO[bytes]], Image.Image]], ...] = (
    (lambda prefix: prefix.startswith(b"\xff\xd8\xff"), JpegImagePlugin.JpegImageFile),
    (lambda prefix: prefix.startswith(b"\x89PNG\r\n\x1a\n"), PngImagePlugin.PngImageFile),
    (lambda prefix: prefix[:4] == b"RIFF" and prefix[8:12] == b"WEBP", WebPImagePlugin.WebPImageFile),
    (lambda prefix: prefix.startswith(b"BM"), BmpImagePlugin.BmpImageFile),
    (lambda prefix: prefix[:6] in (b"GIF87a", b"GIF89a"), GifImagePlugin.GifImageFile),
)
