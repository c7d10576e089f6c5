"""Short runs at equal samples, each one change away from the first."""

from dataclasses import replace

from training.augment import Augmentation, Geometry
from training.recipes.embedders import NEAR
from training.recipes.recipe import Losses, Optimiser, Recipe

SAMPLES = 3_000
BASE = Recipe("ablation-base", batches=((0, 8),), samples=SAMPLES)

ABLATION = (
    BASE,
    replace(BASE, name="ablation-adamw", optimiser=Optimiser(muon=0)),
    replace(BASE, name="ablation-batch-32", batches=((0, 32),)),
    replace(BASE, name="ablation-no-hints", losses=Losses(hints=(0, 0))),
    replace(
        BASE,
        name="ablation-more-hints",
        teacher="official-more",
        student_hints=(5, 8, 11, 14, 16, 17),
    ),
    replace(BASE, name="ablation-cells", cell_by_cell=SAMPLES // 2),
    replace(BASE, name="ablation-prelu", network="pocketnet"),
    replace(BASE, name="ablation-near", augmentation=NEAR),
    replace(BASE, name="ablation-few-faces", faces=SAMPLES // 10),
    replace(
        BASE,
        name="ablation-mirror-only",
        augmentation=Augmentation(Geometry(shift=0, turn=0, scale=0), light=0),
    ),
)
