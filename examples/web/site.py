"""The files that make up the page: its own, ONNX Runtime Web's, and the two graphs with their cards."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
MODELS = HERE.parent.parent / "models"
RUNTIME = HERE / "node_modules" / "onnxruntime-web" / "dist"

OWN = (
    "index.html",
    "style.css",
    "app.js",
    "camera.js",
    "draw.js",
    "photo.js",
    "decision.js",
    "pocketface.js",
    "pixels.js",
    "decoders.js",
    "align.js",
    "sw.js",
    "manifest.webmanifest",
    "icon.svg",
)
# Without the WebGPU and WebGL variants: the wasm one runs everywhere and is the smallest.
RUNTIME_FILES = ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")


class SiteError(Exception):
    """A file of the page is missing; the message says how to get it."""


@dataclass(frozen=True)
class Site:
    """Every address of the page and the bytes behind it; nothing else is ever served.

    Attributes:
        files: bytes by path relative to the page, such as "models/detector.json".
    """

    files: dict[str, bytes]

    @classmethod
    def build(cls, *, detector: Path | None = None, embedder: Path | None = None) -> Site:
        """Collect the files.

        Args:
            detector: card of the detector; None takes the one in `models/`.
            embedder: card of the embedder; None takes the one in `models/`.

        Raises:
            SiteError: a graph or the npm package is missing.
        """
        install_runtime()
        files = {name: (HERE / name).read_bytes() for name in OWN}
        files |= {f"onnxruntime/{name}": (RUNTIME / name).read_bytes() for name in RUNTIME_FILES}
        for task, card in (("detect", detector), ("embed", embedder)):
            files |= _model(task, card or find_card(task))
        files["files.js"] = _list(files)
        return cls(files)

    def write(self, folder: Path) -> None:
        """Write the files into a folder that any web server can serve."""
        for name, data in self.files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)


def install_runtime() -> None:
    """Install the pinned ONNX Runtime Web with npm unless it is there.

    Raises:
        SiteError: npm is missing or failed.
    """
    if all((RUNTIME / name).is_file() for name in RUNTIME_FILES):
        return
    npm = shutil.which("npm")
    if npm is None:
        raise SiteError("ONNX Runtime Web is not installed; install Node.js, then run `npm ci` in examples/web")
    print("installing ONNX Runtime Web (npm ci) ...", flush=True)
    if subprocess.run([npm, "ci", "--omit=dev", "--ignore-scripts"], cwd=HERE, check=False).returncode != 0:
        raise SiteError("`npm ci` failed in examples/web (see above); it needs the network once")


def find_card(task: str) -> Path:
    """The card in `models/` of the fp32 ONNX graph for "detect" or "embed" (a default one first).

    Raises:
        SiteError: there is none.
    """
    found = []
    for path in sorted(MODELS.glob("*.json")):
        card = json.loads(path.read_bytes())
        if (card.get("task"), card.get("format"), card.get("precision")) == (task, "onnx", "fp32"):
            found.append((not card.get("default", False), path))
    if not found:
        raise SiteError(f"models/ holds no fp32 ONNX graph with task {task!r}; name a card with --detector, --embedder")
    return min(found)[1]


def _model(task: str, path: Path) -> dict[str, bytes]:
    """A card and its graph under the fixed names that the page asks for."""
    try:
        card = json.loads(path.read_bytes())
        graph = (path.parent / card["file"]).read_bytes()
    except (OSError, ValueError, KeyError) as error:
        raise SiteError(f"{path}: no card with a graph beside it ({error})") from error
    if card.get("task") != task or card.get("format") != "onnx":
        raise SiteError(f"{path}: an ONNX graph with task {task!r} is needed here")
    name = {"detect": "detector", "embed": "embedder"}[task]
    return {f"models/{name}.json": path.read_bytes(), f"models/{name}.onnx": graph}


def _list(files: dict[str, bytes]) -> bytes:
    """Script with the list of files and a version, so that the service worker notices any change."""
    digest = hashlib.sha256()
    for name in sorted(files):
        digest.update(f"{name} {hashlib.sha256(files[name]).hexdigest()}\n".encode())
    names = json.dumps(["./", *sorted(set(files) - {"sw.js", "index.html"})])
    return f'self.VERSION = "{digest.hexdigest()[:16]}";\nself.FILES = {names};\n'.encode()
