"""Short runs at equal samples, each one change away from the first, and how genotypes are compared."""

from dataclasses import replace

from training.augment import Augmentation
from training.recipes.embedders import NEAR, STEADY
from training.recipes.recipe import Losses, Recipe

SAMPLES = 3_000
BASE = Recipe(
    "ablation-base",
    teacher="open",
    student_hints=(5, 8, 11, 16, 17),
    optimiser=STEADY,
    augmentation=NEAR,
    batches=((0, 8),),
    samples=SAMPLES,
)
# Cell by cell asks for a teacher of cells, so this pair has the other teacher.
OFFICIAL = replace(BASE, name="ablation-official", teacher="official", student_hints=(5, 11, 16))

ABLATION = (
    BASE,
    replace(BASE, name="ablation-adamw", optimiser=replace(STEADY, muon=0)),
    replace(BASE, name="ablation-prelu", network="pocketnet"),
    replace(BASE, name="ablation-batch-32", batches=((0, 32),)),
    replace(BASE, name="ablation-no-hints", losses=Losses(hints=(0, 0))),
    replace(BASE, name="ablation-few-faces", faces=SAMPLES // 10),
    replace(BASE, name="ablation-more-augmentation", augmentation=Augmentation(light=0.15, harden=0.5)),
    OFFICIAL,
    replace(OFFICIAL, name="ablation-cell-by-cell", cell_by_cell=2_000),
)

COMPARISON = Recipe("comparison", batches=((0, 8),), samples=SAMPLES)
"""For `training.search.compare`."""
