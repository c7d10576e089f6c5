"""Caltech 10k Web Faces: eyes, nose and mouth by hand, a yardstick that is not the teacher's own."""

from __future__ import annotations

import io
import subprocess
from collections import defaultdict
from pathlib import Path

import numpy as np
from PIL import Image

from pocketface.errors import InputError
from training.detector.collection import LONGER_SIDE, held_out
from training.prepare.pictures import contents, listing
from training.yunet import Array

FILE = "WebFaces_GroundThruth.txt"


def parse(text: str) -> dict[str, Array]:
    """Of each picture's file name, points (n, 4, 2) float32 in pixels: left eye, right eye, nose, mouth."""
    found: dict[str, list[list[float]]] = defaultdict(list)
    for line in text.splitlines():
        name, *numbers = line.split()
        if len(numbers) == 8:
            found[name].append([float(number) for number in numbers])
    return {name: np.array(rows, np.float32).reshape(-1, 4, 2) for name, rows in found.items()}


def caltech(root: Path) -> dict[str, Array]:
    """The held-out pictures' points at the size that packs keep pictures in, by the packs' names.

    Raises InputError where `root` is not a git directory with them.
    """
    command = ["git", f"--git-dir={root}", "cat-file", "-p", f"HEAD:{FILE}"]
    try:
        marked = parse(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    except subprocess.CalledProcessError as error:
        raise InputError(f"{root}: not a git directory with {FILE}") from error
    wanted = []
    for picture in listing("caltech", root):
        name = f"caltech/{picture.path}"
        if picture.path.startswith("Caltech_WebFaces/pic") and held_out(name) and Path(name).name in marked:
            wanted.append(picture)
    found = {}
    for picture, data in contents(root, wanted):
        with Image.open(io.BytesIO(data)) as image:
            scale = min(1.0, LONGER_SIDE / max(image.size))
        found[f"caltech/{picture.path}"] = marked[Path(picture.path).name] * np.float32(scale)
    return found
