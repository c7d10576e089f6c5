"""Two photos to a decision without pocketface: what many a project does today, the base of the ratios.

OpenCV's FaceDetectorYN, `estimateAffinePartial2D` and `warpAffine`, and a plain ONNX Runtime session.
`python benchmarks/opencv_verify.py YUNET.onnx EMBEDDER.onnx a.jpg b.jpg`
"""

import os
import sys

os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import cv2
import numpy as np
import onnxruntime

TEMPLATE = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
)


def main() -> int:
    """Compare two photos; exit status 0 for one person, 1 for two."""
    yunet, graph, *photos = sys.argv[1:]
    detector = cv2.FaceDetectorYN.create(yunet, "", (320, 320))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    vectors = []
    for photo in photos:
        image = np.asarray(cv2.imread(photo))
        detector.setInputSize((image.shape[1], image.shape[0]))
        faces = np.asarray(detector.detect(image)[1])
        points = faces[int(np.argmax(faces[:, 2] * faces[:, 3])), 4:14].reshape(5, 2)
        matrix = np.asarray(cv2.estimateAffinePartial2D(points, TEMPLATE, method=cv2.LMEDS)[0])
        crop = cv2.warpAffine(image, matrix, (112, 112))[..., ::-1].transpose(2, 0, 1).astype(np.float32)
        vector = session.run(None, {session.get_inputs()[0].name: ((crop - 127.5) / 127.5)[None]})[0][0]
        vectors.append(vector / np.linalg.norm(vector))
    return 0 if float(vectors[0] @ vectors[1]) >= 0.4 else 1


if __name__ == "__main__":
    sys.exit(main())
