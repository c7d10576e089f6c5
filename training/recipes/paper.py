"""The paper's and the thesis's methods, as they describe them."""

from dataclasses import replace

from training.augment import Augmentation, Geometry
from training.recipes.recipe import Losses, Optimiser, Recipe

NONE = (0.0, 0.0)
EPOCHS = 26
PICTURES = 5_822_653
"""Of MS1MV2, the paper's training set."""

# ArcFace on labels alone: the paper's teacher and its student without one.
TEACHER = Recipe(
    "arcface-iresnet100",
    network="iresnet100",
    teacher="",
    student_hints=(),
    losses=Losses(cosine=0, hints=NONE, arcface=1),
    optimiser=Optimiser(
        "sgd", rate=0.1, muon=0, weight_decay=5e-4, warmup=0, drops=(8 / 26, 14 / 26, 20 / 26, 25 / 26)
    ),
    batches=((0, 512),),
    augmentation=Augmentation(Geometry(shift=0, turn=0, scale=0), light=0),
    stages=EPOCHS,
    bn_momentum=0.1,
    samples=EPOCHS * PICTURES,
)
ALONE = replace(TEACHER, name="arcface-s128", network="pocketnet", stages=1)

# Template distillation, with ArcFace and without, from the teacher's end or from each of its epochs.
TEMPLATE = replace(
    ALONE,
    name="template-s128",
    teacher="arcface-iresnet100",
    teacher_stages=False,
    losses=Losses(cosine=0, hints=NONE, template=100, arcface=1),
)
MULTI_STEP = replace(TEMPLATE, name="multi-step-s128", teacher_stages=True)
TEMPLATE_ALONE = replace(
    TEMPLATE, name="template-only-s128", losses=Losses(cosine=0, hints=NONE, template=100)
)

# The thesis: ResNet-18 teaches ResNet-56, at the classification layer or by the angle.
THESIS_TEACHER = replace(ALONE, name="arcface-resnet18", network="resnet18")
THESIS_ALONE = replace(ALONE, name="arcface-resnet56", network="resnet56")
CLASSIFICATION = replace(
    THESIS_ALONE,
    name="classification-resnet56",
    teacher="arcface-resnet18",
    losses=Losses(cosine=0, hints=NONE, arcface=1, classification=1),
)
ANGULAR = replace(
    CLASSIFICATION,
    name="angular-resnet56",
    losses=Losses(cosine=0, hints=NONE, arcface=1, angular=10),
)

PAPER = (
    TEACHER,
    ALONE,
    TEMPLATE,
    MULTI_STEP,
    TEMPLATE_ALONE,
    THESIS_TEACHER,
    THESIS_ALONE,
    CLASSIFICATION,
    ANGULAR,
)
