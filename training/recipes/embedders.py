"""The networks that the package ships."""

from training.augment import Augmentation, Geometry
from training.recipes.recipe import Recipe

# Without a trace of overfitting, pictures near those to come teach more; a few of them are spoiled.
LATE = Augmentation(Geometry(shift=2, turn=4, scale=0.04), light=0.05, harden=0.1)

EMBEDDERS = (
    Recipe(
        "pocketnet-s128-r",
        teacher="official",
        late=LATE,
        late_from=0.67,
        freeze=(0.55, 7),
        minutes=105,
    ),
    Recipe(
        "pocketnet-s128-open",
        teacher="open",
        student_hints=(5, 8, 11, 16, 17),
        batches=((0, 8),),
        freeze=(0.45, 7),
        minutes=90,
    ),
)
