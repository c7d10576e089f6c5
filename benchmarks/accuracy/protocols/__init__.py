"""Readers of the public protocols, one data set a file; each gives `Pairs`, IJB and MegaFace their own."""
