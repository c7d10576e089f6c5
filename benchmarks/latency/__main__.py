"""`python -m benchmarks.latency`: our graphs and peers in turn in one process, on one thread.

Processor time of the process is the main figure: it hardly depends on what else the machine does.
Use real photos: the cost of some operators depends on the data.
"""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

# Before numpy is imported: its matrix products must not use a second thread.
for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_variable] = "1"
os.environ["ORT_DISABLE_TELEMETRY"] = "1"


from benchmarks.accuracy.report import command, machine, make_folder, write  # noqa: E402
from benchmarks.latency import contestants  # noqa: E402
from benchmarks.shell import one_line  # noqa: E402
from pocketface import images, registry  # noqa: E402
from pocketface.align import align  # noqa: E402
from pocketface.bench.timing import crowding, time_interleaved  # noqa: E402
from pocketface.detect import FaceDetector  # noqa: E402
from pocketface.errors import InputError, PocketfaceError  # noqa: E402

with one_line():
    from benchmarks.latency import floor

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from benchmarks.latency.contestants import Contestant

PHOTOS = 16


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    args = _parser().parse_args(arguments)
    if hasattr(os, "sched_setaffinity"):
        # Peers start as many threads as they see processors.
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    try:
        if args.output is not None:
            make_folder(args.output)
        return _run(args)
    except PocketfaceError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.latency", description=__doc__)
    parser.add_argument("photos", type=Path, help="folder of photos with one face each, searched deeply")
    parser.add_argument("-m", "--model", action="append", help="embedder, repeatable; default: all installed")
    parser.add_argument(
        "-d", "--detector", action="append", help="detector, repeatable; default: all installed"
    )
    parser.add_argument("--plain", type=Path, help="plain ONNX export, the base of the ratios")
    parser.add_argument("--peers", type=Path, help="folder with the peers' graphs")
    parser.add_argument("--rounds", type=float, default=3.0, help="seconds for each (default %(default)s)")
    parser.add_argument("-o", "--output", type=Path, help="folder for latency.json and latency.md")
    return parser


def _run(args: argparse.Namespace) -> int:
    models = [registry.find(m, task="embed") for m in args.model or ()]
    models = models or [m for m in registry.installed() if m.card.task == "embed"]
    finders = [registry.find(d, task="detect") for d in args.detector or ()]
    finders = finders or [m for m in registry.installed() if m.card.task == "detect"]
    if not models or not finders:
        raise InputError("no embedder or no detector is installed; name them with --model and --detector")
    photos, pictures, crops = _faces(args.photos, [FaceDetector(model, threads=1) for model in finders])
    peer = _Peers(args.peers)
    plain = [] if args.plain is None else [contestants.plain_session(args.plain, crops)]

    embed = plain + [contestants.embedder(model, crops) for model in models]
    embed += peer.make("mobilefacenet_foamliu.onnx", contestants.plain_session, crops)
    embed += peer.make("peers/w600k_mbf.onnx", contestants.plain_session, crops)
    embed += peer.make("peers/pocketnet_s128_ncnn_fp16.param", contestants.ncnn_network, crops)
    embed = list({entry.name: entry for entry in embed}.values())  # a peer may be the plain export itself
    detect = [contestants.detector(model, pictures) for model in finders]
    for yunet in ("yunet_n_dynamic.onnx", "face_detection_yunet_2023mar.onnx"):
        opencv = peer.make(yunet, contestants.opencv_detector, pictures)
        detect = opencv + detect
        if opencv:
            break
    whole = []
    if args.plain is not None:
        whole += peer.make(yunet, lambda path, p: contestants.opencv_pipeline(path, args.plain, p), photos)
    whole += [contestants.pipeline(finder, model, photos) for finder in finders[:2] for model in models[:2]]
    for build in (contestants.insightface_pipeline, contestants.uniface_pipeline):
        whole += peer.make("det_500m.onnx", build, photos)

    able = floor.limits()
    report: dict[str, Any] = {
        "machine": machine(),
        "command": command("benchmarks.latency"),
        "threads": 1,
        "limits": asdict(able),
        "missing": peer.missing,
        "embedding": _timed(embed, args.rounds),
        "detection": _timed(detect, args.rounds),
        "decision": _timed(whole, args.rounds),
    }
    _add_floor(report["embedding"], embed, able)
    text = _render(report)
    print(text)
    if args.output is not None:
        write(args.output / "latency.json", report)
        (args.output / "latency.md").write_text(text + "\n", encoding="utf-8")
    return 0


