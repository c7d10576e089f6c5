"""What the self-test runs in a process of its own.

`python -m pocketface.probe engine NAME` imports an engine and gives its version;
`python -m pocketface.probe graph FILE ENGINE THREADS` runs a model on the self-test's face. Both print
one JSON object, `{"ok": ..., "message": ...}`. An engine built for another processor ends its process
with a signal; only this one dies of it.
"""

from __future__ import annotations

import json
import sys
from importlib import import_module
from pathlib import Path

from pocketface.errors import PocketfaceError


def main(arguments: list[str]) -> int:
    """Run one probe; 0 also when it failed in an orderly way."""
    try:
        if arguments[0] == "engine":
            result: dict[str, object] = {"message": _engine(arguments[1])}
        else:
            result = _graph(Path(arguments[1]), arguments[2], int(arguments[3]))
        result["ok"] = True
    except (PocketfaceError, ImportError) as error:
        result = {"ok": False, "message": str(error)}
    print(json.dumps(result))
    return 0


def _engine(name: str) -> str:
    version: str = import_module(f"pocketface.engines.{name}").version()
    return version


def _graph(path: Path, engine: str, threads: int) -> dict[str, object]:
    from pocketface import golden, registry

    model = registry.from_file(path)
    return {"message": golden.check(model, engine=engine, threads=threads)}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
