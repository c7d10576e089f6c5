"""`python -m benchmarks.arm`: install the wheel on an emulated Pi, run it, compare it, count instructions.

An instruction count is a proxy: a load from memory, a multiply and a dot product of 16 bytes count
alike, and the emulator's own time says nothing about a board.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.accuracy.report import command, machine
from benchmarks.arm.board import (
    BOARDS,
    HERE,
    Board,
    BoardError,
    build_wheel,
    count_instructions,
    last_line,
    make,
)
from benchmarks.shell import one_line
from pocketface import images, registry
from pocketface.atomic import check_target
from pocketface.errors import PocketfaceError

if TYPE_CHECKING:
    from pocketface.registry import Model


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.arm", description=__doc__)
    parser.add_argument("photos", nargs=2, type=Path, help="two photos of one person")
    parser.add_argument(
        "-m", "--model", action="append", help="repeatable; default: the default embedder's forms"
    )
    parser.add_argument("-d", "--detector", help="default: the installed one")
    parser.add_argument(
        "--folder", type=Path, required=True, help="where the emulated system is made or lies"
    )
    parser.add_argument("--wheel", type=Path, help="of pocketface; built from this checkout otherwise")
    parser.add_argument("--quick", action="store_true", help="only doctor and verify, on a Cortex-A72")
    parser.add_argument("-o", "--output", type=Path, help="write the table here")
    args = parser.parse_args(arguments)
    try:
        return _run(args)
    except PocketfaceError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _run(args: argparse.Namespace) -> int:
    for photo in args.photos:
        images.load(photo)  # what cannot be read is said before minutes of building
    if args.output is not None:
        check_target(args.output)
    models = [registry.find(m, task="embed") for m in args.model or ()]
    if not models:
        usual = registry.default("embed").card.name
        models = [m for m in registry.installed() if m.card.name == usual]
    detector = registry.find(args.detector, task="detect") if args.detector else registry.default("detect")
    folder = args.folder.resolve()
    make(folder, (args.wheel or build_wheel(folder / "wheel")).resolve())
    boards = [Board(folder, cpu) for cpu in BOARDS]
    # The self-test starts a process for each graph and thread count, each slow here: two graphs will do.
    boards[0].keep_models({detector.card.file, models[0].card.file})
    for board in boards[:1] if args.quick else boards:
        _doctor(board)
        _verify(board, args.photos, detector, models[0])
    if args.quick:
        return 0
    rows = _measure(boards, args.photos, detector, models)
    text = _render(rows)
    print(text)
    if args.output is not None:
        args.output.write_text(text + "\n", encoding="utf-8")
    worst = min(
        (row["cosine"][cpu] for row in rows for cpu in BOARDS if row["precision"] == "fp32"), default=1.0
    )
    if worst <= 0.9999:
        raise BoardError(f"an fp32 embedding differs from this machine's: cosine {worst:.6f}")
    return 0


def _doctor(board: Board) -> None:
    """`pocketface doctor`, which tries each engine and graph in a process of its own."""
    done = board.run(["-m", "pocketface", "doctor", "--timeout", "900"])
    print(f"{board.cpu}: pocketface doctor, exit status {done.returncode}\n{done.stdout}")
    if done.returncode != 0:
        raise BoardError(f"{board.cpu}: pocketface doctor failed: {last_line(done)}")


def _verify(board: Board, photos: list[Path], detector: Model, embedder: Model) -> None:
    """`pocketface verify` on the two photos; this machine has to agree."""
    arguments = ["-m", "pocketface", "verify", "--json", "--threshold", "0.3"]
    arguments += ["--detector", str(detector.path.resolve()), "--embedder", str(embedder.path.resolve())]
    arguments += [str(photo.resolve()) for photo in photos]
    there = board.run([*arguments, "--threads", "1"])
    here = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=False)
    if there.returncode not in (0, 1):
        raise BoardError(f"{board.cpu}: pocketface verify failed: {last_line(there)}")
    ours, theirs = json.loads(here.stdout)["similarity"], json.loads(there.stdout)["similarity"]
    print(f"{board.cpu}: pocketface verify: similarity {theirs:.6f}, on this machine {ours:.6f}")
    if there.returncode != here.returncode:
        raise BoardError(f"{board.cpu}: another decision than on this machine")


def _measure(
    boards: list[Board], photos: list[Path], detector: Model, models: list[Model]
) -> list[dict[str, Any]]:
    """Lowest cosine to this machine's embeddings and instructions of one embedding, for each graph."""
    script = str(HERE / "guest.py")
    paths = [str(model.path.resolve()) for model in models]
    embed = [script, "embed", *(str(path.resolve()) for path in (detector.path, *photos)), *paths]
    checkout = {**os.environ, "PYTHONPATH": str(HERE.parents[1])}
    here = subprocess.run([sys.executable, *embed], env=checkout, capture_output=True, text=True, check=False)
    if here.returncode != 0:
        raise BoardError(f"this machine failed: {last_line(here)}")
    ours = json.loads(here.stdout)
    rows: list[dict[str, Any]] = [
        {
            "file": model.card.file,
            "precision": model.card.precision,
            "engine": "LiteRT" if model.path.suffix == ".tflite" else "ONNX Runtime",
            "cosine": {},
            "instructions": {},
            "dot_products": {},
        }
        for model in models
    ]
    for board in boards:
        done = board.run(embed)
        if done.returncode != 0:
            raise BoardError(f"{board.cpu}: embedding failed: {last_line(done)}")
        theirs = json.loads(done.stdout)
        counts = count_instructions(board, "count", paths)
        for row, path, (instructions, dots) in zip(rows, paths, counts, strict=True):
            name = Path(path).name
            row["cosine"][board.cpu] = float(np.multiply(ours[name], theirs[name]).sum(1).min())
            row["instructions"][board.cpu] = instructions
            row["dot_products"][board.cpu] = dots
    return rows


def _render(rows: list[dict[str, Any]]) -> str:
    where = machine()
    lines = [
        "# 64-bit ARM, emulated",
        "",
        f"`{command('benchmarks.arm')}`, {where['date']}; the wheel and its dependencies' aarch64 wheels on "
        "Debian 12 arm64 under qemu's user emulation. `pocketface doctor` and `verify` passed on both.",
        "",
        "Instructions of one embedding (pixels in, unit vector out) in millions, one thread; dot products "
        "(SDOT, UDOT) among them. Cosine: the lowest of four faces, to an x86-64 machine's embeddings. "
        "A count is a proxy for time: memory waits are not in it, and an instruction of 16 multiplications "
        "counts as one.",
        "",
    ]
    head = ["graph", "engine"]
    for cpu in BOARDS:
        name = cpu.replace("cortex-a", "Cortex-A")
        head += [f"{name}, M", "dot products, M", "cosine"]
    table = [head, ["---", "---"] + ["---:"] * (len(head) - 2)]
    for row in rows:
        cells = [row["file"], row["engine"]]
        for cpu in BOARDS:
            cells += [f"{row['instructions'][cpu] / 1e6:.1f}", f"{row['dot_products'][cpu] / 1e6:.1f}"]
            cells += [f"{row['cosine'][cpu]:.6f}"]
        table.append(cells)
    return "\n".join([*lines, *("| " + " | ".join(cells) + " |" for cells in table)])


if __name__ == "__main__":
    with one_line():
        sys.exit(main())
