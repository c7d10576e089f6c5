import io
import struct
import sys
import threading
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image, ImageFile, ImageOps

from pocketface import ExtraError, ImageError, InputError, images


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("fmt", ["PNG", "WEBP"])
def test_every_exif_orientation_is_applied(scene, encode, orientation, fmt):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encode(scene, fmt, exif=exif, **({"lossless": True} if fmt == "WEBP" else {}))
    expected = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))))
    assert np.array_equal(images.load(data), expected)
    assert (images.load(data).shape[0] > 40) == (orientation >= 5)


def test_jpeg_orientation_agrees_with_opencv(scene, encode, tmp_path):
    cv2 = pytest.importorskip("cv2")
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        path = tmp_path / f"{orientation}.jpg"
        path.write_bytes(encode(scene, "JPEG", quality=95, exif=exif))
        expected = cv2.imread(str(path))[:, :, ::-1].astype(int)
        assert np.abs(images.load(path).astype(int) - expected).max() <= 2


@pytest.mark.parametrize("fmt", ["JPEG", "PNG", "WEBP", "BMP", "GIF"])
def test_formats(scene, encode, fmt):
    result = images.load(encode(scene, fmt))
    assert result.shape == scene.shape
    assert result.dtype == np.uint8
    assert np.abs(result.astype(int) - scene).mean() < 10


@pytest.mark.parametrize(
    ("mode", "fmt"), [("L", "PNG"), ("P", "PNG"), ("1", "PNG"), ("CMYK", "JPEG"), ("L", "JPEG")]
)
def test_modes_are_converted(scene, encode, mode, fmt):
    image = Image.fromarray(scene).convert(mode)
    expected = np.asarray(image.convert("RGB")).astype(int)
    assert np.abs(images.load(encode(image, fmt)).astype(int) - expected).mean() < 6


def test_sixteen_bits_keep_their_high_byte(encode):
    values = np.arange(0, 65536, 97, dtype=np.uint16)[:600].reshape(20, 30)
    data = encode(Image.fromarray(values))
    assert np.array_equal(images.load(data)[:, :, 1], values >> 8)


def test_wide_modes_of_pil_images(encode):
    values = np.arange(240, dtype=np.uint8).reshape(12, 20)
    wide = Image.fromarray(values).convert("I")
    assert np.array_equal(images.load(wide)[:, :, 0], values)
    wide = Image.fromarray(values.astype(np.int32) * 257)
    assert np.array_equal(images.load(wide)[:, :, 0], values)
    # A dark 16-bit file stays dark, whichever of the two modes this Pillow opens it in.
    dark = Image.open(io.BytesIO(encode(Image.fromarray(values.astype(np.uint16)))))
    assert images.load(dark).max() == 0


def test_alpha_lies_over_white(encode):
    rgba = np.zeros((4, 6, 4), np.uint8)
    rgba[:, :3, 3] = 255
    result = images.load(encode(rgba))
    assert (result[:, :3] == 0).all()
    assert (result[:, 3:] == 255).all()
    palette = Image.fromarray(rgba).convert("P")
    assert images.load(encode(palette, transparency=0)).shape == (4, 6, 3)


def test_sources_agree(scene, encode, tmp_path):
    data = encode(scene)
    path = tmp_path / "ü name.png"
    path.write_bytes(data)
    sources = [
        path,
        str(path),
        data,
        bytearray(data),
        memoryview(data),
        io.BytesIO(data),
        Image.fromarray(scene),
    ]
    for source in sources:
        assert np.array_equal(images.load(source), scene)
    with path.open("rb") as file:
        assert np.array_equal(images.load(file), scene)


def test_arrays_are_bgr_unless_told_otherwise(scene):
    assert np.array_equal(images.load(scene), scene[:, :, ::-1])
    assert np.array_equal(images.load(scene, channel_order="rgb"), scene)
    grey = scene[:, :, 0]
    assert np.array_equal(images.load(grey), np.stack([grey] * 3, axis=2))
    four = np.concatenate([scene, scene[:, :, :1]], axis=2)
    assert np.array_equal(images.load(four), scene[:, :, ::-1])
    for array in (images.load(scene), scene, scene[::2, 1:], np.asfortranarray(scene)):
        assert np.array_equal(np.asarray(images.to_pillow(array)), array)


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros((4, 4, 3), np.float32), "multiply 0..1 by 255"),
        (np.zeros((4, 4, 3), np.int64), "dtype int64; expected uint8"),
        (np.zeros((3, 9, 9), np.uint8), "transpose it to (h, w, 3)"),
        (np.zeros((0, 9, 3), np.uint8), "expected uint8 of shape (h, w, 3)"),
        (np.zeros((2, 4, 4, 3), np.uint8), "shape (2, 4, 4, 3)"),
    ],
)
def test_wrong_arrays_are_told_what_is_expected(array, words):
    with pytest.raises(InputError) as caught:
        images.load(array)
    assert words in str(caught.value)


@pytest.mark.parametrize("source", [None, 3, [1, 2], object()])
def test_other_things_are_no_pictures(source):
    with pytest.raises(InputError, match="a picture is a path"):
        images.load(source)


def test_text_files_and_wrong_arguments_are_refused(tmp_path, scene):
    with pytest.raises(InputError, match="binary mode"):
        images.load(io.StringIO("text"))
    with pytest.raises(InputError, match="channel_order"):
        images.load(scene, channel_order="brg")
    with pytest.raises(InputError, match="zero character"):
        images.load("a\0b")
    with pytest.raises(InputError, match="no file can have this name"):
        images.load("\ud800.jpg")


