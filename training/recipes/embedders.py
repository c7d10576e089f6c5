"""The networks that the package ships."""

from dataclasses import replace

from training.augment import Augmentation, Geometry
from training.recipes.recipe import Losses, Optimiser, Recipe

# Without a trace of overfitting, pictures near those to come teach more than others.
NEAR = Augmentation(Geometry(shift=2.5, turn=4, scale=0.05), light=0)
LATE = replace(NEAR, light=0.05, harden=0.1)
STEADY = Optimiser(muon_wide=True, hold=0.5)

# The second part begins with weights of the first (`--start`): the maps are learnt, so the embedding alone
# counts, and what the teacher sees is stored.
SECOND = Optimiser(rate=1e-3, muon=0.0065, muon_wide=True)
ALONE = Losses(hints=(0.0, 0.0))

EMBEDDERS = (
    Recipe(
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
    ),
    Recipe(
        "pocketnet-s128-open",
        teacher="open",
        centred=True,
        whitened=True,
        student_hints=(5, 8, 11, 16, 17),
        optimiser=STEADY,
        augmentation=NEAR,
        late=LATE,
        late_from=0.67,
        batches=((0, 8), (8_000, 16)),
        minutes=549,
    ),
    Recipe(
        "pocketnet-s128-r-second",
        teacher="official",
        beside="w600k",
        centred=True,
        whitened=True,
        stored=True,
        student_hints=(),
        losses=ALONE,
        optimiser=SECOND,
        augmentation=NEAR,
        late=LATE,
        late_from=0.67,
        batches=((0, 16), (40_000, 32)),
        minutes=80,
    ),
    Recipe(
        "pocketnet-s128-open-second",
        teacher="open",
        centred=True,
        whitened=True,
        stored=True,
        student_hints=(),
        losses=ALONE,
        optimiser=SECOND,
        augmentation=NEAR,
        late=LATE,
        late_from=0.67,
        batches=((0, 16), (40_000, 32)),
        minutes=80,
    ),
)
