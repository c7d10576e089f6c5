"""What a run is: network, teacher, losses, optimiser, batches, augmentation."""

from __future__ import annotations

from dataclasses import dataclass, field

from training.augment import Augmentation


@dataclass(frozen=True)
class Losses:
    """Weights of the losses, zero leaves one out; the hints' falls geometrically to its second."""

    cosine: float = 6.0
    template: float = 0.0
    angular: float = 0.0
    hints: tuple[float, float] = (1.0, 0.1)
    arcface: float = 0.0
    classification: float = 0.0
    temperature: float = 4.0


@dataclass(frozen=True)
class Optimiser:
    """Muon for matrices where its rate is above zero; AdamW or SGD for the rest.

    `muon_wide` scales Muon's steps up for matrices of more columns than rows, not for tall ones.
    `rate` is AdamW's or SGD's. Both rates rise over the first `warmup` samples and fall to zero
    along a cosine, or by ten at each of `drops`, fractions of the run, or in a straight line from the
    fraction `hold` on: what was reached before can go on in a longer run.
    """

    kind: str = "adamw"
    rate: float = 2e-3
    muon: float = 0.013
    muon_wide: bool = False
    weight_decay: float = 0.01
    warmup: int = 400
    drops: tuple[float, ...] = ()
    hold: float = 0.0


@dataclass(frozen=True)
class Recipe:
    """A run; `minutes` or `samples` is its budget, along which every schedule runs.

    `student_hints` are the student's cells whose outputs regress the teacher's maps, in their
    order; the map before the global convolution comes after them. The first `cell_by_cell` samples
    train each cell alone between codes of the teacher's, which must be a PocketNet; their time is not
    part of `minutes`. `batches` are
    pairs of a number of samples and the batch size from there on. From the fraction `late_from` of
    the run on, pictures are augmented as `late` says. A run keeps its averaged weights at the end of
    each of `stages` equal parts; with `teacher_stages` those of a teacher trained here teach in turn
    (multi-step distillation), else its last. `faces` limits how many are used, zero for all. With
    `centred` a reference teacher's embeddings come without their mean over the training faces; with
    `beside`, another reference teacher, they are what both see, see `training.paired`; with `whitened`
    their directions are evened out, see `training.whitening`. With `stored` it looks at each face once,
    clean, and every view of the student's has that target, see `training.stored`; hints want a teacher
    that looks along. With `agreed` above zero a stored target leans so much towards the person's others, see
    `training.agreed`. With `renorm` the batch norms of the embedding renormalise, see `training.renorm`.
    """

    name: str
    network: str = "rectified"
    variant: str = "s128"
    genotype: str = "pocketnet"
    teacher: str = "official"
    student_hints: tuple[int, ...] = (5, 11, 16)
    losses: Losses = Losses()
    optimiser: Optimiser = Optimiser()
    batches: tuple[tuple[int, int], ...] = ((0, 8), (12_000, 16))
    augmentation: Augmentation = field(default_factory=Augmentation)
    late: Augmentation = field(default_factory=Augmentation)
    late_from: float = 1.0
    cell_by_cell: int = 0
    stages: int = 1
    teacher_stages: bool = False
    centred: bool = False
    beside: str = ""
    whitened: bool = False
    stored: bool = False
    agreed: float = 0.0
    renorm: bool = False
    bn_momentum: float = 0.02
    minutes: float = 0.0
    samples: int = 0
    faces: int = 0
    seed: int = 17

    def batch_at(self, samples: int) -> int:
        """The batch size after so many samples."""
        return [size for start, size in self.batches if samples >= start][-1]
