"""What a run leaves: averaged weights and their figures on the held-out split."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from training.evaluation import embed_faces, verify
from training.recipes import Recipe
from training.shards import Face, read_faces
from training.students import build_student, to_input
from training.teachers import Teaches


def _teacher_embeddings(teacher: Teaches, faces: Sequence[Face], cache: Path) -> NDArray[np.float32]:
    if not cache.is_file():
        temporary = cache.with_suffix(".tmp.npy")
        np.save(temporary, embed_faces(faces, teacher.embed))
        os.replace(temporary, cache)
    embeddings: NDArray[np.float32] = np.load(cache)
    if len(embeddings) != len(faces):
        raise ValueError(f"{cache}: expected {len(faces)} rows, got {len(embeddings)}; delete it")
    return embeddings


def evaluate(recipe: Recipe, out: Path, folders: Sequence[Path], teacher: Teaches | None) -> dict[str, Any]:
    """Write the averaged weights of a run and their figures beside its checkpoint; the figures."""
    state = torch.load(out / "checkpoint.pt", map_location="cpu", weights_only=True)
    samples, steps, seconds = state["counts"]
    network = build_student(recipe)
    network.load_state_dict(state["average"])
    network.eval()
    # The held-out faces of the first folder alone, so that figures of all runs compare.
    faces = read_faces(folders[:1], "heldout")

    @torch.inference_mode()
    def embed(crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        result: NDArray[np.float32] = network(to_input(crops)).numpy()
        return result

    embeddings = embed_faces(faces, embed)
    result = verify(embeddings, [face.identity for face in faces])
    figures: dict[str, Any] = {
        "recipe": recipe.name,
        "samples": samples,
        "steps": steps,
        "minutes": round(seconds / 60, 1),
        "faces_per_second": round(samples / max(seconds, 1), 1),
        "train_faces": len(read_faces(folders, "train")),
        "heldout": asdict(result),
    }
    if teacher:
        target = _teacher_embeddings(teacher, faces, out.parent / f"heldout-{teacher.spec.name}.npy")
        figures["heldout_cosine"] = round(float((embeddings * target).sum(axis=1).mean()), 4)
    weights = out / f"{recipe.name}.pth"
    torch.save({k: v.contiguous() for k, v in state["average"].items()}, weights)
    weights.with_suffix(".json").write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    return figures
