"""The networks that the package ships."""

from dataclasses import replace

from training.augment import Augmentation, Geometry
from training.recipes.recipe import Optimiser, Recipe

# Without a trace of overfitting, pictures near those to come teach more than others.
NEAR = Augmentation(Geometry(shift=2, turn=4, scale=0.04), light=0.05)
LATE = replace(NEAR, harden=0.1)

EMBEDDERS = (
    Recipe(
        "pocketnet-s128-r",
        teacher="official",
        late=LATE,
        late_from=0.67,
        minutes=105,
    ),
    Recipe(
        "pocketnet-s128-open",
        teacher="open",
        student_hints=(5, 8, 11, 16, 17),
        optimiser=Optimiser(muon_wide=True),
        batches=((0, 8),),
        augmentation=NEAR,
        minutes=90,
    ),
)
