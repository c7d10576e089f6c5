"""Feeds mutated graphs and cards to the loader; run by test_fuzz.py in a process of its own.

    python tests/models/fuzz_loader.py GRAPH FIRST COUNT

For each seed from FIRST on, GRAPH is mutated, put into a folder (with a mutated card for every fourth
seed), found, read, loaded and run. Prints the seed before each try, so that a crash names it; any
exception that is no PocketfaceError ends the run.
"""

from __future__ import annotations

import hashlib
import json
import random
import sys
import tempfile
from pathlib import Path

import numpy as np

from pocketface import engines, registry
from pocketface.errors import PocketfaceError


def mutated(data: bytes, rng: random.Random) -> bytes:
    """The bytes with one to eight changes: bits, bytes, runs, cuts, insertions, repetitions."""
    out = bytearray(data)
    for _ in range(rng.randint(1, 8)):
        at, size = rng.randrange(len(out) or 1), rng.randint(1, 16)
        kind = rng.randrange(7)
        if not out or kind == 0:
            out[at:at] = rng.randbytes(size)
        elif kind == 1:
            out[at] ^= 1 << rng.randrange(8)
        elif kind == 2:
            out[at] = rng.choice((0, 1, 0x7F, 0x80, 0xFF))
        elif kind == 3:
            out[at : at + size] = rng.randbytes(size)
        elif kind == 4:
            del out[at : at + size]
        elif kind == 5:
            out[at:at] = out[at : at + size]
        elif rng.random() < 0.2:
            del out[at:]
    return bytes(out)


def attempt(folder: Path, graph: bytes, card: str | None, name: str) -> str:
    """What became of it: an error's class name, or "ran"."""
    path = folder / name
    path.write_bytes(graph)
    beside = folder / f"{name}.json"
    if card is None:
        beside.unlink(missing_ok=True)
    else:
        beside.write_text(card, encoding="utf-8")
    try:
        model = registry.find(path)
        session = engines.for_format(path.suffix).load(model.read(), threads=1)
        shape = [size if size and size <= 256 else 1 for size in session.inputs[0].shape]
        session.run({session.inputs[0].name: np.zeros(shape, np.float32)})
    except PocketfaceError as error:
        if "\n" in str(error):
            raise AssertionError(f"more than a line: {error}") from error
        return type(error).__name__
    return "ran"


def main(arguments: list[str]) -> None:
    source, first, count = Path(arguments[0]), int(arguments[1]), int(arguments[2])
    whole = source.read_bytes()
    card = Path(f"{source}.json").read_text(encoding="utf-8")
    outcomes: dict[str, int] = {}
    with tempfile.TemporaryDirectory() as scratch:
        for seed in range(first, first + count):
            print(seed, flush=True)
            rng = random.Random(seed)
            graph = mutated(whole, rng)
            text = None
            if seed % 4 == 0:
                fields = json.loads(card)
                fields["sha256"], fields["size"] = hashlib.sha256(graph).hexdigest(), len(graph)
                text = json.dumps(fields)
                if seed % 8 == 0:
                    text = mutated(text.encode(), rng).decode(errors="replace")
            outcome = attempt(Path(scratch), graph, text, source.name)
            outcomes[outcome] = outcomes.get(outcome, 0) + 1
    print(json.dumps(outcomes))


if __name__ == "__main__":
    main(sys.argv[1:])
