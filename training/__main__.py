"""`python -m training RECIPE`: train, go on where the last run stopped, evaluate, write."""

from __future__ import annotations

import argparse
import csv
import importlib.util
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from pocketface.errors import InputError, PocketfaceError
from training.arguments import BF16, count, minutes

MALLOC = {
    "MALLOC_MMAP_THRESHOLD_": "33554432",
    "MALLOC_TRIM_THRESHOLD_": "8589934592",
    "MALLOC_TOP_PAD_": "268435456",
}


def keep_memory() -> None:
    """Start again with glibc told to keep freed memory, which the next step needs again."""
    if sys.platform == "linux" and any(name not in os.environ for name in MALLOC):
        arguments = [sys.executable, "-m", "training", *sys.argv[1:]]
        os.execve(sys.executable, arguments, {**os.environ, **MALLOC})


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m training", description=__doc__)
    parser.add_argument("recipe")
    parser.add_argument("--faces", type=Path, action="append", help="folder of shards; repeatable")
    parser.add_argument("--models", type=Path, help="folder of the teachers' weights")
    parser.add_argument("--out", type=Path, help="folder of the run")
    parser.add_argument("--start", type=Path, help="weights trained here that a new run begins with")
    parser.add_argument("--genotype", help="name or JSON file of other cells than the recipe's")
    parser.add_argument("--minutes", type=minutes, default=1e9, help="stop after so many, to resume")
    parser.add_argument("--budget-minutes", type=minutes, help="the whole run, over the recipe's")
    parser.add_argument("--samples", type=count, help="the whole run in samples, over the recipe's")
    parser.add_argument("--threads", type=count, default=1)
    parser.add_argument("--halves", action="store_true", help="two threads, half a batch each")
    parser.add_argument("--bf16", action="store_true", help=BF16)
    parser.add_argument("--helper-nice", type=int, default=0, help="priority of data and teacher")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--evaluate", action="store_true", help="only evaluate what is there")
    return parser.parse_args(arguments)


