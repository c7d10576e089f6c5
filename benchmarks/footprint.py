"""`python -m benchmarks.footprint`: size on disk, import, cold and warm verification, peak memory.

Each as a ratio to the same work with OpenCV's FaceDetectorYN and a plain ONNX Runtime session, in turn
in one run. Times are processor time of the whole process, all threads.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import statistics
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.accuracy.report import command, machine, make_folder, write
from benchmarks.latency import contestants
from benchmarks.shell import one_line
from pocketface import registry
from pocketface.bench.timing import time_interleaved

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.footprint", description=__doc__)
    parser.add_argument("photos", nargs=2, type=Path)
    parser.add_argument("--yunet", type=Path, required=True, help="for OpenCV")
    parser.add_argument("--plain", type=Path, required=True, help="plain ONNX export for ONNX Runtime")
    parser.add_argument("--detector", help="default: the installed one")
    parser.add_argument("--embedder", help="default: the installed one")
    parser.add_argument("--times", type=int, default=5, help="new processes of each (default %(default)s)")
    parser.add_argument("-o", "--output", type=Path, help="folder for footprint.json and footprint.md")
    args = parser.parse_args(arguments)
    if args.output is not None:
        make_folder(args.output)
    detector = registry.find(args.detector, task="detect") if args.detector else registry.default("detect")
    embedder = registry.find(args.embedder, task="embed") if args.embedder else registry.default("embed")
    photos = [str(photo) for photo in args.photos]

    verify = [sys.executable, "-m", "pocketface", "verify", "--threshold", "0.4", "--threads", "1"]
    verify += ["--detector", str(detector.path), "--embedder", str(embedder.path), *photos]
    opencv = [sys.executable, str(HERE / "opencv_verify.py"), str(args.yunet), str(args.plain), *photos]
    python = [sys.executable, "-c"]
    children = {
        "numpy": [*python, "import numpy"],
        "import pocketface": [*python, "import numpy, pocketface"],
        "import recogniser": [*python, "import numpy; from pocketface import FaceRecognizer"],
        "import opencv": [*python, "import numpy, cv2, onnxruntime"],
        "verify pocketface": verify,
        "verify opencv": opencv,
    }
    runs: dict[str, list[tuple[float, float]]] = {name: [] for name in children}
    for _ in range(args.times):
        for name, child in children.items():
            runs[name].append(_child(child))
    cpu = {name: statistics.median(seconds for seconds, _ in values) * 1e3 for name, values in runs.items()}
    peak = {name: max(megabytes for _, megabytes in values) for name, values in runs.items()}

    ours = contestants.pipeline(detector, embedder, args.photos)
    theirs = contestants.opencv_pipeline(args.yunet, args.plain, args.photos)
    warm = time_interleaved({"ours": partial(ours.call, 0), "theirs": partial(theirs.call, 0)}, seconds=3.0)

    common = _installed("numpy") + _installed("onnxruntime")
    # Whichever two are measured, an installation brings every graph that ships.
    own = _folder(ROOT / "pocketface") + sum(
        path.stat().st_size for path in (ROOT / "models").iterdir() if path.suffix != ".pth"
    )
    opencv_size = max(_installed(name) for name in ("opencv-python-headless", "opencv-python"))
    opencv_import = cpu["import opencv"] - cpu["numpy"]
    rows = [
        _row(
            "installed, MB, with numpy and ONNX Runtime",
            (common + own + _installed("Pillow")) / 1e6,
            (common + opencv_size + args.yunet.stat().st_size + args.plain.stat().st_size) / 1e6,
        ),
        _row(
            "installed, MB, without them",
            (own + _installed("Pillow")) / 1e6,
            (opencv_size + args.yunet.stat().st_size + args.plain.stat().st_size) / 1e6,
        ),
        _row(
            "import pocketface, CPU ms beyond numpy's", cpu["import pocketface"] - cpu["numpy"], opencv_import
        ),
        _row(
            "import FaceRecognizer, CPU ms beyond numpy's",
            cpu["import recogniser"] - cpu["numpy"],
            opencv_import,
        ),
        _row("cold verify, whole process, CPU ms", cpu["verify pocketface"], cpu["verify opencv"]),
        _row("warm verify, CPU ms", warm["ours"].cpu, warm["theirs"].cpu),
        _row("peak memory of cold verify, MB", peak["verify pocketface"], peak["verify opencv"]),
    ]
    report = {
        "machine": machine(),
        "command": command("benchmarks.footprint"),
        "detector": detector.id,
        "embedder": embedder.id,
        "rows": rows,
    }
    text = _render(report)
    print(text)
    if args.output is not None:
        write(args.output / "footprint.json", report)
        (args.output / "footprint.md").write_text(text + "\n", encoding="utf-8")
    return 0


def _child(arguments: list[str]) -> tuple[float, float]:
    """Processor seconds and peak resident megabytes of a new process."""
    # PYTHONPATH keeps the package of this checkout importable from anywhere.
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    child = subprocess.Popen(
        arguments, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    assert child.stderr is not None
    message = child.stderr.read()
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode not in (0, 1) or (child.returncode and "Traceback" in message):
        raise SystemExit(f"{' '.join(arguments[:4])}: exit status {child.returncode}\n{message}")
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def _installed(package: str) -> int:
    """Bytes of an installed package's files, without byte code."""
    try:
        files = importlib.metadata.files(package) or []
    except importlib.metadata.PackageNotFoundError:
        return 0
    return sum(
        path.stat().st_size
        for file in files
        if file.suffix != ".pyc" and (path := Path(str(file.locate()))).is_file()
    )


def _folder(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and path.suffix != ".pyc")


def _row(what: str, ours: float, theirs: float) -> dict[str, Any]:
    return {"what": what, "pocketface": ours, "opencv": theirs, "ratio": ours / theirs}


def _render(report: dict[str, Any]) -> str:
    where = report["machine"]
    lines = [
        f"`{report['command']}`, {where['cpu']}, one thread, {where['date']}; {report['detector']} and "
        f"{report['embedder']} against OpenCV's FaceDetectorYN and the plain export.",
        "",
        "| | pocketface | OpenCV + ONNX Runtime | ratio |",
        "| --- | ---: | ---: | ---: |",
    ]
    lines += [
        f"| {row['what']} | {row['pocketface']:.1f} | {row['opencv']:.1f} | {row['ratio']:.2f} |"
        for row in report["rows"]
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    with one_line():
        sys.exit(main())
