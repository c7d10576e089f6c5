"""What a run leaves: averaged weights and their figures on the held-out split."""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pocketface.errors import InputError
from training.evaluation import embed_faces, verify
from training.morphs import photographed
from training.recipes import Recipe
from training.resume import read_state, restoring
from training.shards import Face, read_faces
from training.statistics import renew
from training.students import build_student, embedder
from training.teachers import Teaches


def _teacher_embeddings(teacher: Teaches, faces: Sequence[Face], folder: Path) -> NDArray[np.float32]:
    digest = hashlib.sha256(teacher.fingerprint)
    for face in faces:
        digest.update(face.encoded)
    cache = folder / f"heldout-{teacher.spec.name}-{digest.hexdigest()[:12]}.npy"
    if not cache.is_file():
        temporary = cache.with_suffix(".tmp.npy")
        np.save(temporary, embed_faces(faces, teacher.embed))
        os.replace(temporary, cache)
    embeddings: NDArray[np.float32] = np.load(cache)
    return embeddings


def comparable(faces: Sequence[Face]) -> list[int]:
    """Which faces are of a known person; none where they make no pair of one person, or none of two."""
    people = Counter(face.identity for face in faces if face.identity)
    if len(people) < 2 or max(people.values()) < 2:
        return []
    return [index for index, face in enumerate(faces) if face.identity]


def evaluate(recipe: Recipe, out: Path, folders: Sequence[Path], teacher: Teaches | None) -> dict[str, Any]:
    """Write the averaged weights of a run and their figures beside its checkpoint; the figures.

    Figures that the held-out faces of the folders do not serve are left out. Raises InputError where
    there is no checkpoint.
    """
    if not (out / "checkpoint.pt").is_file():
        raise InputError(f"{out}: no checkpoint.pt, so nothing to evaluate: train first")
    state = read_state(out / "checkpoint.pt")
    network = build_student(recipe)
    with restoring(out / "checkpoint.pt"):
        samples, steps, seconds = state["counts"]
        network.load_state_dict(state["average"])
    taught = read_faces(folders, "train")
    renew(network, photographed(taught))
    weights = out / f"{recipe.name}.pth"
    torch.save({name: value.contiguous() for name, value in network.state_dict().items()}, weights)
    faces = read_faces(folders, "heldout")

    figures: dict[str, Any] = {
        "recipe": recipe.name,
        "samples": samples,
        "steps": steps,
        "minutes": round(seconds / 60, 1),
        "train_faces": len(taught),
    }
    if not recipe.cell_by_cell:  # whose samples count and whose time does not
        figures["faces_per_second"] = round(samples / max(seconds, 1), 1)
    known = comparable(faces)
    embeddings = embed_faces(faces, embedder(network)) if faces else np.zeros((0, 0), np.float32)
    if known:
        figures["heldout"] = asdict(verify(embeddings[known], [faces[index].identity for index in known]))
    if teacher and faces:
        teacher.select(1.0)
        target = _teacher_embeddings(teacher, faces, out.parent)
        figures["heldout_cosine"] = round(float((embeddings * target).sum(axis=1).mean()), 4)
    weights.with_suffix(".json").write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    return figures
