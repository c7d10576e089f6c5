"""Seeds and mutations for the fuzzer: small files of every kind that pocketface reads."""

from __future__ import annotations

import io
import json
import random

import numpy as np
from PIL import Image

INTERESTING = (0, 1, 0x7F, 0x80, 0xFF)
LENGTHS = (0, 1, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF)


def pictures() -> dict[str, bytes]:
    """Small pictures in every format, mode and variant, by name."""
    y, x = np.mgrid[0:48, 0:64]
    noise = np.random.default_rng(0).integers(0, 40, (48, 64, 3))
    rgb = Image.fromarray((np.stack([x * 3, y * 4, x + y], axis=2) + noise).astype(np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010E] = "a description of the picture"
    variants = (
        ("baseline.jpg", rgb, "JPEG", {"exif": exif, "icc_profile": b"x" * 200}),
        ("progressive.jpg", rgb, "JPEG", {"progressive": True}),
        ("grey.jpg", rgb.convert("L"), "JPEG", {}),
        ("cmyk.jpg", rgb.convert("CMYK"), "JPEG", {}),
        ("rgb.png", rgb, "PNG", {"exif": exif}),
        ("alpha.png", rgb.convert("RGBA"), "PNG", {}),
        ("palette.png", rgb.convert("P"), "PNG", {"transparency": 3}),
        ("deep.png", Image.fromarray(np.asarray(rgb)[:, :, 0].astype(np.uint16) * 257), "PNG", {}),
        ("lossy.webp", rgb, "WEBP", {"exif": exif}),
        ("lossless.webp", rgb.convert("RGBA"), "WEBP", {"lossless": True}),
        ("moving.webp", rgb, "WEBP", {"save_all": True, "append_images": [rgb.rotate(90)]}),
        ("rgb.bmp", rgb, "BMP", {}),
        ("palette.bmp", rgb.convert("P"), "BMP", {}),
        ("moving.gif", rgb, "GIF", {"save_all": True, "append_images": [rgb.rotate(90)]}),
    )
    files = {}
    for name, image, fmt, options in variants:
        buffer = io.BytesIO()
        image.save(buffer, fmt, **options)
        files[name] = buffer.getvalue()
    try:
        import pillow_heif
    except ImportError:
        return files
    buffer = io.BytesIO()
    pillow_heif.from_pillow(rgb).save(buffer, exif=exif.tobytes())
    return {**files, "photo.heic": buffer.getvalue()}


def cards() -> dict[str, bytes]:
    """A detector's and an embedder's card."""
    card = {
        "schema": 1, "name": "small", "task": "embed", "kind": "embedder", "file": "small.onnx",
        "sha256": "0" * 64, "size": 1000, "format": "onnx", "precision": "fp32",
        "license": {"weights": "MIT", "data": "none", "commercial": "yes"}, "source": "a test",
        "input": {
            "name": "image", "layout": "NCHW", "dtype": "float32", "channels": "rgb",
            "mean": [127.5, 127.5, 127.5], "scale": [0.0078, 0.0078, 0.0078], "size": [112, 112],
            "template": "arcface-112",
        },
        "output": {"name": "embedding", "dim": 128}, "space": "small/1",
        "thresholds": [
            {"fmr": 0.001, "value": 0.4, "fmr_upper": 0.0011, "impostor_pairs": 10**6, "data": "faces"}
        ],
        "accuracy": [],
    }  # fmt: skip
    detector = {key: value for key, value in card.items() if key not in ("output", "space")}
    detector |= {"task": "detect", "kind": "yunet", "thresholds": []}
    detector["input"] = {**card["input"], "size": [None, None], "template": None}
    return {"embedder.json": json.dumps(card).encode(), "detector.json": json.dumps(detector).encode()}


def graph() -> bytes:
    """A tiny ONNX graph that looks like an embedder: the mean of each channel, as `(n, 3)`."""
    from onnx import TensorProto, helper

    node = helper.make_node("ReduceMean", ["image"], ["embedding"], axes=[2, 3], keepdims=0)
    taken = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 3, 112, 112])
    given = helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["n", 3])
    model = helper.make_model(
        helper.make_graph([node], "small", [taken], [given]),
        opset_imports=[helper.make_opsetid("", 13)],
        ir_version=8,
    )
    return bytes(model.SerializeToString())


def mutate(data: bytes, others: list[bytes], rng: random.Random) -> bytes:
    """Damage a file in one to eight places."""
    result = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4, 8))):
        if not result:
            break
        # Headers decide what a decoder does, so half of the damage is done there.
        at = rng.randrange(min(len(result), 64)) if rng.random() < 0.5 else rng.randrange(len(result))
        kind = rng.randrange(8)
        if kind == 0:
            result[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            result[at] = rng.choice(INTERESTING)
        elif kind == 2:
            length = rng.choice((2, 4))
            value = rng.choice(LENGTHS) & (256**length - 1)
            result[at : at + length] = value.to_bytes(length, rng.choice(("big", "little")))
        elif kind == 3:
            del result[at : at + rng.randrange(1, 64)]
        elif kind == 4:
            result[at:at] = rng.randbytes(rng.randrange(1, 64))
        elif kind == 5:
            del result[at:]
        elif kind == 6:
            end = at + rng.randrange(1, 64)
            result[at:at] = result[at:end]
        else:
            other = rng.choice(others)
            result[at:] = other[rng.randrange(len(other)) :]
    return bytes(result)
