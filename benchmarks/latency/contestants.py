"""What is timed against each other: our models as the package runs them, and peers as their users do.

A peer whose package or graph is missing is left out and named as such: nothing is downloaded.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pocketface.align import TEMPLATE
from pocketface.detect import FaceDetector
from pocketface.embed import Embedder
from pocketface.recognizer import FaceRecognizer
from pocketface.registry import from_file

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from pocketface.registry import Model

    Pixels = NDArray[np.uint8]


W600K = Path("peers", "w600k_mbf.onnx")
"""InsightFace's small recogniser, relative to the folder of the peers' graphs."""


@dataclass(frozen=True)
class Contestant:
    """Something to be timed.

    Attributes:
        name: in the table.
        call: does the work once for picture number i.
        model: the graph, where the floor is to be told.
    """

    name: str
    call: Callable[[int], object]
    model: Model | None = None


def embedder(model: Model, crops: Sequence[Pixels]) -> Contestant:
    """One of our models: an aligned crop to a unit embedding, as `Embedder` does it."""
    one = Embedder(model, threads=1)
    return Contestant(
        f"{model.card.file} (pocketface)", lambda i: one.embed(crops[i % len(crops)][None]), model
    )


def plain_session(path: Path, crops: Sequence[Pixels]) -> Contestant:
    """A graph in an ordinary ONNX Runtime session: scale the pixels, run, normalise."""
    describe = _describer(path)
    return Contestant(
        f"{path.name} (ONNX Runtime)",
        lambda i: describe(crops[i % len(crops)]),
        from_file(path, task="embed"),
    )


def ncnn_network(param: Path, crops: Sequence[Pixels]) -> Contestant:
    """The authors' network converted for ncnn by a third party, fp16 weights."""
    import ncnn

    net = ncnn.Net()
    net.opt.num_threads = 1
    net.load_param(str(param))
    net.load_model(str(param.with_suffix(".bin")))

    def call(i: int) -> object:
        data = np.ascontiguousarray(crops[i % len(crops)].transpose(2, 0, 1), np.float32)
        data = (data - 127.5) / 127.5  # kept by name: ncnn.Mat borrows its memory
        extractor = net.create_extractor()
        extractor.input("data", ncnn.Mat(data))
        vector = np.array(extractor.extract("fc1")[1])
        return vector / np.linalg.norm(vector)

    return Contestant(f"{param.stem} (ncnn)", call)


def detector(model: Model, images: Sequence[Pixels]) -> Contestant:
    """One of our detectors as `FaceDetector` runs it."""
    one = FaceDetector(model, threads=1)
    return Contestant(f"{model.card.file} (pocketface)", lambda i: one.detect(images[i % len(images)]))


def opencv_detector(path: Path, images: Sequence[Pixels]) -> Contestant:
    """YuNet as OpenCV runs it."""
    import cv2

    one = cv2.FaceDetectorYN.create(str(path), "", (320, 320))
    bgr = [np.ascontiguousarray(image[..., ::-1]) for image in images]

    def call(i: int) -> object:
        image = bgr[i % len(bgr)]
        one.setInputSize((image.shape[1], image.shape[0]))
        return one.detect(image)

    return Contestant(f"{path.name} (OpenCV FaceDetectorYN)", call)


def pipeline(detector: Model, embedder: Model, photos: Sequence[Path]) -> Contestant:
    """Two photos to a decision with our package."""
    one = FaceRecognizer(detector, embedder, threads=1, threshold=0.4)
    return Contestant(
        f"pocketface: {detector.card.file} + {embedder.card.file}",
        lambda i: one.verify(photos[i % len(photos)], photos[(i + 1) % len(photos)]),
    )


def opencv_pipeline(yunet: Path, graph: Path, photos: Sequence[Path]) -> Contestant:
    """Two photos to a decision with OpenCV's detector and warp and a plain ONNX Runtime session."""
    import cv2

    finder = cv2.FaceDetectorYN.create(str(yunet), "", (320, 320))
    describe = _describer(graph)

    def embed(path: Path) -> NDArray[np.float32]:
        image = _imread(path)
        finder.setInputSize((image.shape[1], image.shape[0]))
        faces = np.asarray(finder.detect(image)[1])
        points = faces[int(np.argmax(faces[:, 2] * faces[:, 3])), 4:14].reshape(5, 2)
        matrix = cv2.estimateAffinePartial2D(points, TEMPLATE, method=cv2.LMEDS)[0]
        crop = cv2.warpAffine(image, np.asarray(matrix), (112, 112)).astype(np.uint8)
        return describe(crop[..., ::-1])

    return Contestant(
        f"OpenCV {yunet.name} + ONNX Runtime {graph.name}",
        lambda i: float(embed(photos[i % len(photos)]) @ embed(photos[(i + 1) % len(photos)])) > 0.4,
    )