def run(arguments: argparse.Namespace) -> None:
    """Train and evaluate as the command line says."""
    import torch
    from tqdm import tqdm

    from training.agreed import agreed
    from training.batches import Batches
    from training.cell_by_cell import begin
    from training.curves import columns
    from training.found import cuts
    from training.morphs import photographed
    from training.networks import load_genotype
    from training.own_teacher import OwnTeacher
    from training.paired import PairedTeacher, pair
    from training.recipes import RECIPES
    from training.release import comparable, evaluate
    from training.resident import Resident
    from training.resume import cut
    from training.shards import read_faces
    from training.stored import stored
    from training.teachers import TEACHERS, Teacher, Teaches, build
    from training.trainer import Trainer
    from training.whitening import whitened

    torch.set_num_threads(arguments.threads)
    if __name__ == "__main__":  # it holds for the whole process, so not where a program calls `main`
        torch.set_flush_denormal(True)
    if arguments.device == "cuda" and not torch.cuda.is_available():
        raise InputError("--device cuda: PyTorch sees no GPU here")
    if arguments.recipe not in RECIPES:
        raise InputError(f"no recipe {arguments.recipe!r}; there are {', '.join(sorted(RECIPES))}")
    recipe = RECIPES[arguments.recipe]
    if arguments.genotype:
        load_genotype(arguments.genotype)
        recipe = replace(recipe, genotype=arguments.genotype)
    if arguments.budget_minutes is not None:
        recipe = replace(recipe, minutes=arguments.budget_minutes, samples=0)
    if arguments.samples is not None:
        recipe = replace(recipe, samples=arguments.samples, minutes=0)
    if arguments.start and not arguments.start.is_file():
        raise InputError(f"--start {arguments.start}: no such file")
    shared = Path(__file__).resolve().parents[2] / "shared"
    folders = arguments.faces or [shared / "data" / "faces"]
    judged = comparable(read_faces(folders, "heldout"))
    faces = read_faces(folders, "train")
    photos = photographed(faces) or faces
    out = arguments.out or Path("runs") / recipe.name
    out.mkdir(parents=True, exist_ok=True)
    teacher: Teaches | None = None
    if recipe.teacher in TEACHERS:
        names = (recipe.teacher, recipe.beside) if recipe.beside else (recipe.teacher,)
        graphs = {name: out.parent / f"teacher-{name}.onnx" for name in names}
        for name, graph in graphs.items():
            if not graph.is_file():
                build(TEACHERS[name], arguments.models or shared / "models", graph)
        references = [Teacher(TEACHERS[name], graph) for name, graph in graphs.items()]
        if recipe.centred:  # half a minute each, so after all that can fail
            for name, one in zip(names, references, strict=True):
                one.centre_on(photos, out.parent / f"mean-{name}.npy")
        reference: Teacher | PairedTeacher = references[0]
        if recipe.beside:
            reference = pair(
                references[0], references[1], photos, out.parent / f"common-{'-'.join(names)}.npy"
            )
        teacher = reference
        if recipe.whitened:
            teacher = whitened(reference, photos, out.parent / f"whitening-{'-'.join(names)}.npy")
    elif recipe.teacher:
        own = RECIPES[recipe.teacher]
        teacher = OwnTeacher(own, out.parent / own.name, recipe.teacher_stages, arguments.device)
    if arguments.evaluate:
        print(evaluate(recipe, out, folders, teacher))
        return

    where = targets = None
    if recipe.augmentation.found or recipe.late.found:
        print(f"{recipe.name}: where the detector finds {len(faces)} faces", flush=True)
        where = cuts(faces, out.parent, arguments.threads)
    if recipe.stored and teacher:
        print(f"{recipe.name}: what the teacher sees in {len(faces)} faces", flush=True)
        targets = stored(teacher, faces, out.parent, arguments.threads, where)
        if recipe.agreed:
            targets = agreed(targets, [face.identity for face in faces], recipe.agreed)
    batches = (
        Resident(recipe, faces, teacher, targets, torch.device("cuda"), out.parent, where)
        if arguments.device == "cuda"
        else Batches(recipe, faces, teacher, targets, where)
    )
    trainer = Trainer(batches, out, arguments.device, arguments.halves, arguments.start, arguments.bf16)
    seconds = 60 * arguments.minutes
    print(f"{recipe.name}: {len(faces)} faces, from sample {trainer.samples}", flush=True)
    if not judged:
        print("--faces: no held-out pictures of people, so the figures are left out", flush=True)
    if trainer.samples < recipe.cell_by_cell:
        models, start = arguments.models or shared / "models", time.monotonic()
        for row in begin(trainer, faces, TEACHERS[recipe.teacher], models, seconds):
            print(" ".join(f"{name} {value:.4g}" for name, value in row.items()), flush=True)
        seconds -= time.monotonic() - start
        if trainer.samples < recipe.cell_by_cell or seconds <= 0:
            return
    log = out / "log.csv"
    cut(log, "samples", trainer.samples)
    header = columns(log)
    bar = tqdm(initial=trainer.samples, total=recipe.samples or None, unit=" faces", disable=None)
    shown, began, first = time.monotonic(), time.monotonic(), trainer.samples
    with open(log, "a", encoding="utf-8", newline="") as stream:
        writer = None
        for row in trainer.run(seconds, arguments.helper_nice):
            bar.update(trainer.samples - bar.n)
            if trainer.steps % 25:
                continue
            if writer is None:
                writer = csv.DictWriter(stream, header or list(row), extrasaction="ignore")
                if not header:
                    writer.writeheader()
            writer.writerow(row)
            stream.flush()
            if time.monotonic() - shown > 30:
                shown = time.monotonic()
                speed = (trainer.samples - first) / (shown - began)
                values = " ".join(f"{name} {value:.4g}" for name, value in row.items())
                tqdm.write(f"{values} faces/s {speed:.1f}")
    if importlib.util.find_spec("matplotlib") and columns(log):
        from training.curves import draw

        draw(log, log.with_suffix(".png"))
    if trainer.progress >= 1:
        print(evaluate(recipe, out, folders, teacher))


def main(arguments: Sequence[str] | None = None) -> int:
    """Train and evaluate; 2 with one line on bad input."""
    try:
        run(parse(arguments))
    except (PocketfaceError, ValueError, OSError) as error:
        print(f"training: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    keep_memory()
    sys.exit(main())
