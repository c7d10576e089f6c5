"""The paper's and the thesis's methods, as they describe them."""

from training.augment import Augmentation, Geometry
from training.recipes.recipe import Losses, Optimiser, Recipe

MIRROR_ONLY = Augmentation(Geometry(shift=0, turn=0, scale=0, mirror=True), light=0)
SGD = Optimiser("sgd", rate=0.1, muon=0, weight_decay=5e-4, warmup=0, drops=(0.31, 0.54, 0.77, 0.96))
BATCH = ((0, 512),)
EPOCHS_26 = 26 * 5_822_653

PAPER = (
    Recipe(
        "arcface-s128",
        network="pocketnet",
        teacher="",
        student_hints=(),
        losses=Losses(cosine=0, hints=(0, 0), arcface=1),
        optimiser=SGD,
        batches=BATCH,
        augmentation=MIRROR_ONLY,
        bn_momentum=0.1,
        samples=EPOCHS_26,
    ),
    Recipe(
        "template-s128",
        network="pocketnet",
        student_hints=(),
        losses=Losses(cosine=0, hints=(0, 0), template=100, arcface=1),
        optimiser=SGD,
        batches=BATCH,
        augmentation=MIRROR_ONLY,
        bn_momentum=0.1,
        samples=EPOCHS_26,
    ),
)
