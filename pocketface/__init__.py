"""Face recognition for devices that fit in a pocket: two photos in, a trustworthy decision out.

    from pocketface import FaceRecognizer

    recognizer = FaceRecognizer()
    result = recognizer.verify("a.jpg", "b.jpg")
    print(result.verified, result.similarity, result.threshold)

Names are imported on first use (PEP 562), so importing the package is cheap and loads no engine.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pocketface.decide import similarity
    from pocketface.detect import FaceDetector
    from pocketface.embed import Embedder
    from pocketface.errors import (
        EngineError,
        ExtraError,
        FetchError,
        GalleryError,
        ImageError,
        InputError,
        ModelError,
        NoFaceError,
        PocketfaceError,
        QualityError,
        SeveralFacesError,
        ThresholdError,
    )
    from pocketface.recognizer import BatchResult, FaceRecognizer, ItemError
    from pocketface.registry import Model
    from pocketface.types import Face, Threshold, Verification

__version__ = "0.1.0"

__all__ = [
    "BatchResult",
    "Embedder",
    "EngineError",
    "ExtraError",
    "Face",
    "FaceDetector",
    "FaceRecognizer",
    "FetchError",
    "GalleryError",
    "ImageError",
    "InputError",
    "ItemError",
    "Model",
    "ModelError",
    "NoFaceError",
    "PocketfaceError",
    "QualityError",
    "SeveralFacesError",
    "Threshold",
    "ThresholdError",
    "Verification",
    "__version__",
    "similarity",
]

_HOMES = {
    "BatchResult": "recognizer",
    "Embedder": "embed",
    "EngineError": "errors",
    "ExtraError": "errors",
    "Face": "types",
    "FaceDetector": "detect",
    "FaceRecognizer": "recognizer",
    "FetchError": "errors",
    "GalleryError": "errors",
    "ImageError": "errors",
    "InputError": "errors",
    "ItemError": "recognizer",
    "Model": "registry",
    "ModelError": "errors",
    "NoFaceError": "errors",
    "PocketfaceError": "errors",
    "QualityError": "errors",
    "SeveralFacesError": "errors",
    "Threshold": "types",
    "ThresholdError": "errors",
    "Verification": "types",
    "similarity": "decide",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'pocketface' has no attribute {name!r}")
    value: object = getattr(import_module(f"pocketface.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
