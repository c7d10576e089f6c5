"""From a trained network to verified graphs for phones: ONNX and TFLite, fp32 to int8.

`python -m export CHECKPOINT --out DIR` writes them, `python -m export optimize` rewrites any
ONNX graph, `python -m export check DIR` measures a folder of graphs.
"""
