"""The files that make up the page: its own, ONNX Runtime Web's, and the two graphs with their cards."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from pocketface import registry
from pocketface.errors import ModelError

HERE = Path(__file__).resolve().parent
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
    "views.js",
    "sw.js",
    "manifest.webmanifest",
    "icon.svg",
)
# Without the WebGPU and WebGL variants: the wasm one runs everywhere and is the smallest.
RUNTIME_FILES = ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")


class SiteError(Exception):
    """ONNX Runtime Web is missing; the message says how to get it."""


@dataclass(frozen=True)
class Site:
    """Every address of the page and the bytes behind it; nothing else is ever served.

    Attributes:
        files: bytes by path relative to the page, such as "models/detector.json".
    """

    files: dict[str, bytes]

    @classmethod
    def build(cls, *, detector: str | None = None, embedder: str | None = None) -> Site:
        """Collect the files.

        Args:
            detector: name or path of a detector; None takes pocketface's default.
            embedder: name or path of an embedder; None takes pocketface's default.

        Raises:
            ModelError: a model is missing, damaged, or no ONNX graph.
            SiteError: the npm package is missing.
        """
        install_runtime()
        files = {name: (HERE / name).read_bytes() for name in OWN}
        files |= {f"onnxruntime/{name}": (RUNTIME / name).read_bytes() for name in RUNTIME_FILES}
        files |= _model("detect", detector) | _model("embed", embedder)
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
        raise SiteError("ONNX Runtime Web is not installed; install Node.js, then `npm ci` in examples/web")
    print("installing ONNX Runtime Web (npm ci) ...", flush=True)
    if subprocess.run([npm, "ci", "--omit=dev", "--ignore-scripts"], cwd=HERE, check=False).returncode != 0:
        raise SiteError("`npm ci` failed in examples/web (see above); it needs the network once")


def _model(task: str, choice: str | None) -> dict[str, bytes]:
    """A card and its graph under the fixed names that the page asks for."""
    if choice is not None:
        model = registry.find(choice, task=task)
    else:
        name = registry.default(task).card.name
        forms = [model for model in registry.installed() if model.card.name == name]
        models = [model for model in forms if (model.card.format, model.card.precision) == ("onnx", "fp32")]
        if not models:
            raise ModelError(f"{name}: no fp32 ONNX form is installed; name another model")
        model = models[0]
    if model.card.format != "onnx":
        raise ModelError(f"{model.path}: the browser runs ONNX graphs; this is {model.card.format}")
    name = {"detect": "detector", "embed": "embedder"}[task]
    return {f"models/{name}.json": model.card.to_json().encode(), f"models/{name}.onnx": model.read()}


def _list(files: dict[str, bytes]) -> bytes:
    """Script with the list of files and a version, so that the service worker notices any change."""
    digest = hashlib.sha256()
    for name in sorted(files):
        digest.update(f"{name} {hashlib.sha256(files[name]).hexdigest()}\n".encode())
    names = json.dumps(["./", *sorted(set(files) - {"sw.js", "index.html"})])
    return f'self.VERSION = "{digest.hexdigest()[:16]}";\nself.FILES = {names};\n'.encode()
