"""How often it is wrong and how long it takes: the figures that the README quotes."""
