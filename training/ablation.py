"""The ablation as one table: `python -m training.ablation --faces SHARDS --models TEACHERS --out RUNS`.

Each recipe of `recipes/ablation.py` is trained for the same number of samples, one change away from the
first, and measured on the held-out people. It goes on where it was stopped; the table is Markdown.
"Variance left" is what a run's maps miss of the teacher's, on 256 held-out faces: it falls long before
identities are told apart.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from pocketface.errors import InputError, PocketfaceError
from training.losses import Hints
from training.recipes.ablation import ABLATION
from training.recipes.recipe import Recipe
from training.release import comparable
from training.shards import Face, centre, read_faces
from training.students import build_student, to_input
from training.teachers import TEACHERS, Teacher

HEAD = (
    "| recipe | variance left, by map | held-out cosine | TAR at FMR 1e-2 | at 1e-3 | minutes |\n"
    "|---|---|---|---|---|---|\n"
)
FACES, BATCH = 256, 64


def train(name: str, out: Path, options: list[str]) -> None:
    """One run, by the trainer's own command; raises CalledProcessError where it fails."""
    command = [sys.executable, "-m", "training", name, "--out", str(out / name), *options]
    with open(out / f"{name}.log", "a", encoding="utf-8") as log:
        subprocess.run(command, check=True, stdout=log, stderr=subprocess.STDOUT)


def sample(folders: Sequence[Path]) -> list[Face]:
    """Some of the held-out faces of all people; InputError where none are to be compared."""
    faces = read_faces(folders, "heldout")
    if not comparable(faces):
        raise InputError(f"{folders[0]}: no held-out pictures of people, which the runs are compared on")
    return list(faces[:: max(1, len(faces) // FACES)][:FACES])


@torch.no_grad()
def left(recipe: Recipe, out: Path, faces: list[Face]) -> list[float]:
    """The fraction left of each map's variance; by the statistics of batches, as short runs average none."""
    if not recipe.losses.hints[0]:
        return []
    state = torch.load(out / recipe.name / "checkpoint.pt", map_location="cpu", weights_only=True)
    spec = TEACHERS[recipe.teacher]
    teacher = Teacher(spec, out / f"teacher-{spec.name}.onnx")
    network = build_student(recipe).train()
    network.load_state_dict(state["network"])
    channels = [state["hints"][f"maps.{index}.weight"].shape[1] for index in range(len(spec.hint_channels))]
    hints = Hints(channels, spec.hint_channels)
    hints.load_state_dict(state["hints"])
    rows = []
    for start in range(0, len(faces), BATCH):
        crops = np.stack([centre(face) for face in faces[start : start + BATCH]])
        *maps, _ = (torch.from_numpy(t) for t in teacher(crops))
        *ours, _ = network.stages(to_input(crops), recipe.student_hints)  # type: ignore[operator]
        rows.append([float(term) for term in hints(ours, maps)])
    return [float(value) for value in np.mean(rows, axis=0)]


def row(recipe: Recipe, out: Path, faces: list[Face]) -> str:
    """The run's line of the table."""
    name = recipe.name
    figures = json.loads((out / name / f"{name}.json").read_text(encoding="utf-8"))
    maps = " / ".join(f"{value:.2f}" for value in left(recipe, out, faces))
    tars = {point["fmr"]: point["tar"] for point in figures["heldout"]["points"]}
    loose, strict = (tars.get(fmr, float("nan")) for fmr in (1e-2, 1e-3))  # nan: too few pairs
    return (
        f"| {name.removeprefix('ablation-')} | {maps} | {figures['heldout_cosine']:.3f} "
        f"| {loose:.1%} | {strict:.1%} | {figures['minutes']} |\n"
    )


def table(out: Path, folders: Sequence[Path], options: list[str]) -> str:
    """Train what is missing; the table, which is written after each run."""
    out.mkdir(parents=True, exist_ok=True)
    options = [*options, *(word for folder in folders for word in ("--faces", str(folder)))]
    text, faces = HEAD, list[Face]()
    for recipe in tqdm(ABLATION, unit="run", disable=None):
        if not (out / recipe.name / f"{recipe.name}.json").is_file():
            try:
                train(recipe.name, out, options)
            except subprocess.CalledProcessError as error:
                raise InputError(f"{recipe.name} failed: see {out / recipe.name}.log") from error
        faces = faces or sample(folders)
        text += row(recipe, out, faces)
        (out / "table.md").write_text(text, encoding="utf-8")
    return text


def main() -> int:
    """Train what is missing, print and write the table; 2 with one line where a run fails."""
    parser = argparse.ArgumentParser(prog="python -m training.ablation", description=__doc__)
    parser.add_argument(
        "--faces", type=Path, action="append", required=True, help="folder of shards; repeatable"
    )
    parser.add_argument("--models", required=True, help="folder of the teachers' weights")
    parser.add_argument("--out", type=Path, required=True, help="folder of the runs")
    a = parser.parse_args()
    try:
        print(table(a.out, a.faces, ["--models", a.models]))
    except (PocketfaceError, OSError) as error:
        print(f"training.ablation: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
