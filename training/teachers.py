"""Teachers as ONNX graphs that give their embedding and the maps that students learn from.

The graphs are made once from reference weights and kept in the run's folder. Nothing here is
loaded into a student.
"""

from __future__ import annotations

import copy
import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import onnx
import torch
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from numpy.typing import NDArray
from torch import Tensor, nn

from pocketface.errors import InputError, ModelError
from training.networks import PocketNet, pocketnet
from training.resume import read_state, restoring
from training.session import one_thread
from training.shards import Face, centre


@dataclass(frozen=True)
class View:
    """What a teacher sees of the 112x112 crop: columns `first` to `last`, as `side` x `side` pixels, BGR."""

    first: int
    last: int
    side: int


@dataclass(frozen=True)
class TeacherSpec:
    """A teacher's file, licence, input and the maps it exposes, in the order of `hints`.

    `hints` are cells for a PocketNet checkpoint and names of tensors for an ONNX graph; the
    512x7x7 map before the global convolution always comes last. Without a `view` it sees the crop
    as it is, RGB.
    """

    name: str
    file: str
    licence: str
    mean: tuple[float, float, float]
    deviation: tuple[float, float, float]
    hints: tuple[int, ...] | tuple[str, ...]
    hint_channels: tuple[int, ...]
    embedding: int = 128
    view: View | None = None


OFFICIAL = TeacherSpec(
    name="official",
    file="pocketnet_s128_official.pth",
    licence="CC BY-NC-SA 4.0",
    mean=(127.5, 127.5, 127.5),
    deviation=(127.5, 127.5, 127.5),
    hints=(5, 11, 16),
    hint_channels=(64, 128, 256, 512),
)

OPEN = TeacherSpec(
    name="open",
    file="mobilefacenet_foamliu.onnx",
    licence="Apache-2.0",
    mean=(0.485 * 255, 0.456 * 255, 0.406 * 255),
    deviation=(0.229 * 255, 0.224 * 255, 0.225 * 255),
    hints=(
        "/dw_conv/relu_1/Relu_output_0",
        "/features/features.2/Add_output_0",
        "/features/features.4/Add_output_0",
        "/features/features.11/Add_output_0",
        "/features/features.14/Add_output_0",
        "/conv2/conv2.0/Conv_output_0",
    ),
    hint_channels=(64, 64, 64, 128, 128, 512),
)

W600K = TeacherSpec(
    name="w600k",
    file="w600k_mbf.onnx",
    licence="non-commercial research",
    mean=(127.5, 127.5, 127.5),
    deviation=(127.5, 127.5, 127.5),
    hints=(),
    hint_channels=(),
    embedding=512,
)

# Open Model Zoo gives its five points as fractions of the picture: ArcFace's 96x112 template, stretched.
RETAIL = TeacherSpec(
    name="retail",
    file="face-reidentification-retail-0095.onnx",
    licence="Apache-2.0",
    mean=(0.0, 0.0, 0.0),
    deviation=(1.0, 1.0, 1.0),
    hints=(),
    hint_channels=(),
    embedding=256,
    view=View(8, 104, 128),
)

TEACHERS = {spec.name: spec for spec in (OFFICIAL, OPEN, W600K, RETAIL)}


