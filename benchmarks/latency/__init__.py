"""How long does it take? Our graphs, peers and the machine's limit: `python -m benchmarks.latency`."""