def _faces(
    folder: Path, detectors: list[FaceDetector]
) -> tuple[list[Path], list[contestants.Pixels], list[contestants.Pixels]]:
    """The first photos in which every detector finds a face, decoded, and the crops."""
    photos, pictures, crops = [], [], []
    for path in sorted(folder.rglob("*.jpg")):
        image = images.load(path)
        found = [detector.detect(image) for detector in detectors]
        if all(found):
            photos.append(path)
            pictures.append(image)
            crops.append(align(image, max(found[0], key=lambda face: face.area).landmarks))
        if len(photos) == PHOTOS:
            return photos, pictures, crops
    if not photos:
        raise InputError(f"{folder}: no .jpg in which {len(detectors)} detectors find a face")
    return photos, pictures, crops


class _Peers:
    """Makes contestants of other people's graphs; remembers what was missing and why."""

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        self.missing: dict[str, str] = {}

    def make(self, file: str, build: Callable[[Path, Any], Contestant], data: Any) -> list[Contestant]:
        if self.folder is None or not (self.folder / file).is_file():
            self.missing[file] = "no such file"
            return []
        try:
            return [build(self.folder / file, data)]
        except ImportError as error:
            self.missing[f"{file} ({error.name})"] = "the package is not installed"
            return []


def _timed(entries: Sequence[Contestant], seconds: float) -> list[dict[str, Any]]:
    """Times in turn; each call takes the next photo, the same for all in a round."""
    rounds = {entry.name: 0 for entry in entries}

    def call(entry: Contestant) -> None:
        entry.call(rounds[entry.name])
        rounds[entry.name] += 1

    timings = (
        time_interleaved({e.name: partial(call, e) for e in entries}, seconds=seconds) if entries else {}
    )
    base = next(iter(timings.values()), None)
    return [
        {
            "name": name,
            **asdict(timing),
            "speedup_cpu": base.cpu / timing.cpu if base else 1.0,
            "speedup_wall": base.p50 / timing.p50 if base else 1.0,
        }
        for name, timing in timings.items()
    ]


def _add_floor(rows: list[dict[str, Any]], entries: list[Contestant], able: floor.Limits) -> None:
    """Multiply-adds and the distance to the floor.

    Rewriting adds operators but no work: of several graphs of one network the leanest counts, also for
    its TFLite forms.
    """
    leanest: dict[str, floor.Work] = {}
    for entry in entries:
        if entry.model is not None and entry.model.path.suffix == ".onnx":
            space = entry.model.card.space or entry.name
            one = floor.work(entry.model.path)
            leanest[space] = min(leanest.get(space, one), one, key=lambda work: work.multiply_adds)
    for row, entry in zip(rows, entries, strict=True):
        if entry.model is None or (entry.model.card.space or entry.name) not in leanest:
            continue
        one = leanest[entry.model.card.space or entry.name]
        row["multiply_adds"] = one.multiply_adds
        row["floor_ms"] = floor.floor_ms(one, able, int8=entry.model.card.precision == "int8")
        row["times_floor"] = row["cpu"] / row["floor_ms"]


def _render(report: dict[str, Any]) -> str:
    limits = report["limits"]
    where = report["machine"]
    crowded = crowding([{**row, "threads": 1} for row in report["embedding"]])
    busy = crowded if crowded > 1.3 else None
    lines = [
        f"`{report['command']}`, {where['cpu']}, one thread, {where['date']}",
        "",
        f"Matrix products of this machine: {2 * limits['fp32'] / 1e9:.0f} GFLOP/s in fp32, "
        f"{2 * limits['int8'] / 1e9:.0f} Gop/s in int8; {limits['copy'] / 1e9:.1f} GB/s copied.",
        "",
    ]
    for key, title in (
        ("embedding", "aligned crop to embedding"),
        ("detection", "photo to faces"),
        ("decision", "two photos to a decision"),
    ):
        if not report[key]:
            continue
        floors = any("floor_ms" in row for row in report[key])
        head = [title, "CPU ms", "speed-up, CPU"]
        head += ([] if busy else ["speed-up, wall"]) + (["above the floor"] if floors else [])
        rows = [head, ["---"] + ["---:"] * (len(head) - 1)]
        for row in report[key]:
            cells = [row["name"], f"{row['cpu']:.2f}", f"{row['speedup_cpu']:.2f}"]
            cells += [] if busy else [f"{row['speedup_wall']:.2f}"]
            if floors:
                cells.append(
                    f"{row['times_floor']:.1f} x {row['floor_ms']:.1f} ms" if "floor_ms" in row else ""
                )
            rows.append(cells)
        lines += ["| " + " | ".join(row) + " |" for row in rows] + [""]
    if busy:
        lines.append(
            f"The machine was busy ({busy:.1f} times as much wall as processor time): no wall times."
        )
    lines += [f"Left out: {file}: {why}." for file, why in report["missing"].items()]
    return "\n".join(lines).rstrip()


if __name__ == "__main__":
    with one_line():
        sys.exit(main())
