"""The ablation as one table: `python -m training.ablation --faces SHARDS --models TEACHERS --out RUNS`.

Each recipe of `recipes/ablation.py` is trained for the same number of samples, one change away from the
first, and measured on the held-out people. It goes on where it was stopped; the table is Markdown.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

from tqdm import tqdm

from training.recipes.ablation import ABLATION

HEAD = "| recipe | held-out cosine | TAR at FMR 1e-2 | at 1e-3 | minutes |\n|---|---|---|---|---|\n"


def train(name: str, out: Path, options: list[str]) -> None:
    """One run, by the trainer's own command; raises CalledProcessError where it fails."""
    command = [sys.executable, "-m", "training", name, "--out", str(out / name), *options]
    with open(out / f"{name}.log", "a", encoding="utf-8") as log:
        subprocess.run(command, check=True, stdout=log, stderr=subprocess.STDOUT)


def row(name: str, out: Path) -> str:
    """The run's line of the table."""
    figures = json.loads((out / name / f"{name}.json").read_text(encoding="utf-8"))
    loose, strict = (point["tar"] for point in figures["heldout"]["points"][:2])
    return (
        f"| {name.removeprefix('ablation-')} | {figures['heldout_cosine']:.3f} | {loose:.1%} | {strict:.1%} "
        f"| {figures['minutes']} |\n"
    )


def main() -> int:
    """Train what is missing, print and write the table; 2 with one line where a run fails."""
    parser = argparse.ArgumentParser(prog="python -m training.ablation", description=__doc__)
    parser.add_argument("--faces", action="append", required=True, help="folder of shards; repeatable")
    parser.add_argument("--models", required=True, help="folder of the teachers' weights")
    parser.add_argument("--out", type=Path, required=True, help="folder of the runs")
    a = parser.parse_args()
    a.out.mkdir(parents=True, exist_ok=True)
    options = ["--models", a.models, *(word for folder in a.faces for word in ("--faces", folder))]
    text = HEAD
    for recipe in tqdm(ABLATION, unit="run", disable=None):
        if not (a.out / recipe.name / f"{recipe.name}.json").is_file():
            try:
                train(recipe.name, a.out, options)
            except subprocess.CalledProcessError:
                print(
                    f"training.ablation: {recipe.name} failed: see {a.out / recipe.name}.log", file=sys.stderr
                )
                return 2
        text += row(recipe.name, a.out)
        (a.out / "table.md").write_text(text, encoding="utf-8")
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
