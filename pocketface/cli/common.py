"""Options and output that several commands share. Imports numpy and the package only when used."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pocketface.errors import ImageError

if TYPE_CHECKING:
    from pocketface.detect import FaceDetector
    from pocketface.recognizer import FaceRecognizer
    from pocketface.registry import Model
    from pocketface.types import Face, Threshold

PICTURES = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".gif", ".heic", ".heif")


def add_detector_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that `detector` reads."""
    parser.add_argument("--detector", metavar="MODEL", help="name or file of the detector")
    parser.add_argument("--engine", choices=("onnxruntime", "litert"), help="inference engine")
    parser.add_argument("--threads", type=positive, metavar="N", help="threads for one inference")
    parser.add_argument(
        "--rotate", action="store_true", help="search photos in four orientations and keep the best"
    )
    parser.add_argument(
        "--max-pixels", type=positive, metavar="N", help="refuse larger pictures (default: 64000000)"
    )


def add_recognizer_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that `recognizer` reads."""
    add_detector_options(parser)
    parser.add_argument("--embedder", metavar="MODEL", help="name or file of the embedder")
    parser.add_argument(
        "--policy",
        choices=("largest", "central", "all", "single"),
        default="largest",
        help="which of several faces counts (default: largest)",
    )
    parser.add_argument(
        "--mirror", action="store_true", help="average with the mirrored face: slower, better"
    )


def detector(args: argparse.Namespace) -> FaceDetector:
    """The detector that the options of `add_detector_options` describe."""
    from pocketface import engines, registry
    from pocketface.detect import FaceDetector

    suffixes = None if args.engine is None else engines.get(args.engine).formats
    if args.detector is None:
        model = registry.default("detect", suffixes=suffixes)
    else:
        model = registry.find(args.detector, task="detect", suffixes=suffixes)
    return FaceDetector(model, engine=args.engine, threads=args.threads, rotate=args.rotate)


def recognizer(args: argparse.Namespace, **options: Any) -> FaceRecognizer:
    """The recogniser that the options of `add_recognizer_options` describe.

    Args:
        args: parsed arguments.
        **options: further arguments of `FaceRecognizer`.
    """
    from pocketface.recognizer import FaceRecognizer
    from pocketface.registry import NO_CARD

    if args.max_pixels is not None:
        options["max_pixels"] = args.max_pixels
    made = FaceRecognizer(
        args.detector,
        args.embedder,
        engine=args.engine,
        threads=args.threads,
        policy=args.policy,
        rotate=args.rotate,
        mirror=args.mirror,
        **options,
    )
    model = made.embedder.network.model
    if model.card.source.startswith(NO_CARD):
        complain(f"note: {model.path}: {model.card.source}")
    return made


def positive(text: str) -> int:
    """An argument that is an integer of at least 1."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is not positive")
    return value


def expand(paths: Sequence[str]) -> list[str]:
    """The files named; a folder stands for the pictures in it and below, or for itself without any."""
    files: list[str] = []
    for path in paths:
        files += (pictures_in(Path(path)) if Path(path).is_dir() else []) or [path]
    return files


def refuse_folder(path: str) -> None:
    """Refuse a folder that `expand` has left.

    Raises:
        ImageError: it holds no picture.
    """
    if Path(path).is_dir():
        raise ImageError(no_picture(path))


def no_picture(folder: str) -> str:
    """What is wrong with a folder without pictures."""
    return f"{folder}: no picture in this folder; pictures end in {', '.join(PICTURES)}"


def pictures_in(folder: Path) -> list[str]:
    """The pictures in a folder and below."""
    return sorted(str(file) for file in folder.rglob("*") if is_picture(file))


def is_picture(path: Path) -> bool:
    """Whether it is named like a picture; a folder never is one."""
    return path.suffix.lower() in PICTURES and not path.is_dir()


@contextmanager
def progress(unit: str) -> Iterator[Callable[[int, int | None], None]]:
    """A progress bar on a terminal, nothing in a pipe.

    Args:
        unit: what is counted, such as "picture".

    Yields:
        A function to call with the number done and the number of all.
    """
    if not sys.stderr.isatty():
        yield lambda done, total: None
        return
    try:
        from tqdm import tqdm
    except ImportError:
        yield lambda done, total: print(f"\r{done}/{total or '?'} {unit}s", end="", file=sys.stderr)
        print(file=sys.stderr)
        return
    with tqdm(unit=unit, file=sys.stderr, leave=False) as bar:

        def show(done: int, total: int | None) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield show


def complain(message: object) -> None:
    """Print an error that does not end the run."""
    print(f"pocketface: {message}", file=sys.stderr)


def face_json(face: Face) -> dict[str, object]:
    """A face as JSON values, without its embedding."""
    return {
        "bbox": [round(float(value), 2) for value in face.bbox],
        "landmarks": [[round(float(x), 2), round(float(y), 2)] for x, y in face.landmarks],
        "det_score": round(face.det_score, 4),
        "rotation": face.rotation,
        "norm": None if face.norm is None else round(face.norm, 4),
    }


def model_json(model: Model) -> dict[str, object]:
    """What a decision rests on of a model."""
    card = model.card
    return {
        "id": card.id,
        "name": card.name,
        "sha256": card.sha256,
        "precision": card.precision,
        "format": card.format,
        "license": card.license.weights,
        "commercial": card.license.commercial,
        "space": card.space,
        "path": str(model.path),
    }


def support(threshold: Threshold) -> str:
    """What supports a threshold, for people."""
    if not threshold.calibrated:
        return "uncalibrated: no measured false match rate stands behind it"
    upper = "" if threshold.fmr_upper is None else f", at most {threshold.fmr_upper:.2g} at 95 % confidence"
    return f"FMR {threshold.fmr:g}{upper}; {threshold.impostor_pairs:,} impostor pairs of {threshold.data}"
