"""`python -m export.release WEIGHTS`: the graphs that ship, from the weights that training left.

For each network in `WEIGHTS` that has an `export/info/NAME.json`, all its forms are exported to a
scratch folder, and those that ship are copied to `models/` with their cards and the weights they were
made of. What is missing in `WEIGHTS` is left as it is in `models/`.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from pathlib import Path

from export.__main__ import main as export

ROOT = Path(__file__).resolve().parent.parent
INFO = Path(__file__).resolve().parent / "info"

SHIPPED = {
    "pocketnet-s128-r": "onnx-fp32,tflite-fp16,tflite-int8w,tflite-int8",
    "pocketnet-s128-open": "onnx-fp32,tflite-fp16,tflite-int8w,tflite-int8",
    "pocketnet-s128": "onnx-fp32",
    "facedet": "onnx-fp32,tflite-fp16,tflite-int8",
}
"""Forms of each network."""

LIMIT = 4 << 20
"""Largest file that is committed, in bytes."""


def main() -> int:
    """Export what `WEIGHTS` has; the exit status is 1 when a form failed its check, 2 on an error."""
    parser = argparse.ArgumentParser(prog="python -m export.release", description=__doc__.split("\n")[0])
    parser.add_argument("weights", type=Path, help="folder with NAME.pth, NAME.json, facedet.onnx")
    parser.add_argument("--faces", type=Path, required=True, help="aligned faces: shards and manifest.csv")
    parser.add_argument("--scenes", type=Path, required=True, help="pictures for the detector's ranges")
    parser.add_argument("--only", choices=sorted(SHIPPED), help="one network")
    parser.add_argument("--heldout", action="store_true", help="measure every form on the held-out faces")
    parser.add_argument("--lfw", type=Path, help="measure embedders on LFW as well")
    parser.add_argument("--models", type=Path, default=ROOT / "models", help="where the graphs go")
    options = parser.parse_args()
    if not options.models.is_dir():
        print(f"export.release: {options.models}: no such folder", file=sys.stderr)
        return 2
    status, exported = 0, False
    for name, forms in SHIPPED.items():
        candidates = [options.weights / f"{name}{suffix}" for suffix in (".pth", ".onnx")]
        found = [path for path in candidates if path.is_file()]
        info = INFO / f"{name}.json"
        if not found or options.only not in (None, name):
            continue
        exported = True
        detect = json.loads(info.read_text(encoding="utf-8")).get("task") == "detect"
        weights = found[-1] if detect else found[0]
        print(f"{name} from {weights.name}", flush=True)
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder)
            arguments = [str(weights), "--out", folder, "--name", name, "--only", forms]
            arguments += ["--calibration", str(options.scenes if detect else _training_shard(options.faces))]
            arguments += ["--card-info", str(info)]
            if detect:  # rare extremes of the landmark maps would coarsen all the others
                arguments += ["--ranges", "percentile"]
            if options.heldout and not detect:
                arguments += ["--heldout", str(options.faces)]
            if options.lfw is not None and not detect:
                arguments += ["--lfw", str(options.lfw)]
            code = export(arguments)
            status = max(status, code)
            if code < 2:
                _copy(out, name, options.models)
                if candidates[0].is_file():
                    shutil.copyfile(candidates[0], options.models / candidates[0].name)
    if not exported:
        names = ", ".join(name for name in SHIPPED if options.only in (None, name))
        print(
            f"export.release: {options.weights}: nothing to release, no .pth or .onnx of {names}",
            file=sys.stderr,
        )
        return 2
    return status


def _training_shard(faces: Path) -> Path:
    """Ranges come from faces that were trained on, never from the held-out ones."""
    return next(iter(sorted(faces.glob("faces-train-*.tar"))), faces)


def _copy(source: Path, name: str, target: Path) -> None:
    for old in target.glob(f"{name}.*"):
        if old.suffix != ".pth":
            old.unlink()
    for path in sorted(source.glob(f"{name}.*")):
        if ".plain." in path.name:
            continue
        if path.stat().st_size > LIMIT:
            print(f"{path.name}: {path.stat().st_size:,} bytes, above {LIMIT:,}: left out", file=sys.stderr)
            continue
        shutil.copyfile(path, target / path.name)


if __name__ == "__main__":
    raise SystemExit(main())