def test_files_that_are_no_pictures(tmp_path):
    cases = {
        "empty.jpg": (b"", "empty"),
        "text.jpg": (b"hello, I am no picture", "not a picture"),
        "scan.tif": (b"II*\0" + bytes(20), "TIFF is not supported"),
        "paper.pdf": (b"%PDF-1.7 .........", "PDF is not supported"),
        "page.png": (b"<!DOCTYPE html><html>", "web page"),
        "new.avif": (b"\0\0\0\x1cftypavif" + bytes(20), "AVIF is not supported"),
    }
    for name, (data, words) in cases.items():
        path = tmp_path / name
        path.write_bytes(data)
        with pytest.raises(ImageError, match=words) as caught:
            images.load(path)
        assert str(path) in str(caught.value)
    with pytest.raises(ImageError, match="no such file"):
        images.load(tmp_path / "missing.jpg")
    with pytest.raises(ImageError, match="folder"):
        images.load(tmp_path)


@pytest.mark.parametrize("fmt", ["JPEG", "PNG", "WEBP", "BMP", "GIF"])
def test_truncated_files_are_named(encode, tmp_path, fmt):
    noise = np.random.default_rng(0).integers(0, 256, (80, 80, 3), dtype=np.uint8)
    path = tmp_path / f"cut.{fmt.lower()}"
    data = encode(noise, fmt)
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(ImageError) as caught:
        images.load(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def png_header(width, height):
    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b""))
        + chunk(b"IEND", b"")
    )


def test_decompression_bombs_are_refused_before_decoding():
    with pytest.raises(ImageError, match="50000 x 50000 pixels are more than the limit of 64,000,000"):
        images.load(png_header(50_000, 50_000))


def test_large_jpegs_are_decoded_at_reduced_size(encode):
    y, x = np.mgrid[0:600, 0:900]
    large = np.stack([x // 4, y // 3, (x + y) // 6], axis=2).astype(np.uint8)
    picture = images.read(encode(large, "JPEG", quality=95), max_pixels=150_000)
    assert picture.reduction == 2
    assert picture.pixels.shape == (300, 450, 3)
    assert np.abs(picture.pixels.astype(int) - large[::2, ::2]).mean() < 3
    assert images.read(encode(large, "JPEG"), max_pixels=40_000).reduction == 4
    with pytest.raises(ImageError, match="900 x 600 pixels are more than the limit"):
        images.read(encode(large, "JPEG"), max_pixels=20_000)
    with pytest.raises(ImageError, match="limit"):  # a progressive file is held in full while decoding
        images.read(encode(large, "JPEG", progressive=True), max_pixels=150_000)


def test_the_limit_holds_for_pil_images():
    with pytest.raises(ImageError, match="limit"):
        images.load(Image.new("RGB", (100, 100)), max_pixels=9_999)


def test_heic(scene, encode):
    heif = pytest.importorskip("pillow_heif")
    exif = Image.Exif()
    exif[0x0112] = 6
    for orientation in (1, 6):
        buffer = io.BytesIO()
        image = Image.fromarray(scene)
        exif[0x0112] = orientation
        heif.from_pillow(image).save(buffer, quality=-1, exif=exif.tobytes())
        result = images.load(buffer.getvalue()).astype(int)
        expected = scene if orientation == 1 else np.rot90(scene, -1)
        assert result.shape == expected.shape
        assert np.abs(result - expected).mean() < 6
    with pytest.raises(ImageError, match="limit"):
        images.load(buffer.getvalue(), max_pixels=100)
    with pytest.raises(ImageError):
        images.load(buffer.getvalue()[:-200])


def test_heic_without_the_extra_names_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(ExtraError, match=r'pip install "pocketface\[heic\]"'):
        images.load(b"\0\0\0\x18ftypheic" + bytes(100))


def test_damaged_metadata_does_not_warn(scene, encode):
    data = encode(scene, "JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\x05\0\x12\x01\x03\0\xff\xff\xff\xff")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert images.load(data).shape == scene.shape


def test_damaged_metadata_does_not_cost_the_picture(scene, encode):
    """A JFIF density keeps Pillow from looking at the EXIF before; the first TIFF bytes are no header."""
    for fmt in ("JPEG", "PNG", "WEBP"):
        data = encode(
            scene, fmt, exif=b"Exif\0\0" + bytes(40), **({"dpi": (72, 72)} if fmt == "JPEG" else {})
        )
        assert images.load(data).shape == scene.shape


def test_pillow_is_left_as_it_was(scene, encode, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)  # the user's own limit is none of ours
    before = (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES, dict(Image.OPEN), warnings.filters[:])
    for fmt in ("JPEG", "PNG", "BMP"):
        images.load(encode(scene, fmt))
    with pytest.raises(ImageError):
        images.load(encode(scene)[:100])
    after = (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES, dict(Image.OPEN), warnings.filters[:])
    assert after == before


def test_files_are_closed_and_streams_are_not(scene, encode, tmp_path):
    stream = io.BytesIO(encode(scene))
    images.load(stream)
    assert not stream.closed
    image = Image.fromarray(scene)
    images.load(image)
    assert image.getpixel((0, 0)) == (0, 0, 0)
    path = tmp_path / "a.png"
    path.write_bytes(encode(scene))
    images.load(path)  # an open file would be a ResourceWarning, which is an error here
    threads = [threading.Thread(target=images.load, args=(path,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