class _FastPReLU(nn.Module):
    """PReLU as relu((1 - a) x) + a x, for slopes below one: convolutions to ONNX Runtime."""

    def __init__(self, prelu: nn.PReLU) -> None:
        super().__init__()
        slope = prelu.weight.detach()[None, :, None, None]
        if bool((slope >= 1).any()):
            raise ValueError("expected slopes below one")
        self.slope = nn.Parameter(slope.clone(), requires_grad=False)
        self.rest = nn.Parameter(1 - slope, requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the module to `x`."""
        return torch.relu(x * self.rest) + x * self.slope


class _Exposed(nn.Module):
    def __init__(self, network: PocketNet, after: Sequence[int]) -> None:
        super().__init__()
        self.network, self.after = network, tuple(after)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Apply the module to `x`."""
        return tuple(self.network.stages(x, self.after))


def _quicken(module: nn.Module) -> None:
    for name, child in module.named_children():
        if isinstance(child, nn.PReLU):
            setattr(module, name, _FastPReLU(child))
        else:
            _quicken(child)


def _zero_vanished(network: nn.Module) -> None:
    """Weights that weight decay drove below 1e-12 to zero: denormal products are 6 times slower."""
    with torch.no_grad():
        for weight in network.parameters():
            weight[weight.abs() < 1e-12] = 0


def export_pocketnet(network: PocketNet, after: Sequence[int], path: Path) -> None:
    """Write the network, cells `after`, the final map and the embedding, as ONNX, any batch."""
    network = copy.deepcopy(network).eval()
    _zero_vanished(network)
    _quicken(network)
    names = [*(f"cell{i}" for i in after), "map", "embedding"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(  # by tracing, as in export/plain.py: a ninth of the time, the same graph
            _Exposed(network, after).eval(),
            (torch.zeros(1, 3, 112, 112),),
            str(path),
            input_names=["input"],
            output_names=names,
            dynamic_axes={name: {0: "batch"} for name in ["input", *names]},
            opset_version=17,
            dynamo=False,
        )


def expose(source: Path, outputs: Sequence[str], path: Path, view: View | None = None) -> None:
    """Copy an ONNX graph with a free batch dimension, its view in front and more tensors as outputs."""
    model = onnx.load(str(source))
    graph = model.graph
    for value in [*graph.input, *graph.output]:
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    if view is not None:
        _look(graph, view)
    embedding = graph.output.pop()
    last = graph.node[-1]
    if last.op_type == "Reshape":  # an exporter wrote a batch of one into it
        graph.node.pop()
        graph.node.append(onnx.helper.make_node("Flatten", last.input[:1], last.output, axis=1))
    elif len(embedding.type.tensor_type.shape.dim) == 4:
        graph.node.append(onnx.helper.make_node("Flatten", [embedding.name], ["embedding"], axis=1))
        embedding = onnx.helper.make_tensor_value_info("embedding", onnx.TensorProto.FLOAT, None)
    for name in outputs:
        graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
    graph.output.append(embedding)
    onnx.save(model, str(path))


def _look(graph: onnx.GraphProto, view: View) -> None:
    """Put the nodes that cut and turn a crop into a teacher's view in front of its graph."""
    made = graph.input[0]
    constants = {
        "view_first": np.array([view.first]),
        "view_last": np.array([view.last]),
        "view_axis": np.array([3]),
        "view_scales": np.array([1, 1, view.side / 112, view.side / (view.last - view.first)], np.float32),
        "view_bgr": np.array([2, 1, 0]),
    }
    graph.initializer.extend(onnx.numpy_helper.from_array(value, name) for name, value in constants.items())
    nodes = [
        onnx.helper.make_node("Slice", ["crop", "view_first", "view_last", "view_axis"], ["view_columns"]),
        onnx.helper.make_node("Resize", ["view_columns", "", "view_scales"], ["view_large"], mode="linear"),
        onnx.helper.make_node("Gather", ["view_large", "view_bgr"], [made.name], axis=1),
    ]
    for index, node in enumerate(nodes):
        graph.node.insert(index, node)
    crop = onnx.helper.make_tensor_value_info("crop", onnx.TensorProto.FLOAT, ["batch", 3, 112, 112])
    graph.input[0].CopyFrom(crop)


def build(spec: TeacherSpec, models: Path, path: Path) -> None:
    """Make the teacher's graph from the reference files in `models` or folders in it, complete or absent.

    Raises InputError where they are missing or damaged.
    """
    source = min(models.rglob(spec.file), default=models / spec.file)
    if not source.is_file():
        raise InputError(f"{source} is missing: --models is the folder of the teachers' weights")
    part = path.with_suffix(".part.onnx")
    if source.suffix == ".onnx":
        try:
            expose(source, [str(name) for name in spec.hints], part, spec.view)
            one_thread(part)
        except (DecodeError, IndexError, ModelError) as error:
            raise InputError(f"{source}: damaged, or not the graph of the teacher {spec.name!r}") from error
    else:
        network = pocketnet("s128")
        with restoring(source):
            network.load_state_dict(read_state(source), strict=True)
        export_pocketnet(network, [int(cell) for cell in spec.hints], part)
    os.replace(part, path)


class Teaches(Protocol):
    """What a run asks of a teacher.

    `head` holds its ArcFace centres, or nothing.
    """

    spec: TeacherSpec
    head: Tensor

    @property
    def fingerprint(self) -> bytes:
        """What its embeddings depend on."""

    def select(self, progress: float) -> None:
        """Turn to the weights for the student's progress, 0 to 1."""

    def embed(self, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Embeddings `(n, d)`, not normalised, of uint8 `(n, 112, 112, 3)`, RGB."""

    def __call__(self, crops: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
        """Maps `(n, c, h, w)`, if any, and last the embeddings."""


class Teacher:
    """A teacher ready to run on one thread of the CPU."""

    head = torch.zeros(0)

    def __init__(self, spec: TeacherSpec, graph: Path) -> None:
        self.spec, self.weights = spec, graph
        self.centre = np.zeros(spec.embedding, np.float32)
        self._session = one_thread(graph)
        self._input = self._session.get_inputs()[0].name
        self._mean = np.asarray(spec.mean, np.float32)
        self._deviation = np.asarray(spec.deviation, np.float32)

    @property
    def fingerprint(self) -> bytes:
        """What its embeddings depend on."""
        return self.weights.read_bytes() + self.centre.tobytes()

    def over(self, graph: Teacher) -> Teacher:
        """The same embeddings beside the maps of another graph of this teacher."""
        graph.centre = self.centre
        return graph

    def select(self, progress: float) -> None:
        """Nothing to turn to: it has one set of weights."""

    def centre_on(self, faces: Sequence[Face], kept: Path) -> None:
        """Take the mean embedding of `faces` away from every embedding from here on.

        What all faces share tells nobody apart, yet a student falls back on it where it is unsure, and
        strangers match. The mean is of 2,048 to 4,095 faces, computed once and
        kept in the file `kept`.
        """
        if not kept.is_file():
            some = faces[:: max(1, len(faces) // 2048)]
            mean = np.mean([self.embed(centre(face)[None])[0] for face in some], axis=0)
            part = kept.with_suffix(".part.npy")
            np.save(part, mean)
            os.replace(part, kept)
        self.centre = np.load(kept)

    def __call__(self, crops: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
        """Maps `(n, c, h, w)` and, last, embeddings `(n, d)`, of uint8 `(n, 112, 112, 3)`, RGB."""
        *maps, embeddings = self._run(crops, None)
        return [*maps, embeddings - self.centre]

    def embed(self, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Embeddings alone, `(n, d)`, not normalised."""
        return self._run(crops, [self._session.get_outputs()[-1].name])[0] - self.centre

    def _run(self, crops: NDArray[np.uint8], names: list[str] | None) -> list[NDArray[np.float32]]:
        x = (crops.astype(np.float32) - self._mean) / self._deviation
        x = np.ascontiguousarray(x.transpose(0, 3, 1, 2))
        # One at a time its activations stay in the cache: 1.7 times as fast as a batch of 16.
        rows = [self._session.run(names, {self._input: x[i : i + 1]}) for i in range(len(x))]
        return [np.concatenate(column) for column in zip(*rows, strict=True)]
