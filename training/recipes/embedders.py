"""The networks that the package ships."""

from training.recipes.recipe import Recipe

EMBEDDERS = (
    Recipe("pocketnet-s128-r", teacher="official", harden=(0.25, 0.67), minutes=105),
)