def insightface_pipeline(scrfd: Path, photos: Sequence[Path]) -> Contestant:
    """Two photos to a decision with the package insightface and its buffalo_s graphs."""
    arcface = scrfd.parent / W600K
    from insightface.app.common import Face
    from insightface.model_zoo.arcface_onnx import ArcFaceONNX
    from insightface.model_zoo.scrfd import SCRFD

    warnings.filterwarnings("ignore", module="insightface")  # deprecated calls, on every picture
    finder = SCRFD(str(scrfd), _session(scrfd))
    finder.prepare(-1, input_size=(640, 640))
    describer = ArcFaceONNX(str(arcface), _session(arcface))

    def embed(path: Path) -> NDArray[np.float32]:
        image = _imread(path)
        boxes, points = finder.detect(image)
        face = Face(bbox=boxes[0, :4], kps=points[0], det_score=boxes[0, 4])
        describer.get(image, face)
        return np.asarray(face.normed_embedding, np.float32)

    return Contestant(
        f"insightface: {scrfd.name} at 640x640 + {arcface.name}",
        lambda i: float(embed(photos[i % len(photos)]) @ embed(photos[(i + 1) % len(photos)])) > 0.4,
    )


def uniface_pipeline(scrfd: Path, photos: Sequence[Path]) -> Contestant:
    """Two photos to a decision with the package uniface and the same two graphs."""
    arcface = scrfd.parent / W600K
    # It looks for graphs under its own names in a folder; the check of their sha256 stays.
    with tempfile.TemporaryDirectory() as folder:
        os.environ["UNIFACE_CACHE_DIR"] = folder
        from uniface.constants import ArcFaceWeights, SCRFDWeights
        from uniface.detection import SCRFD
        from uniface.recognition import ArcFace

        for source, weights in ((scrfd, SCRFDWeights.SCRFD_500M_KPS), (arcface, ArcFaceWeights.MNET)):
            shutil.copyfile(source, Path(folder) / f"{weights.value}.onnx")
        finder = SCRFD(model_name=SCRFDWeights.SCRFD_500M_KPS, providers=["CPUExecutionProvider"])
        describer = ArcFace(model_name=ArcFaceWeights.MNET, providers=["CPUExecutionProvider"])
    # Its own sessions take a thread for each processor and spin.
    finder.session, describer.session = _session(scrfd), _session(arcface)

    def embed(path: Path) -> NDArray[np.float32]:
        image = _imread(path)
        face = finder.detect(image)[0]
        vector = np.asarray(describer.get_normalized_embedding(image, face.landmarks), np.float32)
        return vector.reshape(-1)

    return Contestant(
        f"uniface: {scrfd.name} at 640x640 + {arcface.name}",
        lambda i: float(embed(photos[i % len(photos)]) @ embed(photos[(i + 1) % len(photos)])) > 0.4,
    )


def _imread(path: Path) -> Pixels:
    import cv2

    return np.asarray(cv2.imread(str(path)), np.uint8)


def _describer(path: Path) -> Callable[[Pixels], NDArray[np.float32]]:
    session = _session(path)
    name = session.get_inputs()[0].name
    # MobileFaceNet of foamliu takes ImageNet's mean and deviation; the cost is the same.
    spec = from_file(path, task="embed").card.input
    mean, scale = (np.array(v, np.float32).reshape(3, 1, 1) for v in (spec.mean, spec.scale))

    def call(crop: Pixels) -> NDArray[np.float32]:
        data = ((crop.transpose(2, 0, 1).astype(np.float32) - mean) * scale)[None]
        vector = session.run(None, {name: data})[0][0]
        unit: NDArray[np.float32] = vector / np.linalg.norm(vector)
        return unit

    return call


def _session(path: Path) -> Any:
    """A session as users make it, except for one thread that does not spin."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
