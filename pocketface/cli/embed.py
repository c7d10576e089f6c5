"""`pocketface embed`: photos as vectors."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from pocketface import atomic
from pocketface.cli import ERROR, common
from pocketface.cli.intermixed import let_options_stand_anywhere
from pocketface.errors import InputError

if TYPE_CHECKING:
    from pocketface.recognizer import BatchResult, FaceRecognizer, ItemError


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "embed",
        help="describe the faces of photos as vectors",
        description="Describe the faces of photos as vectors of unit norm; the dot product of two is their "
        "similarity.",
        epilog="The file holds embeddings (m, d), paths (m,), bbox (m, 4), landmarks (m, 5, 2), "
        "det_score (m,), norm (m,), model, detector and space. "
        "Exit status: 0 success, 2 when a photo gave no vector.",
    )
    parser.add_argument("pictures", nargs="+", metavar="PICTURE", help="photo, or folder of photos")
    parser.add_argument("-o", "--output", metavar="VECTORS.npz", help="file to write")
    parser.add_argument("--json", action="store_true", help="print one JSON document with the vectors")
    common.add_recognizer_options(parser)
    let_options_stand_anywhere(parser)


def run(args: argparse.Namespace) -> int:
    """Write or print the vectors."""
    if not args.output and not args.json:
        raise InputError("where to? give -o VECTORS.npz or --json")
    if args.output:
        atomic.check_target(args.output)
    files = common.expand(args.pictures)
    recognizer = common.recognizer(args)
    with common.progress("picture") as show:
        result = recognizer.embed_batch(files, progress=show)
    for item in result.errors:
        common.complain(_reason(item))
    if args.output:
        _write(args.output, files, recognizer, result)
    if args.json:
        print(json.dumps(_document(files, recognizer, result), indent=2))
    else:
        counts = f"{len(result.faces)} vectors of {len(files)} pictures, {len(result.errors)} failed"
        print(f"{args.output}: {counts}")
    return ERROR if result.errors else 0


def _reason(item: ItemError) -> str:
    return common.no_picture(item.source) if Path(item.source).is_dir() else str(item.error)


def _write(path: str, files: list[str], recognizer: FaceRecognizer, result: BatchResult) -> None:
    import numpy as np

    faces = result.faces
    # Embeddings are biometric data: nobody else on the machine may read them.
    with atomic.replacing(Path(path), private=True) as temporary, temporary.open("wb") as file:
        np.savez(
            file,
            embeddings=result.embeddings,
            paths=np.array([files[index] for index in result.indices], dtype=np.str_),
            bbox=np.array([face.bbox for face in faces], np.float32).reshape(-1, 4),
            landmarks=np.array([face.landmarks for face in faces], np.float32).reshape(-1, 5, 2),
            det_score=np.array([face.det_score for face in faces], np.float32),
            norm=np.array([face.norm for face in faces], np.float32),
            model=recognizer.model,
            detector=recognizer.detector.card.id,
            space=str(recognizer.embedder.card.space),
        )


def _document(files: list[str], recognizer: FaceRecognizer, result: BatchResult) -> dict[str, object]:
    return {
        "embedder": common.model_json(recognizer.embedder.network.model),
        "detector": common.model_json(recognizer.detector.network.model),
        "faces": [
            {
                "path": files[index],
                **common.face_json(face),
                "embedding": [round(float(value), 7) for value in embedding],
            }
            for index, face, embedding in zip(result.indices, result.faces, result.embeddings, strict=True)
        ],
        "errors": [{"path": item.source, "error": _reason(item)} for item in result.errors],
    }
