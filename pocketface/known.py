"""Public model files that are recognised by their sha256 and get the right card without being asked.

Licences are those that the files' publishers state (November 2026); `commercial` is our plain
reading of weights and training data together, no legal advice.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from pocketface.cards import Accuracy, Golden, InputSpec, License, ModelCard, OutputSpec

_ZOO = "https://media.githubusercontent.com/media/opencv/opencv_zoo/966be4cb6eefc2a4f586ed0581bf4bbaa2533070/models"

_ANY: tuple[int | None, int | None] = (None, None)
_YUNET_INPUT = InputSpec("input", "NCHW", "float32", "bgr", (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), (640, 640))
_YUNET_DYNAMIC = InputSpec("input", "NCHW", "float32", "bgr", (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), _ANY)
_SCRFD_INPUT = InputSpec(
    "input.1", "NCHW", "float32", "rgb", (127.5, 127.5, 127.5), (1 / 128, 1 / 128, 1 / 128), _ANY, batch=1
)
_SFACE_INPUT = InputSpec(
    "data", "NCHW", "float32", "rgb", (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), (112, 112), "arcface-112", batch=1
)
_ARCFACE_INPUT = InputSpec(
    "input.1", "NCHW", "float32", "rgb", (127.5, 127.5, 127.5), (1 / 127.5, 1 / 127.5, 1 / 127.5), (112, 112),
    "arcface-112", batch=1,
)  # fmt: skip
# Mean and deviation of ImageNet, given for pixels of 0..1.
_IMAGENET_INPUT = InputSpec(
    "input0", "NCHW", "float32", "rgb", (0.485 * 255, 0.456 * 255, 0.406 * 255),
    (1 / (0.229 * 255), 1 / (0.224 * 255), 1 / (0.225 * 255)), (112, 112), "arcface-112", batch=1,
)  # fmt: skip

_PUBLISHED = "as published by the OpenCV zoo, not measured here"
_YUNET_LICENSE = License(
    "MIT",
    "WIDER FACE (research pictures from the web)",
    "yes",
    "the OpenCV zoo publishes the weights under MIT",
)
_SFACE_LICENSE = License(
    "Apache-2.0",
    "web pictures of people, as used in research",
    "yes",
    "the OpenCV zoo publishes the weights under Apache-2.0",
)
_INSIGHTFACE_LICENSE = License(
    "LicenseRef-insightface-non-commercial",
    "WebFace600K or WIDER FACE",
    "no",
    "insightface's model packs are for non-commercial research only; its authors sell licences",
)
_FOAMLIU_LICENSE = License(
    "Apache-2.0",
    "MS-Celeb-1M as cleaned for ArcFace (withdrawn by its publisher)",
    "unclear",
    "the weights are Apache-2.0; the training pictures were collected for research",
)


# sha256 of `pocketface.golden.crop`; the values beside it were measured with ONNX Runtime 1.32 on x86-64.
_GOLDEN_CROP = "7d7d5321e423fa6025bc5deabaea15390a9dd436c0fedda83941afb7e09ebbdb"


@dataclass(frozen=True, slots=True)
class Known:
    """A public file: its card, and where it can be fetched from.

    Attributes:
        card: the file's card; `card.sha256` and `card.size` pin it.
        url: pinned source, None where `pocketface models fetch` does not offer it.
    """

    card: ModelCard
    url: str | None = None


def _detector(
    name: str, kind: str, file: str, sha256: str, size: int, license_: License, source: str,
    input_: InputSpec, precision: str = "fp32",
) -> ModelCard:  # fmt: skip
    return ModelCard(
        name=name, task="detect", kind=kind, file=file, sha256=sha256, size=size, format="onnx",
        precision=precision, license=license_, source=source, input=input_,
    )  # fmt: skip


def _embedder(
    name: str, file: str, sha256: str, size: int, license_: License, source: str, input_: InputSpec,
    output: OutputSpec, precision: str = "fp32", accuracy: tuple[Accuracy, ...] = (),
    golden: Golden | None = None,
) -> ModelCard:  # fmt: skip
    return ModelCard(
        name=name, task="embed", kind="embedder", file=file, sha256=sha256, size=size, format="onnx",
        precision=precision, license=license_, source=source, input=input_, output=output,
        space=f"{name}/1", accuracy=accuracy, golden=golden,
    )  # fmt: skip


KNOWN: tuple[Known, ...] = (
    Known(
        _detector(
            "yunet", "yunet", "face_detection_yunet_2023mar.onnx",
            "8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4", 232_589,
            _YUNET_LICENSE, "OpenCV zoo, YuNet of March 2023", _YUNET_INPUT,
        ),
        f"{_ZOO}/face_detection_yunet/face_detection_yunet_2023mar.onnx",
    ),
    Known(
        _detector(
            "yunet", "yunet", "face_detection_yunet_2023mar_int8.onnx",
            "321aa5a6afabf7ecc46a3d06bfab2b579dc96eb5c3be7edd365fa04502ad9294", 100_416,
            _YUNET_LICENSE, "OpenCV zoo, YuNet of March 2023, quantised", _YUNET_INPUT, "int8",
        ),
        f"{_ZOO}/face_detection_yunet/face_detection_yunet_2023mar_int8.onnx",
    ),
    Known(
        _detector(
            "yunet-2026may", "yunet", "face_detection_yunet_2026may.onnx",
            "ebafce4e3c118d6554634be5c27ab333b4c047a9a8c3faf1d7cf93101c22f0f0", 229_738,
            _YUNET_LICENSE, "OpenCV zoo, YuNet of May 2026", _YUNET_DYNAMIC,
        ),
    ),
    Known(
        _detector(
            "yunet-n-dynamic", "yunet", "yunet_n_dynamic.onnx",
            "104ee26c71d5c270ce79a6b3dced91c91013260d29a6bf18f9296c5b8c4c2b12", 322_906,
            _YUNET_LICENSE, "libfacedetection, YuNet-n with open batch, height and width", _YUNET_DYNAMIC,
        ),
    ),
    Known(
        _detector(
            "scrfd-500m", "scrfd", "det_500m.onnx",
            "5e4447f50245bbd7966bd6c0fa52938c61474a04ec7def48753668a9d8b4ea3a", 2_524_817,
            _INSIGHTFACE_LICENSE, "insightface, pack buffalo_s", _SCRFD_INPUT,
        ),
    ),
    Known(
        _detector(
            "scrfd-2.5g", "scrfd", "det_2.5g.onnx",
            "041f73f47371333d1d17a6fee6c8ab4e6aecabefe398ff32cca4e2d5eaee0af9", 3_292_009,
            _INSIGHTFACE_LICENSE, "insightface, pack buffalo_m", _SCRFD_INPUT,
        ),
    ),
    Known(
        _embedder(
            "sface", "face_recognition_sface_2021dec.onnx",
            "0ba9fbfa01b5270c96627c4ef784da859931e02f04419c829e83484087c34e79", 38_696_353,
            _SFACE_LICENSE, "OpenCV zoo, SFace of December 2021", _SFACE_INPUT, OutputSpec("fc1", 128),
            accuracy=(Accuracy("LFW", _PUBLISHED, "accuracy", 0.9940),),
        ),
        f"{_ZOO}/face_recognition_sface/face_recognition_sface_2021dec.onnx",
    ),
    Known(
        _embedder(
            "sface", "face_recognition_sface_2021dec_int8.onnx",
            "2b0e941e6f16cc048c20aee0c8e31f569118f65d702914540f7bfdc14048d78a", 9_896_933,
            _SFACE_LICENSE, "OpenCV zoo, SFace of December 2021, quantised", _SFACE_INPUT,
            OutputSpec("fc1", 128), "int8", (Accuracy("LFW", _PUBLISHED, "accuracy", 0.9932),),
        ),
        f"{_ZOO}/face_recognition_sface/face_recognition_sface_2021dec_int8.onnx",
    ),
    Known(
        _embedder(
            "w600k-mbf", "w600k_mbf.onnx",
            "9cc6e4a75f0e2bf0b1aed94578f144d15175f357bdc05e815e5c4a02b319eb4f", 13_616_099,
            _INSIGHTFACE_LICENSE, "insightface, pack buffalo_s", _ARCFACE_INPUT, OutputSpec("516", 512),
            golden=Golden(
                _GOLDEN_CROP,
                (0.055283, -0.034159, -0.043345, -0.009025, -0.010052, -0.034049, 0.022713, -0.026846),
                22.18192,
            ),
        ),
    ),
    Known(
        _embedder(
            "mobilefacenet-foamliu", "mobilefacenet_foamliu.onnx",
            "b7120c095d60094f28a4a54ba6a8bf51b297a6273fb40ef6350dfec1f63d9507", 3_998_070,
            _FOAMLIU_LICENSE, "foamliu/MobileFaceNet", _IMAGENET_INPUT, OutputSpec("output0", 128),
            golden=Golden(
                _GOLDEN_CROP,
                (0.143964, -0.173103, 0.045176, 0.002387, -0.004606, -0.054721, -0.006739, 0.080377),
                15.70539,
            ),
        ),
    ),
)  # fmt: skip


def identify(path: Path) -> ModelCard | None:
    """The card of a well-known file, whatever it is called now; None for any other file.

    Only a file of the right size is read and hashed.
    """
    size = path.stat().st_size
    candidates = [known.card for known in KNOWN if known.card.size == size]
    if not candidates:
        return None
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return next((card for card in candidates if card.sha256 == digest), None)
