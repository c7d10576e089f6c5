"""How long each step takes on this device: the measuring half of `pocketface bench`."""
