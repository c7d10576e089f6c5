"""The networks that the package ships: their first part, a second one, a part on a GPU; the paper's own."""

from dataclasses import replace

from training.augment import Augmentation, Geometry
from training.recipes.recipe import Losses, Optimiser, Recipe

# Pictures near those to come teach more than others.
NEAR = Augmentation(Geometry(shift=2.5, turn=4, scale=0.05), light=0)
LATE = replace(NEAR, light=0.05, harden=0.1)
FOUND = 0.5
"""Of the views of a part that goes on, those that begin where the SDK's detector finds the face."""
AGREED = 0.5
"""How much a stored target leans towards the same person's others: between 0 and 1, which were compared."""

STEADY = Optimiser(muon_wide=True, hold=0.5)

R = Recipe(
    "pocketnet-s128-r",
    teacher="official",
    beside="w600k",
    centred=True,
    whitened=True,
    optimiser=STEADY,
    augmentation=NEAR,
    late=LATE,
    late_from=0.67,
    batches=((0, 8), (4_000, 16), (150_000, 32)),
    cell_by_cell=4_000,
    minutes=549,
)
OPEN = Recipe(
    "pocketnet-s128-open",
    teacher="open",
    beside="retail",
    centred=True,
    whitened=True,
    student_hints=(5, 8, 11, 16, 17),
    optimiser=STEADY,
    augmentation=NEAR,
    late=LATE,
    late_from=0.67,
    batches=((0, 8), (8_000, 16)),
    minutes=549,
)
# The paper's network with PReLU, and the rectified one by the same recipe, to compare at equal samples.
PRELU = replace(R, name="pocketnet-s128", network="pocketnet", cell_by_cell=0)
RECTIFIED = replace(PRELU, name="rectified-s128", network="rectified")


def second(first: Recipe) -> Recipe:
    """A part that begins with weights of the first (`--start`): their maps are learnt, so none is a target.

    What the teacher sees is stored, and a sample costs the student's step alone. Batch norms have
    statistics from the start, so those of the embedding renormalise.
    """
    return replace(
        first,
        name=f"{first.name}-second",
        stored=True,
        agreed=AGREED,
        renorm=True,
        student_hints=(),
        losses=Losses(hints=(0.0, 0.0)),
        optimiser=Optimiser(rate=1e-3, muon=0.0065, muon_wide=True),
        augmentation=replace(first.augmentation, found=FOUND),
        late=replace(first.late, found=FOUND),
        batches=((0, 16), (40_000, 32)),
        cell_by_cell=0,
        minutes=80,
    )


def on_gpu(first: Recipe) -> Recipe:
    """A part of millions of samples (`--start`, `--device cuda`), the teacher beside the student there."""
    return replace(
        first,
        name=f"{first.name}-gpu",
        augmentation=replace(LATE, found=FOUND),
        late=replace(LATE, harden=0.2, found=FOUND),
        batches=((0, 256),),  # one size, for another is compiled again
        cell_by_cell=0,
        minutes=24,
    )


FIRST = (R, OPEN, PRELU, RECTIFIED)
EMBEDDERS = (*FIRST, *(second(recipe) for recipe in FIRST), on_gpu(R), on_gpu(OPEN))
