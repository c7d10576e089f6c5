"""The package on 64-bit ARM without a board: `python -m benchmarks.arm`."""
