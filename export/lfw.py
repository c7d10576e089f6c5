"""LFW accuracy of one written graph, from whole photos, as its card states it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pocketface import registry
from pocketface.cards import Accuracy
from pocketface.detect import FaceDetector
from pocketface.embed import Embedder
from pocketface.registry import Model
from pocketface.threads import usable_cpus

if TYPE_CHECKING:
    from benchmarks.accuracy.protocols.pairs import Pairs


@dataclass(frozen=True)
class Lfw:
    """LFW, read.

    Attributes:
        folder: its photos and `pairs.txt`.
        pairs: the ten folds.
        detector: finds the faces.
    """

    folder: Path
    pairs: Pairs
    detector: FaceDetector


def read_lfw(folder: Path) -> Lfw:
    """Read LFW's pairs and see that the photos are there.

    Raises:
        InputError: LFW is not there, or not whole.
        ModelError: no detector is installed.
    """
    from benchmarks.accuracy.protocols import lfw

    pairs = lfw.load(folder, aligned=False)
    pairs.digest()
    return Lfw(folder, pairs, FaceDetector(registry.default("detect"), threads=1))


def lfw_accuracy(model: Model, data: Lfw) -> Accuracy:
    """Mean accuracy over LFW's ten folds, faces found by the installed detector.

    Crops and embeddings are kept in the benchmarks' cache: the next graph starts from the same crops,
    and `python -m benchmarks.accuracy lfw` from the same embeddings.

    Args:
        model: a graph with its card.
        data: LFW.

    Raises:
        ImageError: a photo is damaged.
        InputError: the photos show no faces.
    """
    from benchmarks.accuracy import embeddings, metrics
    from benchmarks.accuracy.crops import CropSource, default_folder

    pairs, detector = data.pairs, data.detector
    source = CropSource(pairs.pictures, pairs.digest(), detector, default_folder())
    jobs = min(usable_cpus(), source.blocks)
    made = embeddings.embed(source, Embedder(model, threads=1), mirror=False, jobs=jobs)
    scores = embeddings.score(pairs, made)
    accuracy = metrics.summarise(scores, replicates=0, what=str(data.folder)).accuracy
    assert accuracy is not None  # LFW has folds
    return Accuracy(
        "LFW",
        f"ten folds, end to end, detector {detector.card.id}, no mirror averaging",
        "accuracy",
        round(accuracy, 6),
        f"python -m benchmarks.accuracy lfw LFW -m {model.card.file}",
    )
