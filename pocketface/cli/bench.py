"""`pocketface bench`: how long each step takes on this device, and which form of the model is fastest."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pocketface import atomic
from pocketface.errors import InputError


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "bench",
        help="time every step on this device, choose the fastest form of the model",
        description="Times reading, detection, alignment, embedding and the whole, with 1 to n threads. "
        "--tune times every form of the embedder and stores the best, which is used from then on.",
    )
    parser.add_argument("photo", nargs="*", type=Path, help="one or two photos with a face")
    parser.add_argument("--detector", metavar="MODEL", help="name or path")
    parser.add_argument("--embedder", metavar="MODEL", help="name or path")
    parser.add_argument(
        "--threads", type=int, metavar="N", help="try 1 to N threads; default: as many as usable"
    )
    parser.add_argument(
        "--seconds", type=float, default=2.0, help="for each measurement (default %(default)s)"
    )
    parser.add_argument("--no-cold", action="store_true", help="do not measure the cold start")
    parser.add_argument("--tune", action="store_true", help="choose the embedder's form and thread count")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--html", type=Path, metavar="FILE", help="also write a page with plots")


def run(args: argparse.Namespace) -> int:
    """Measure and report; 0 on success."""
    # The whole package is imported here and not above, so that `pocketface --help` stays quick.
    from pocketface import registry
    from pocketface.bench import html, machine, text, timing
    from pocketface.threads import checked_threads, default_threads, usable_cpus

    if args.html is not None:
        atomic.check_target(args.html)
    if not args.seconds > 0:
        raise InputError(f"--seconds must be more than 0, not {args.seconds}")
    detector = registry.find(args.detector, task="detect") if args.detector else registry.default("detect")
    embedder = registry.find(args.embedder, task="embed") if args.embedder else registry.default("embed")
    most = max(usable_cpus(), default_threads()) if args.threads is None else checked_threads(args.threads)
    report: dict[str, Any] = {
        "machine": machine.describe(),
        "detector": detector.id,
        "embedder": embedder.id,
        "notes": [],
    }
    before = machine.read()
    with tempfile.TemporaryDirectory() as folder:
        photos = _photos(args.photo, Path(folder), report)
        if args.tune:
            _tune(report, embedder, photos, detector, most, args.seconds)
        else:
            _time(report, detector, embedder, photos, most, args)
    after = machine.read()
    report["before"], report["after"] = machine.as_dict(before), machine.as_dict(after)
    report["notes"] += machine.warnings(before, after)
    crowding = timing.crowding(report.get("steps") or [row for row in report["forms"] if "cpu" in row])
    if crowding > 1.3:
        report["notes"].append(
            f"the machine was busy (wall time is {crowding:.1f} times processor time): trust the CPU column"
        )
    if args.html is not None:
        args.html.write_text(html.render(report), encoding="utf-8", errors="backslashreplace")
    print(json.dumps(report, indent=1) if args.json else text.render(report))
    return 0


def _time(
    report: dict[str, Any],
    detector: Any,
    embedder: Any,
    photos: list[Path],
    most: int,
    args: argparse.Namespace,
) -> None:
    from pocketface.bench import cold, stages

    if not args.no_cold:
        _progress("cold start")
        report["cold"] = cold.start(detector, embedder, photos[0])
    report["steps"] = stages.measure(
        detector,
        embedder,
        [photo.read_bytes() for photo in photos],
        threads=range(1, most + 1),
        seconds=args.seconds,
        progress=_progress,
    )
    if not any(row["step"] == "photo to embedding" for row in report["steps"]):
        report["notes"].append("no face was found in the picture; give a photo to time the whole")


def _tune(
    report: dict[str, Any], embedder: Any, photos: list[Path], detector: Any, most: int, seconds: float
) -> None:
    from pocketface import images, registry, tuning
    from pocketface.align import TEMPLATE, align
    from pocketface.bench import stages, tune
    from pocketface.detect import FaceDetector

    image = images.load(photos[0])
    faces = FaceDetector(detector).detect(image)
    crop = align(image, faces[0].landmarks if faces else TEMPLATE)
    forms = tune.candidates(embedder, registry.installed())
    _progress(f"{len(forms)} forms of {embedder.card.name}, 1 to {most} threads")
    report["forms"] = stages.compare(forms, crop, threads=range(1, most + 1), seconds=seconds)
    choice = tune.choose(forms, report["forms"])
    report["choice"] = asdict(choice)
    report["stored"] = str(tuning.store(embedder.card.name, choice))


def _photos(given: list[Path], folder: Path, report: dict[str, Any]) -> list[Path]:
    """The photos to time: those given, else two made from the self-test's portrait."""
    if len(given) > 2:
        raise InputError(f"give one or two photos, not {len(given)}")
    for photo in given:
        if not photo.is_file():
            raise InputError(f"{photo}: no such file")
    if given:
        report["picture"] = ", ".join(photo.name for photo in given)
        return given
    from PIL import Image, ImageOps

    from pocketface import golden

    # The self-test's portrait in a scene of a camera's size, twice: real faces cost what they cost.
    face = Image.fromarray(golden.crop()).resize((224, 224), Image.Resampling.BICUBIC)
    photos = []
    for name, place, inset in (("a", (80, 100), face), ("b", (330, 180), ImageOps.mirror(face))):
        scene = Image.new("RGB", (640, 480), (96, 104, 112))
        scene.paste(inset, place)
        scene.save(folder / f"{name}.jpg", quality=92)
        photos.append(folder / f"{name}.jpg")
    report["picture"] = "640x480 with the self-test's portrait"
    return photos


def _progress(step: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\033[K{step} ...", end="", file=sys.stderr, flush=True)
