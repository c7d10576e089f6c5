"""The networks that the package ships."""

from training.recipes.recipe import Recipe

EMBEDDERS = (
    Recipe("pocketnet-s128-r", teacher="official", harden=(0.2, 0.67), freeze=(0.55, 7), minutes=105),
    Recipe(
        "pocketnet-s128-open",
        teacher="open",
        student_hints=(5, 8, 11, 16, 17),
        batches=((0, 8),),
        freeze=(0.45, 7),
        minutes=90,
    ),
)
