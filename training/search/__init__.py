"""Differentiable architecture search for face recognition (DARTS; Liu et al., ICLR 2019).

Boutros et al. found PocketNet's cells this way. `supernet` mixes all operations, `bilevel`
descends on weights and architecture, `latency` says what an operation costs on a device,
`derive` reads the genotype off, `draw` shows it, `run` puts them together.
"""
