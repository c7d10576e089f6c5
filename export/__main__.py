"""`python -m export CHECKPOINT --out DIR`, `python -m export optimize`, `python -m export check`.

python -m export pocketnet.pth --out graphs --calibration FACES
python -m export facedet.onnx --out graphs --card-info export/info/facedet.json --calibration SCENES
python -m export optimize any_face_model.onnx -o fast.onnx
python -m export check graphs
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from pocketface.errors import InputError, PocketfaceError

# ONNX Runtime writes a device id into the home folder otherwise.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

_CALIBRATION, _VERIFICATION = 256, 24
_FOR_LFW = ("scipy", "tqdm")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit status is 0, 1 when a form failed its check, 2 on an error."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    commands = {"optimize": _optimize, "check": _check}
    command = commands.get(given[0] if given else "")
    try:
        return command(given[1:]) if command is not None else _export(given)
    except PocketfaceError as error:
        message = str(error)
    except OSError as error:
        message = f"{error.filename2 or error.filename}: {error.strerror or error}"
    except ModuleNotFoundError as error:
        extra = "benchmarks" if error.name in _FOR_LFW else "export"
        message = f"no module named {error.name!r}; in the clone run: pip install '.[{extra}]'"
    print(f"export: {message}", file=sys.stderr)
    return 2


def _export(given: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m export", description=__doc__.split("\n")[0])
    parser.add_argument("checkpoint", type=Path, help="PyTorch state dict (.pth), or an ONNX graph")
    parser.add_argument("--out", type=Path, required=True, help="folder for graphs and cards")
    parser.add_argument("--name", help="name of the network (default: the checkpoint's)")
    parser.add_argument("--only", help="forms, separated by commas (default: all that can be made)")
    parser.add_argument("--calibration", type=Path, help="pictures for int8 ranges and for verification")
    parser.add_argument("--heldout", type=Path, help="faces with manifest.csv, to measure accuracy on")
    parser.add_argument("--lfw", type=Path, help="LFW's photos and pairs.txt, to measure accuracy on")
    parser.add_argument("--card-info", type=Path, help="JSON with licence and source for the cards")
    parser.add_argument("--ranges", default="minmax", help="int8 ranges: minmax, percentile or mse")
    parser.add_argument(
        "--size", type=int, default=320, help="side of a detector's TFLite input, a multiple of 32"
    )
    parser.add_argument("--genotype", default="pocketnet", help="name or JSON file of the cells")
    options = parser.parse_args(given)

    from export.contract import read_contract
    from export.forms import FORMS
    from export.pictures import own_pictures, read_faces, read_scenes
    from export.run import Request, export
    from export.tflite.calibrate import METHODS

    forms = options.only.split(",") if options.only else list(FORMS)
    for form in forms:
        if form not in FORMS:
            raise InputError(f"--only: unknown form {form!r}; there are {', '.join(FORMS)}")
    if options.ranges not in METHODS:
        raise InputError(f"--ranges: {options.ranges!r} is none of {', '.join(METHODS)}")
    if not options.only and options.calibration is None:
        forms = [form for form in forms if FORMS[form].precision != "int8"]
        print("int8 left out: it needs --calibration")
    contract = read_contract(options.card_info, options.checkpoint.with_suffix(".json"))
    detect = contract.task == "detect"
    if detect and (options.size < 32 or options.size % 32):
        raise InputError(f"--size {options.size}: the side of a detector's input is a multiple of 32")
    size = (options.size, options.size) if detect else (112, 112)
    count = _CALIBRATION + _VERIFICATION
    calibration, pictures = None, own_pictures(size)
    if options.calibration is not None:
        found = (
            read_scenes(options.calibration, count, size)
            if detect
            else read_faces(options.calibration, count)
        )
        pictures = found[-min(_VERIFICATION, max(1, len(found) // 3)) :]
        calibration = found[: len(found) - len(pictures)] if len(found) > 1 else found
    name = options.name or options.checkpoint.stem.removesuffix(".plain")
    request = Request(
        options.checkpoint,
        options.out,
        name,
        forms,
        contract,
        size,
        pictures,
        calibration,
        options.heldout,
        options.lfw,
        options.ranges,
        options.genotype,
    )
    results = export(request)
    print(f"{'form':13} {'KiB':>6} {'cosine mean':>11} {'lowest':>8} {'ms':>7} {'to plain':>8}")
    for r in results:
        print(
            f"{r.form:13} {r.size / 1024:6.0f} {r.parity.mean:11.6f} {r.parity.lowest:8.5f} "
            f"{r.milliseconds:7.2f} {r.relative:7.2f}x  {r.note}"
        )
    return 0 if all(r.file is not None for r in results) else 1


def _optimize(given: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m export optimize", description="Rewrite any ONNX graph: same output, faster."
    )
    parser.add_argument("graph", type=Path, help="ONNX file")
    parser.add_argument("-o", "--output", type=Path, required=True, help="ONNX file to write")
    options = parser.parse_args(given)

    from export.optimize import optimize

    for line in optimize(options.graph, options.output):
        print(line)
    return 0


def _check(given: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m export check", description="Parity, size and speed of a folder of graphs."
    )
    parser.add_argument("folder", type=Path, help="what an export wrote")
    parser.add_argument("--faces", type=Path, help="aligned faces (default: the self-test's face)")
    parser.add_argument("--scenes", type=Path, help="pictures for detectors (default: likewise)")
    parser.add_argument("--json", type=Path, help="write the figures here")
    options = parser.parse_args(given)

    from export.check import check
    from export.pictures import own_pictures, read_faces, read_scenes

    square = (320, 320)
    pictures = {
        "embed": read_faces(options.faces, _VERIFICATION) if options.faces else own_pictures((112, 112)),
        "detect": (
            read_scenes(options.scenes, _VERIFICATION, square) if options.scenes else own_pictures(square)
        ),
    }
    rows = check(options.folder, pictures)
    width = max(len(row.file) for row in rows)
    print(f"{'file':{width}} {'KiB':>6} {'cosine mean':>11} {'lowest':>8} {'ms':>7} {'speed-up':>8}")
    for row in rows:
        print(
            f"{row.file:{width}} {row.bytes / 1024:6.0f} {row.cosine_mean:11.6f} {row.cosine_lowest:8.5f} "
            f"{row.milliseconds:7.2f} {row.relative:7.2f}x"
        )
    if options.json:
        text = json.dumps([row.as_json() for row in rows], indent=2)
        options.json.write_text(text + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
