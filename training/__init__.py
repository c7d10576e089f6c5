"""Training of the networks that pocketface ships: data, networks, losses, recipes, runs."""
