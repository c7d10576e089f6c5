"""Identification, enrolment and video, each beside FAISS's flat index and uniface's FAISS store.

    pip install faiss-cpu uniface
    OMP_NUM_THREADS=1 python -m benchmarks.gallery [--sizes 1000 100000 1000000] [--video] > table.md

Times are CPU time of one thread, medians of interleaved calls, so that they bear a busy machine. Each size
runs in a process of its own; memory is what opening the gallery and identifying one face adds to another one.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from benchmarks.shell import one_line
from pocketface.embed import Embedder
from pocketface.errors import InputError
from pocketface.gallery import Gallery, Header, Template
from pocketface.gallery.sqlite import SqliteStore

DIM = 128
AT = "2026-11-22T12:00:00.000+00:00"


def cpu_ms(functions: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Median CPU milliseconds of this process for each function, called in turn."""
    times: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(repeats + 1):
        for name, function in functions.items():
            start = time.process_time()
            function()
            times[name].append(1e3 * (time.process_time() - start))
    return {name: float(np.median(values[1:])) for name, values in times.items()}


def unit_rows(count: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Random templates, always the same."""
    rows = np.random.default_rng(0).standard_normal((count, DIM), np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows


def header() -> Header:
    """Of the galleries made here."""
    return Header("bench/1", "arcface-112/4", DIM, "bench@0", "0" * 64, AT)


def peers() -> tuple[Any, Any]:
    """FAISS and uniface's stores, which only this benchmark needs."""
    return import_module("faiss"), import_module("uniface.stores")


def gallery_of(store: SqliteStore) -> Gallery:
    """A gallery for embeddings that exist already; nothing here runs a network."""
    card = SimpleNamespace(space="bench/1", id="bench@0", sha256="0" * 64, thresholds=())
    embedder: Embedder = SimpleNamespace(card=card, dim=DIM)  # type: ignore[assignment]
    return Gallery(store, SimpleNamespace(embedder=embedder), threshold=0.5)  # type: ignore[arg-type]


def one_size(count: int, folder: str) -> dict[str, float]:
    """Fill a gallery with so many people, one template each, and identify against it."""
    rows = unit_rows(count)
    probe = (rows[count // 2] + 0.02 * unit_rows(1)[0])[None]
    probe = (probe / np.linalg.norm(probe)).astype(np.float32)
    name = f"p{count // 2:07}"
    result: dict[str, float] = {}
    faiss, uniface = peers()
    faiss.omp_set_num_threads(1)
    path = Path(folder) / "people.db"
    store = SqliteStore(path, new=header())
    store.replace(header(), {f"p{i:07}": [Template(str(i), row)] for i, row in enumerate(rows)}, at=AT)
    store.vacuum()
    result["file_mb"] = path.stat().st_size / 1e6
    gallery = gallery_of(store)
    start = time.process_time()
    (match,) = gallery.match_vectors(probe)
    result["first_s"] = time.process_time() - start
    assert match is not None
    assert match.person == name
    index = faiss.IndexFlatIP(DIM)
    index.add(rows)
    peer = uniface.FAISS(embedding_size=DIM, db_path=folder)
    peer.index = index
    peer.metadata = [{"name": f"p{i:07}"} for i in range(count)]
    assert peer.search(probe[0])[0] == {"name": name}
    functions: dict[str, Callable[[], object]] = {
        "pocketface": lambda: gallery.match_vectors(probe),
        "faiss": lambda: index.search(probe, 2),
        "uniface": lambda: peer.search(probe[0]),
    }
    repeats = 200 if count <= 1000 else 30 if count <= 100_000 else 11
    result |= cpu_ms(functions, repeats)
    batch = np.repeat(probe, 32, axis=0)
    together = cpu_ms(
        {"pocketface": lambda: gallery.match_vectors(batch), "faiss": lambda: index.search(batch, 2)},
        max(3, repeats // 5),
    )
    result |= {f"{key}_32": value / 32 for key, value in together.items()}
    return result


def memory(folder: str) -> float:
    """Peak resident memory that opening a gallery and identifying one face adds."""
    code = (
        "import resource, numpy as np; from pathlib import Path;"
        "from benchmarks.gallery.__main__ import gallery_of;"
        "from pocketface.gallery.sqlite import SqliteStore;"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024; before = peak();"
        f"gallery = gallery_of(SqliteStore(Path({folder!r}) / 'people.db'));"
        f"gallery.match_vectors(np.eye(1, {DIM}, dtype=np.float32));"
        "print(peak() - before)"
    )
    return float(
        subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    )


def enrolment(folder: str) -> dict[str, float]:
    """CPU and wall milliseconds to store a person with two templates, one durable transaction each."""
    faiss, uniface = peers()
    faiss.omp_set_num_threads(1)
    rows = unit_rows(2000)
    gallery = gallery_of(SqliteStore(Path(folder) / "enrol.db", new=header()))
    wall, cpu = time.perf_counter(), time.process_time()
    for i in range(1000):
        templates = [Template(f"{i}-{j}", rows[2 * i + j]) for j in range(2)]
        gallery.enroll_templates(f"p{i}", templates, compare=False)
    result = {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}  # ms for each of 1,000
    peer = uniface.FAISS(embedding_size=DIM, db_path=folder)
    cpu = time.process_time()
    for i in range(50):
        for j in range(2):
            peer.add(rows[2 * i + j], {"name": f"p{i}"})
        peer.save()  # its only way to keep what was enrolled
    result["uniface"] = 1e3 * (time.process_time() - cpu) / 50
    return result


def watch(photos: Path, folder: str) -> dict[str, float]:
    """Frames a second of `watch` on a 640x480 video of two faces, beside the detector alone."""
    from PIL import Image

    from pocketface import FaceRecognizer
    from pocketface.video import Frame, Watcher

    recognizer = FaceRecognizer(threads=1)
    faces = []
    for name in ("eileen-collins", "grace-hopper"):
        with Image.open(photos / f"{name}.jpg") as image:
            faces.append(np.asarray(image.convert("RGB").resize((240, 280)))[..., ::-1])
    frames = []
    for i in range(100):
        pixels = np.full((480, 640, 3), 100, np.uint8)
        pixels[40:320, i : 240 + i] = faces[0]
        pixels[150:430, 360:600] = faces[1]
        frames.append(Frame(i, i / 25, pixels))
    with recognizer.gallery(Path(folder) / "watch.db", threshold=0.4) as gallery:
        gallery.enroll("eileen", [photos / "eileen-collins.jpg"])
        watcher = Watcher(gallery)
        detector = watched = 0.0
        for frame in frames:
            start = time.process_time()
            recognizer.detect(frame.pixels)
            middle = time.process_time()
            watcher.look(frame)
            detector += middle - start
            watched += time.process_time() - middle
    return {"fps": 100 / watched, "detector_fps": 100 / detector, "embedded": watcher.embedded}


def main() -> None:
    """Print the tables as Markdown."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gallery",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--sizes", type=int, nargs="*", default=[1000, 100_000, 1_000_000])
    parser.add_argument("--one-size", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    parser.add_argument("--video", action="store_true", help="also time watch, with the installed models")
    args = parser.parse_args()
    if args.one_size is not None:
        print(json.dumps(one_size(args.one_size, args.folder)))
        return
    # Not imported in this process: the children's peak of memory would begin at what it holds.
    if missing := [name for name in ("faiss", "uniface") if find_spec(name) is None]:
        raise InputError(f"not installed: {', '.join(missing)}; pip install faiss-cpu uniface")
    print("| people | file, MB | first answer, s | memory, MB | identify, ms | FAISS, ms | uniface, ms |"
          " to FAISS | to uniface | of 32 faces, ms a face | to FAISS |")  # fmt: skip
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    for count in args.sizes:
        with tempfile.TemporaryDirectory() as folder:
            command = [
                sys.executable,
                "-m",
                "benchmarks.gallery",
                "--one-size",
                str(count),
                "--folder",
                folder,
            ]
            row = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
            added = memory(folder)
        print(
            f"| {count:,} | {row['file_mb']:.1f} | {row['first_s']:.2f} | {added:.0f} "
            f"| {row['pocketface']:.3f} | "
            f"{row['faiss']:.3f} | {row['uniface']:.3f} | {row['pocketface'] / row['faiss']:.2f} | "
            f"{row['pocketface'] / row['uniface']:.2f} | {row['pocketface_32']:.3f} | "
            f"{row['pocketface_32'] / row['faiss_32']:.2f} |",
            flush=True,
        )
    with tempfile.TemporaryDirectory() as folder:
        stored = enrolment(folder)
        print(
            "\nEnrolling a person with two templates, a durable transaction each, into a gallery that grows "
            f"to 1,000 people: {stored['cpu']:.2f} ms of CPU, {stored['wall']:.1f} ms in all. uniface's "
            f"store, saved after each of the first 50 people: {stored['uniface']:.2f} ms of CPU "
            f"(ratio {stored['cpu'] / stored['uniface']:.2f})."
        )
        if args.video:
            seen = watch(Path(__file__).resolve().parents[2] / "examples" / "photos", folder)
            print(
                f"\nwatch, 640x480, two faces, one thread: {seen['fps']:.1f} frames a second of CPU time "
                f"({seen['fps'] / seen['detector_fps']:.2f} of the detector alone; {seen['embedded']:.0f} "
                "of 200 faces were embedded)."
            )


if __name__ == "__main__":
    with one_line():
        main()
