"""How often is it wrong? Public verification protocols over any graph: `python -m benchmarks.accuracy`."""
