"""Batches made where the student learns: faces, views and teacher in a GPU's memory.

A CPU cannot cut faces as fast as a GPU learns from them, so on a GPU nothing but a few random numbers a
face comes from the CPU. The views are those of `training.augment` without JPEG, which
has no tensor form; what a sample shows depends on the number of its batch's first sample alone.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from training.augment import CROP, Geometry, composed
from training.batches import Batch, Batches
from training.onnx_module import OnnxModule
from training.own_teacher import OwnTeacher
from training.paired import PairedTeacher
from training.recipes import Recipe
from training.shards import SIZE, Face, pixels
from training.teachers import Teacher, Teaches
from training.whitening import Whitened

Sees = Callable[[Tensor], list[Tensor]]


def on_device(teacher: Teaches, device: torch.device) -> Sees:
    """What `teacher(crops)` gives, for float32 `(n, 3, 112, 112)`, RGB 0..255, as tensors on a device."""
    if isinstance(teacher, Whitened):
        inner, matrix = on_device(teacher.teacher, device), torch.from_numpy(teacher.matrix).to(device)
        return lambda x: [*(seen := inner(x))[:-1], seen[-1].float() @ matrix]
    if isinstance(teacher, PairedTeacher):
        first, second = on_device(teacher.first, device), on_device(teacher.second, device)
        projection = torch.from_numpy(teacher.projection).to(device)

        def both(x: Tensor) -> list[Tensor]:
            *maps, one = first(x)
            pair = torch.cat([F.normalize(one.float()), F.normalize(second(x)[-1].float())], dim=1)
            return [*maps, pair @ projection]

        return both
    if isinstance(teacher, OwnTeacher):
        return lambda x: [teacher.network((x - 127.5) / 127.5)]
    assert isinstance(teacher, Teacher)
    module = OnnxModule(teacher.weights).to(device)
    mean, deviation = (
        torch.tensor(values, device=device)[:, None, None]
        for values in (teacher.spec.mean, teacher.spec.deviation)
    )
    centre = torch.from_numpy(teacher.centre).to(device)

    def one(x: Tensor) -> list[Tensor]:
        *maps, embedding = module((x - mean) / deviation)
        return [*maps, embedding.float() - centre]

    return one


def decoded(faces: Sequence[Face], kept: Path | None = None) -> NDArray[np.uint8]:
    """Uint8 `(n, 128, 128, 3)`, RGB, of all faces, decoded by all cores.

    They are kept in the folder `kept`, which saves the next part of a run the decoding.
    """
    digest = hashlib.sha256("\n".join(face.token for face in faces).encode()).hexdigest()[:12]
    file = kept / f"faces-{digest}.npy" if kept else None
    if file and file.is_file():
        found: NDArray[np.uint8] = np.load(file)
        return found
    result = np.empty((len(faces), SIZE, SIZE, 3), np.uint8)
    spawn = multiprocessing.get_context("spawn")  # a fork of a process that has a GPU is broken
    with ProcessPoolExecutor(os.cpu_count(), mp_context=spawn) as pool:
        for index, one in enumerate(pool.map(pixels, faces, chunksize=256)):
            result[index] = one
    if file:
        part = file.with_suffix(".part.npy")
        np.save(part, result)
        os.replace(part, file)
    return result


def matrices(rng: np.random.Generator, n: int, geometry: Geometry) -> NDArray[np.float32]:
    """`(n, 2, 3)`: where the pixels of a 112x112 crop lie in a face of 128x128, as in `augment.crop`."""
    angle = np.radians(rng.uniform(-geometry.turn, geometry.turn, n))
    scale = np.exp(rng.uniform(-geometry.scale, geometry.scale, n))
    shift = rng.uniform(-geometry.shift, geometry.shift, (n, 2))
    flip = np.where(geometry.mirror & (rng.random(n) < 0.5), -1.0, 1.0)
    c, s = scale * np.cos(angle), scale * np.sin(angle)
    linear = np.stack([np.stack([flip * c, -s], 1), np.stack([flip * s, c], 1)], 1)
    offset = SIZE / 2 + shift - linear.sum(axis=2) * (CROP / 2)
    return np.concatenate([linear, offset[:, :, None]], axis=2).astype(np.float32)


def cut(faces: Tensor, matrix: Tensor) -> Tensor:
    """Float32 `(n, 3, 112, 112)`, 0..255, of float32 faces `(n, 3, 128, 128)`; bilinear, edges repeated."""
    steps = torch.arange(CROP, device=faces.device) + 0.5
    y, x = torch.meshgrid(steps, steps, indexing="ij")
    points = torch.stack([x, y, torch.ones_like(x)], dim=-1).reshape(1, -1, 3)
    grid = (points @ matrix.mT).reshape(-1, CROP, CROP, 2) * (2 / SIZE) - 1
    return F.grid_sample(faces, grid, mode="bilinear", padding_mode="border", align_corners=False)


def _column(rng: np.random.Generator, low: float, high: float, like: Tensor) -> Tensor:
    values = rng.uniform(low, high, len(like)).astype(np.float32)
    return torch.from_numpy(values).to(like.device)[:, None, None, None]


def light(x: Tensor, rng: np.random.Generator, strength: float) -> Tensor:
    """Brightness, contrast and gamma changed by up to `strength`."""
    gain, gamma = (_column(rng, -strength, strength, x).exp() for _ in range(2))
    offset = _column(rng, -strength, strength, x) * 0.3
    return (255 * (gain * ((x / 255).clamp(0, 1) ** gamma - 0.5) + 0.5 + offset)).clamp(0, 255)


def blur(x: Tensor, rng: np.random.Generator, noise: torch.Generator) -> Tensor:
    """Out of focus: a Gaussian of its own for each face."""
    steps = torch.arange(-6, 7, device=x.device)
    kernel = torch.exp(-0.5 * (steps / _column(rng, 0.6, 2.5, x)[:, :, 0]) ** 2)
    kernel = (kernel / kernel.sum(dim=2, keepdim=True)).repeat_interleave(3, 0)
    flat = F.pad(x, (6, 6, 6, 6), mode="replicate").reshape(1, -1, CROP + 12, CROP + 12)
    flat = F.conv2d(flat, kernel[:, :, :, None], groups=len(kernel))
    return F.conv2d(flat, kernel[:, :, None], groups=len(kernel)).reshape(x.shape)


def grain(x: Tensor, rng: np.random.Generator, noise: torch.Generator) -> Tensor:
    """Gaussian noise of deviation 5 to 25 levels."""
    return x + torch.randn(x.shape, generator=noise, device=x.device) * _column(rng, 5, 25, x)


def dark(x: Tensor, rng: np.random.Generator, noise: torch.Generator) -> Tensor:
    """Low light: few photons, so noise that grows with the square root of the signal."""
    x = x * _column(rng, 0.1, 0.5, x)
    randn = torch.randn(x.shape, generator=noise, device=x.device)
    return x + randn * (x + 1).sqrt() * _column(rng, 0.2, 1.0, x)


def small(x: Tensor, rng: np.random.Generator, noise: torch.Generator) -> Tensor:
    """Faces of 24 to 64 pixels, enlarged; one size for all of `x`."""
    size = int(rng.integers(24, 64))
    return F.interpolate(F.interpolate(x, (size, size), mode="area"), (CROP, CROP), mode="bilinear")


def occlude(x: Tensor, rng: np.random.Generator, noise: torch.Generator) -> Tensor:
    """A rectangle of one colour over up to a ninth of the face."""
    w, h = (_column(rng, 12, 38, x) for _ in range(2))
    left, top = _column(rng, 0, 1, x) * (CROP - w), _column(rng, 0, 1, x) * (CROP - h)
    at = torch.arange(CROP, device=x.device)
    inside = (at >= left) & (at < left + w) & (at[:, None] >= top) & (at[:, None] < top + h)
    colour = torch.cat([_column(rng, 0, 255, x) for _ in range(3)], dim=1)
    return torch.where(inside, colour, x)


def mask(x: Tensor, rng: np.random.Generator, noise: torch.Generator) -> Tensor:
    """A face mask: a hexagon from the bridge of the nose to the chin."""
    top = rng.uniform(60, 76, len(x))
    corners = np.array([(18, 6), (56, -4), (94, 6), (88, 104), (56, 114), (24, 104)], np.float64)
    points = np.repeat(corners[None], len(x), axis=0)
    points[:, :3, 1] += top[:, None]
    points += rng.uniform(-3, 3, points.shape)
    edges = torch.from_numpy(np.stack([points, np.roll(points, -1, axis=1)], 2).astype(np.float32)).to(
        x.device
    )
    at = torch.arange(CROP, device=x.device)
    inside = torch.ones(len(x), 1, CROP, CROP, dtype=torch.bool, device=x.device)
    for (x0, y0), (x1, y1) in ((a.unbind(1), b.unbind(1)) for a, b in (e.unbind(1) for e in edges.unbind(1))):
        column, row = at - x0[:, None, None, None], at[:, None] - y0[:, None, None, None]
        run, rise = (x1 - x0)[:, None, None, None], (y1 - y0)[:, None, None, None]
        inside &= run * row - rise * column >= 0
    colours = np.array([[235] * 3, [40] * 3, [150, 190, 215]], np.float32)[rng.integers(3, size=len(x))]
    return torch.where(inside, torch.from_numpy(colours).to(x.device)[:, :, None, None], x)


HARDSHIPS = (blur, grain, dark, small, occlude, mask)


class Resident(Batches):
    """Batches whose faces, views and teacher are on the student's device."""

    def __init__(
        self,
        recipe: Recipe,
        faces: Sequence[Face],
        teacher: Teaches | None,
        targets: NDArray[np.float32] | None,
        device: torch.device,
        kept: Path | None = None,
        cuts: NDArray[np.float32] | None = None,
    ) -> None:
        """`kept` is a folder for the decoded faces, see `decoded`."""
        super().__init__(recipe, faces, teacher, targets, cuts)
        self.device = device
        self.pixels = torch.from_numpy(decoded(self.faces, kept)).to(device)
        self.labels = torch.tensor([self.label.get(face.identity, -1) for face in self.faces], device=device)
        self.seen = on_device(teacher, device) if teacher and targets is None else None
        self.stored = torch.from_numpy(targets).to(device) if targets is not None else None

    def make(self, first: int, size: int) -> Batch:
        """The batch of `size` samples from `first`."""
        samples = self.recipe.samples
        progress = min(1.0, first / samples) if samples else self.progress
        late = progress >= self.recipe.late_from
        how = self.recipe.late if late else self.recipe.augmentation
        rng = np.random.default_rng((self.recipe.seed, 1, first))
        noise = torch.Generator(self.device).manual_seed(int(rng.integers(2**62)))
        indices = [self.index(sample) for sample in range(first, first + size)]
        at = torch.tensor(indices, device=self.device)
        faces = self.pixels[at].permute(0, 3, 1, 2).float()
        clean_cut = matrices(rng, size, how.geometry)
        if how.found and self.cuts is not None:
            as_found = np.flatnonzero(rng.random(size) < how.found)
            clean_cut[as_found] = composed(self.cuts[indices][as_found], clean_cut[as_found])
        clean = cut(faces, torch.from_numpy(clean_cut).to(self.device))
        if how.light:
            lit = torch.from_numpy(np.flatnonzero(rng.random(size) < 0.5)).to(self.device)
            clean[lit] = light(clean[lit], rng, how.light)
        hard = clean
        spoiled = np.flatnonzero(rng.random(size) < how.harden)
        if len(spoiled):
            hard = clean.clone()
            self._spoil(hard, faces, clean_cut, spoiled, rng, noise)
        maps: list[Tensor] = []
        embeddings = torch.zeros(size, 0)
        if self.stored is not None:
            embeddings = self.stored[at]
        elif self.seen and self.teacher:
            self.teacher.select(progress)
            with (
                torch.no_grad(),
                torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda"),
            ):
                *maps, embeddings = self.seen(clean)
            maps = maps if self.recipe.losses.hints[0] else []
        head = self.teacher.head if self.teacher else torch.zeros(0)
        images = ((hard - 127.5) / 127.5).contiguous(memory_format=torch.channels_last)
        return Batch(images, [m.float() for m in maps], embeddings.float(), self.labels[at], head)

    def _spoil(
        self,
        hard: Tensor,
        faces: Tensor,
        clean_cut: NDArray[np.float32],
        spoiled: NDArray[np.intp],
        rng: np.random.Generator,
        noise: torch.Generator,
    ) -> None:
        """One or two of the hardships for each of the faces `spoiled`, a cut that is off first."""
        # Any two of the hardships, a cut that is off being the last; half of the faces have but one.
        chosen = rng.random((len(spoiled), len(HARDSHIPS) + 1)).argsort(axis=1)[:, :2]
        chosen[rng.random(len(spoiled)) < 0.5, 1] = -1
        off = spoiled[(chosen == len(HARDSHIPS)).any(axis=1)]
        if len(off):
            aside = matrices(rng, len(off), Geometry(shift=4, turn=8, scale=0.1, mirror=False))
            moved = torch.from_numpy(composed(clean_cut[off], aside)).to(self.device)
            where = torch.from_numpy(off).to(self.device)
            hard[where] = cut(faces[where], moved)
        for number, hardship in enumerate(HARDSHIPS):
            those = spoiled[(chosen == number).any(axis=1)]
            if len(those):
                where = torch.from_numpy(those).to(self.device)
                hard[where] = hardship(hard[where], rng, noise).clamp(0, 255)

    def stream(self, first: int, niceness: int) -> Iterator[Batch]:
        """Batches without end, each made when it is asked for: the device works while the CPU goes on."""
        sample = first
        while True:
            size = self.recipe.batch_at(sample)
            yield self.make(sample, size)
            sample += size
