"""TFLite graphs written directly on LiteRT's schema: no TensorFlow, no TRANSPOSE, one delegate.

`convert.from_onnx` makes a float graph in NHWC, `precision.half` and `precision.int8_weights` shrink
its weights, `quantize.full_int8` makes an integer graph, `writer.to_bytes` writes the file.
"""
