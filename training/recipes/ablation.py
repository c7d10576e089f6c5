"""Short runs at equal samples, each one change away from the first, and how genotypes are compared."""

from dataclasses import replace

from training.augment import Augmentation, Geometry
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

ABLATION = (
    BASE,
    replace(BASE, name="ablation-adamw", optimiser=replace(STEADY, muon=0)),
    replace(BASE, name="ablation-prelu", network="pocketnet"),
    replace(BASE, name="ablation-batch-32", batches=((0, 32),)),
    replace(BASE, name="ablation-no-hints", losses=Losses(hints=(0, 0))),
    replace(BASE, name="ablation-official", teacher="official", student_hints=(5, 11, 16)),
    replace(BASE, name="ablation-few-faces", faces=SAMPLES // 10),
    replace(BASE, name="ablation-more-augmentation", augmentation=Augmentation(light=0.15, harden=0.5)),
    replace(
        BASE,
        name="ablation-mirror-only",
        augmentation=Augmentation(Geometry(shift=0, turn=0, scale=0), light=0),
    ),
    replace(BASE, name="ablation-muon-tall", optimiser=replace(STEADY, muon_wide=False)),
)

COMPARISON = Recipe("comparison", batches=((0, 8),), samples=SAMPLES)
"""For `training.search.compare`."""
