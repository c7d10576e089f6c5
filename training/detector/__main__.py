"""`python -m training.detector collect | train | mine | average | evaluate | export`.

python -m training.detector collect caltech=CLONE.git rooms=CLONE.git photos=FOLDER --out SCENES
python -m training.detector train SCENES --out RUN --minutes 60
python -m training.detector mine RUN/facedet.onnx SCENES RUN/drills.npz
python -m training.detector average RUN/facedet.pth OTHER/facedet.pth --out facedet.pth
python -m training.detector evaluate RUN/facedet.onnx SCENES --caltech CLONE.git --json figures.json
python -m training.detector export RUN/facedet.pth facedet.onnx
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from pocketface.errors import InputError, PocketfaceError
from training.arguments import BF16, count, minutes, share

SHARED = Path(__file__).resolve().parents[3] / "shared"
LFW = SHARED / "data/lfw"
"""What is protected where nothing else is said."""

TERMS = {
    "licence": "Apache-2.0",
    "teacher": "YuNet-n (MIT / Apache-2.0), pseudo-labels on whole pictures",
    "data": (
        "Trained from random weights on pictures of public research sets (Caltech 10k Web Faces, CelebA,"
        " UTKFace, All-Age-Faces, Caltech 101, face-mask, street and pet pictures found in public"
        " repositories), which were collected for research and are not shipped; see"
        " training/detector/README.md"
    ),
}
"""What a card must say about the weights."""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser("python -m training.detector", description="Train the face detector.")
    verbs = made.add_subparsers(dest="verb", required=True)

    def teacher(verb: argparse.ArgumentParser) -> None:
        path = SHARED / "models/yunet_n_dynamic.onnx"
        verb.add_argument("--teacher", type=Path, default=path, help="YuNet's graph")

    collect = verbs.add_parser("collect", help="shrink, label and pack whole pictures")
    collect.add_argument("sources", nargs="+", metavar="NAME=PATH", help="a folder or a bare git directory")
    collect.add_argument("--out", type=Path, required=True, help="folder for the packs")
    collect.add_argument("--protected", help="pictures never packed: LFW; '' for none")
    teacher(collect)

    train = verbs.add_parser("train", help="train, or go on where a run was stopped")
    train.add_argument("scenes", type=Path, help="folder of packs")
    train.add_argument("--out", type=Path, required=True, help="folder of the run")
    train.add_argument(
        "--minutes", type=minutes, default=60, help="wall-clock budget, earlier parts included"
    )
    train.add_argument("--start", type=Path, help="weights, .pth, that a new run begins with")
    train.add_argument("--rate", type=share, default=1.0, help="of the full learning rate (default: 1)")
    train.add_argument("--seed", type=int, default=0, help="of weights and scenes")
    train.add_argument("--teacher", type=Path, help="YuNet's graph: judges small faces, shows its maps")
    train.add_argument("--drills", type=Path, help="what `mine` found, to draw more scenes around")
    train.add_argument(
        "--workers", type=count, default=0, help="processes that make scenes beside the step (default: none)"
    )
    train.add_argument("--bf16", action="store_true", help=BF16)

    mine = verbs.add_parser("mine", help="find what a detector gets wrong on the training pictures")
    mine.add_argument("graph", type=Path, help="our detector's graph")
    mine.add_argument("scenes", type=Path, help="folder of packs")
    mine.add_argument("drills", type=Path, help="npz file to write")

    average = verbs.add_parser("average", help="the mean of weights that go on from one another")
    average.add_argument("weights", type=Path, nargs="+", help="state dicts, .pth; twice counts twice")
    average.add_argument("--out", type=Path, required=True, help="where the mean goes, .pth")

    evaluate = verbs.add_parser("evaluate", help="compare with YuNet on the held-out pictures")
    evaluate.add_argument("graph", type=Path, help="our detector's graph")
    evaluate.add_argument("scenes", type=Path, help="folder of packs")
    evaluate.add_argument("--caltech", type=Path, help="bare git directory with the points by hand")
    evaluate.add_argument("--side", type=count, default=320, help="longer side of the pictures, in pixels")
    evaluate.add_argument("--limit", type=int, default=0, help="so many pictures (0: all)")
    evaluate.add_argument(
        "--alone", action="store_true", help="without held-out pictures that are like one of the others"
    )
    evaluate.add_argument("--json", type=Path, help="write the figures here")
    teacher(evaluate)

    export = verbs.add_parser("export", help="write the graph of some weights")
    export.add_argument("weights", type=Path, help="state dict, .pth")
    export.add_argument("graph", type=Path, help="ONNX file to write")
    return made


def _present(*paths: Path) -> None:
    for path in paths:
        if not path.exists():
            raise InputError(f"no such file or folder: {path}")


def _collect(options: argparse.Namespace) -> None:
    from training.detector.collection import collect, hashes
    from training.prepare.cli import guarding, sources
    from training.yunet import YuNet

    found = sources(options.sources)
    _present(options.teacher)
    folder = guarding("protected", options.protected, LFW, "**/*.jpg")
    protected = hashes(folder) if folder else set()
    collect(found, options.out, YuNet(options.teacher), protected)


def _train(options: argparse.Namespace) -> None:
    from training.detector.drills import Drills
    from training.detector.teaching import Inner
    from training.detector.train import Recipe, train
    from training.yunet import YuNet

    _present(options.scenes, *filter(None, [options.start, options.teacher, options.drills]))
    recipe = Recipe(minutes=options.minutes, rate=options.rate, seed=options.seed, bf16=options.bf16)
    teacher = YuNet(options.teacher) if options.teacher else None
    drills = Drills.read(options.drills) if options.drills else None
    inner = Inner(options.teacher) if options.teacher else None
    state = train(options.scenes, options.out, recipe, teacher, inner, options.start, drills, options.workers)
    print(f"{state.steps} steps, {state.scenes} scenes, {state.seconds / 60:.1f} minutes: {options.out}")


def _mine(options: argparse.Namespace) -> None:
    from training.detector.collection import read_all
    from training.detector.drills import ALARM, mine
    from training.detector.repeats import unseen
    from training.detector.train import usable
    from training.yunet import Finder

    _present(options.graph, options.scenes)
    finder = Finder(options.graph, "pocketface")
    items = [item for item in unseen(read_all(options.scenes)) if usable(item)]
    drills = mine(lambda picture: finder.detect(picture, ALARM), items)
    drills.write(options.drills)
    print(f"{drills.faces.sum()} missed faces, {(~drills.faces).sum()} false alarms: {options.drills}")


def _average(options: argparse.Namespace) -> None:
    import torch

    from training.average import mean_of
    from training.detector.train import completed
    from training.resume import read_state

    _present(*options.weights)
    states = [read_state(path) for path in options.weights]
    fullest = max(states, key=len)
    mean = mean_of([completed(state, fullest) for state in states], options.weights)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    torch.save(mean, options.out)


def _evaluate(options: argparse.Namespace) -> None:
    from training.detector.collection import held_out, read_all
    from training.detector.evaluate import compare
    from training.detector.repeats import alone
    from training.detector.truth import caltech
    from training.yunet import Finder, YuNet

    _present(options.graph, options.scenes, options.teacher, *filter(None, [options.caltech]))
    items = read_all(options.scenes)
    items = alone(items) if options.alone else [item for item in items if held_out(item.name)]
    items = items[: options.limit or None]
    if not items:
        raise InputError(f"{options.scenes}: no held-out pictures in its packs")
    truth = caltech(options.caltech) if options.caltech else {}
    ours, yunet = Finder(options.graph, "pocketface"), YuNet(options.teacher)
    detectors = {
        "ours": lambda p: ours.detect(p, 0.05),
        "yunet": lambda p: yunet.detect(p, 0.05),
    }
    report: dict[str, object] = dict(TERMS)
    run = options.graph.with_name("run.json")
    if run.is_file():
        report["run"] = json.loads(run.read_text())
    report["longer side, pixels"] = options.side
    report["without copies"] = options.alone
    report["figures"] = compare(detectors, items, truth, options.side)
    text = json.dumps(report, indent=1)
    print(text)
    if options.json:
        options.json.write_text(text + "\n")


def _export(options: argparse.Namespace) -> None:
    from training.detector.graph import export
    from training.detector.train import load

    _present(options.weights)
    export(load(options.weights), options.graph)


VERBS = {
    "collect": _collect,
    "train": _train,
    "mine": _mine,
    "average": _average,
    "evaluate": _evaluate,
    "export": _export,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; 0, or 2 with one line on standard error for bad input."""
    options = parser().parse_args(arguments)
    try:
        VERBS[options.verb](options)
    except (PocketfaceError, OSError) as error:
        print(f"training.detector: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
