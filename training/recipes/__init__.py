"""Every run of the project as data: `RECIPES` by name."""

from training.recipes.ablation import ABLATION, COMPARISON
from training.recipes.embedders import EMBEDDERS
from training.recipes.paper import PAPER
from training.recipes.recipe import Losses, Optimiser, Recipe

RECIPES = {recipe.name: recipe for recipe in (*EMBEDDERS, *PAPER, *ABLATION, COMPARISON)}

__all__ = ["RECIPES", "Losses", "Optimiser", "Recipe"]
