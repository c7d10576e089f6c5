"""LFW accuracy of one written graph, from whole photos, as its card states it."""

from __future__ import annotations

from pathlib import Path

from pocketface import registry
from pocketface.cards import Accuracy
from pocketface.detect import FaceDetector
from pocketface.embed import Embedder
from pocketface.registry import Model
from pocketface.threads import usable_cpus


def lfw_accuracy(model: Model, folder: Path) -> Accuracy:
    """Mean accuracy over LFW's ten folds, faces found by the installed detector.

    Crops and embeddings are kept in the benchmarks' cache: the next graph starts from the same crops,
    and `python -m benchmarks.accuracy lfw` from the same embeddings.

    Args:
        model: a graph with its card.
        folder: LFW's photos and `pairs.txt`.

    Raises:
        InputError: LFW is not there, or not whole.
        ModelError: no detector is installed.
    """
    from benchmarks.accuracy import embeddings, metrics
    from benchmarks.accuracy.crops import CropSource, default_folder
    from benchmarks.accuracy.protocols import lfw

    pairs = lfw.load(folder, aligned=False)
    detector = FaceDetector(registry.default("detect"), threads=1)
    source = CropSource(pairs.pictures, pairs.digest(), detector, default_folder())
    jobs = min(usable_cpus(), source.blocks)
    made = embeddings.embed(source, Embedder(model, threads=1), mirror=False, jobs=jobs)
    accuracy = metrics.summarise(embeddings.score(pairs, made), replicates=0).accuracy
    assert accuracy is not None  # LFW has folds
    return Accuracy(
        "LFW",
        f"ten folds, end to end, detector {detector.card.id}, no mirror averaging",
        "accuracy",
        round(accuracy, 6),
        f"python -m benchmarks.accuracy lfw LFW -m {model.card.file}",
    )
