"""Feeds damaged files to the picture layer, the model loader and the command line.

    python tests/fuzz/fuzz.py --count 20000

Each file must give a result or one of pocketface's errors, within a time and a memory limit: no other
exception, no warning, no hang, no crash. Files that break this are kept with `--keep FOLDER`.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import random
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import mutate
import numpy as np

from pocketface import PocketfaceError, cli, images, registry
from pocketface.cards import ModelCard

SECONDS = 10.0  # of processor time for one file
MEGABYTES = 600  # the whole process may grow by
MAX_PIXELS = 4_000_000


class Broken(AssertionError):
    """A file led to something that is neither a result nor one of pocketface's errors."""


def read_picture(data: bytes, folder: Path) -> str:
    """Decode in memory."""
    pixels = images.load(data, max_pixels=MAX_PIXELS)
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.size == 0:
        raise Broken(f"a picture of {pixels.dtype} {pixels.shape}")
    return "read"


def read_card(data: bytes, folder: Path) -> str:
    """Parse a card, and write it back."""
    card = ModelCard.from_json(data)
    if ModelCard.from_json(card.to_json()) != card:
        raise Broken("a card differs from itself after writing and reading")
    return "read"


def read_graph(data: bytes, folder: Path) -> str:
    """Find and check a graph without a card."""
    path = folder / "small.onnx"
    path.write_bytes(data)
    registry.find(path, task="embed").read()
    return "read"


def command_line(data: bytes, folder: Path) -> str:
    """Detect in the file with the file as model, and in it with whatever model is here."""
    path = folder / "picture.jpg"
    path.write_bytes(data)
    output, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
        status = cli.main(["detect", str(path), "--max-pixels", str(MAX_PIXELS), "--threads", "1"])
    lines = errors.getvalue().splitlines()
    if status not in (0, 2) or len(lines) != (status == 2) or "Traceback" in errors.getvalue():
        raise Broken(f"status {status}, {errors.getvalue()!r}")
    return f"status {status}"


Target = Callable[[bytes, Path], str]


def targets() -> list[tuple[str, Target, list[bytes], int]]:
    """Name, function, seeds and weight of each target."""
    pictures = list(mutate.pictures().values())
    return [
        ("picture", read_picture, pictures, 16),
        ("card", read_card, list(mutate.cards().values()), 2),
        ("graph", read_graph, [mutate.graph()], 1),
        ("command line", command_line, pictures, 1),
    ]


def run(count: int, seed: int, keep: Path | None = None) -> tuple[Counter[str], list[str]]:
    """Try `count` damaged files.

    Returns:
        How often each outcome occurred, and what went wrong.
    """
    rng = random.Random(seed)
    chosen = targets()
    weights = [weight for *_, weight in chosen]
    outcomes: Counter[str] = Counter()
    failures: list[str] = []
    start = _resident()
    with tempfile.TemporaryDirectory() as name, warnings.catch_warnings():
        warnings.simplefilter("error")
        for number in range(count):
            what, function, seeds, _ = rng.choices(chosen, weights)[0]
            data = mutate.mutate(rng.choice(seeds), seeds, rng)
            began = time.process_time()
            try:
                outcome = function(data, Path(name))
            except PocketfaceError as error:
                outcome = type(error).__name__
                if "\n" in str(error):
                    failures.append(f"{what} {number}: an error of several lines: {error}")
            except BaseException as error:
                if isinstance(error, KeyboardInterrupt):
                    raise
                outcome = "broken"
                failures.append(f"{what} {number}: {type(error).__name__}: {error}")
                if keep is not None:
                    (keep / f"{what.replace(' ', '-')}-{number}").write_bytes(data)
            if time.process_time() - began > SECONDS:
                failures.append(f"{what} {number}: took {time.process_time() - began:.0f} s")
            outcomes[f"{what}: {outcome}"] += 1
    grown = _resident() - start
    if grown > MEGABYTES:
        failures.append(f"resident memory grew by {grown:.0f} MB")
    return outcomes, failures


def _resident() -> float:
    """Peak resident memory in megabytes; 0 where the system does not tell."""
    try:
        import resource
    except ImportError:
        return 0.0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1 << 20 if sys.platform == "darwin" else 1 << 10)


def main() -> int:
    """Run the fuzzer; 1 when something broke."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="folder for files that broke something")
    args = parser.parse_args()
    if args.keep is not None:
        args.keep.mkdir(parents=True, exist_ok=True)
    outcomes, failures = run(args.count, args.seed, args.keep)
    for outcome, number in sorted(outcomes.items()):
        print(f"{number:6d}  {outcome}")
    for failure in failures:
        print(failure, file=sys.stderr)
    print(f"{args.count} files, {len(failures)} failures")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
