"""One export: build each form, verify it, measure it, write it with its card."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from export.contract import Contract
from export.forms import FORMS, Form, Job, to_inputs
from export.heldout import operating_points
from export.lfw import Lfw, lfw_accuracy, read_lfw
from export.source import Source, read_source
from export.verify import Parity, Runner, fastest_of, latencies, parity, runner
from pocketface import golden, tuning
from pocketface.atomic import replacing
from pocketface.cards import Accuracy, InputSpec, ModelCard, OutputSpec, Speed
from pocketface.errors import InputError, ModelError
from pocketface.registry import Model

_ROUNDS = 20


@dataclass(frozen=True)
class Request:
    """What is asked for.

    Attributes:
        checkpoint: PyTorch state dict or ONNX graph.
        out: folder for graphs and cards.
        name: of the network; its files begin with it.
        forms: names in `FORMS`.
        contract: what the cards say.
        size: height and width of TFLite graphs and of verification.
        pictures: uint8 `(n, h, w, 3)` to verify with.
        calibration: the same for int8 ranges, or None.
        heldout: folder of faces with `manifest.csv` to measure accuracy on, or None.
        lfw: folder of LFW to measure accuracy on, or None.
        ranges: see `export.forms.Job`.
        genotype: see `training.networks.load_genotype`.
    """

    checkpoint: Path
    out: Path
    name: str
    forms: Sequence[str]
    contract: Contract
    size: tuple[int, int]
    pictures: NDArray[np.uint8]
    calibration: NDArray[np.uint8] | None = None
    heldout: Path | None = None
    lfw: Path | None = None
    ranges: str = "minmax"
    genotype: str = "pocketnet"


@dataclass(frozen=True)
class Result:
    """What became of one form.

    Attributes:
        form: its name.
        file: its file, None when it was not written.
        size: bytes.
        parity: to the source.
        milliseconds: CPU time of one thread for one picture.
        relative: how many times faster than the ordinary export.
        note: why it was not written, or what to know.
    """

    form: str
    file: Path | None
    size: int
    parity: Parity
    milliseconds: float
    relative: float
    note: str


@dataclass
class _Built:
    name: str
    form: Form
    graph: bytes
    run: Runner
    parity: Parity
    milliseconds: float = 0.0

    @property
    def passes(self) -> bool:
        return self.parity.mean > self.form.cosine


def export(request: Request) -> list[Result]:
    """Build, verify and write every form of `request`.

    Raises:
        ModelError: the checkpoint is missing, damaged or fits no network, or a graph cannot be built.
        InputError: int8 was asked for without pictures, `out` is no folder, or LFW is not whole.
    """
    try:
        request.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{request.out}: cannot be made a folder ({error.strerror})") from error
    lfw = read_lfw(request.lfw) if request.lfw is not None and request.contract.task == "embed" else None
    plain = request.out / f"{request.name}.plain.onnx"
    source = read_source(request.checkpoint, plain, request.genotype)
    truth = source.reference(to_inputs(request.pictures, request.contract))
    _write_card(_card(request, source, plain, None, replace(request.contract, default=False)), plain, plain)
    job = Job(source.plain, request.contract, request.size, request.calibration, request.ranges)
    built = []
    for name in request.forms:
        form = FORMS[name]
        graph = form.build(job)
        run = runner(graph, form.format, request.contract)
        built.append(_Built(name, form, graph, run, parity(run, truth, request.pictures)))
    plain_run = runner(plain.read_bytes(), "onnx", request.contract)
    times = latencies([plain_run, *(b.run for b in built)], request.pictures, _ROUNDS)
    for item, milliseconds in zip(built, times[1:], strict=True):
        item.milliseconds = milliseconds
    return [_finish(request, source, item, built, times[0], lfw) for item in built]


def _finish(
    request: Request,
    source: Source,
    item: _Built,
    built: Sequence[_Built],
    plain_ms: float,
    lfw: Lfw | None,
) -> Result:
    path = request.out / item.form.file(request.name)
    relative = plain_ms / item.milliseconds
    note = ""
    if not item.passes:
        path.unlink(missing_ok=True)
        _card_path(path).unlink(missing_ok=True)
        note = f"not written: mean cosine {item.parity.mean:.5f}, above {item.form.cosine} is asked"
        return Result(item.name, None, len(item.graph), item.parity, item.milliseconds, relative, note)
    floats = [b.milliseconds for b in built if b.passes and b.form.precision == "fp32"]
    machine = tuning.processor()
    contract = request.contract
    if floats and item.milliseconds > 1.1 * min(floats):
        note = f"slower than fp32 on {machine} ({min(floats) / item.milliseconds:.2f}x)"
        contract = replace(contract, source=f"{contract.source}; {note}")
    if request.heldout is not None and contract.task == "embed":
        known = bool(contract.thresholds) and item.form.precision == "fp32"
        if not known:
            contract = operating_points(contract, item.run, request.heldout)
            if not contract.thresholds:
                why = f"no thresholds: {request.heldout} has too few impostor pairs"
                note = f"{note}; {why}" if note else why
    elif item.form.precision == "int8" and contract.thresholds:
        contract = replace(contract, source=f"{contract.source}; thresholds measured with fp32")
    fastest = list(contract.fastest_on.get(item.name, []))
    told = {name for names in contract.fastest_on.values() for name in names}
    passed = [b for b in built if b.passes]
    if (
        machine not in told
        and item is passed[fastest_of([(b.form.precision, b.milliseconds) for b in passed])]
    ):
        fastest.insert(0, machine)
    # By default one form is chosen by the registry; the network as a whole is what is recommended.
    accuracy = Accuracy(
        f"{len(request.pictures)} pictures",
        "cosine to the source network's output, the worst output",
        "mean cosine",
        round(item.parity.mean, 6),
        "python -m export check DIR",
    )
    with replacing(path) as temporary:  # the graph and its card appear together, after all measuring
        temporary.write_bytes(item.graph)
        card = _card(request, source, path, item, contract)
        card = replace(
            card,
            accuracy=(*card.accuracy, accuracy),
            speed=Speed(tuple(fastest), round(relative, 2)),
        )
        if card.task == "embed":
            card = replace(card, golden=golden.measure(Model(card, temporary)))
        if lfw is not None:
            card = replace(card, accuracy=(lfw_accuracy(Model(card, temporary), lfw), *card.accuracy))
        _write_card(card, path, temporary)
    return Result(item.name, path, len(item.graph), item.parity, item.milliseconds, relative, note)


def _card(request: Request, source: Source, path: Path, item: _Built | None, contract: Contract) -> ModelCard:
    """The card of a graph at `path`; `item` None for the ordinary export."""
    graph = path.read_bytes() if item is None else item.graph
    tflite = item is not None and item.form.format == "tflite"
    integer = tflite and item is not None and item.form.precision == "int8"
    detect = contract.task == "detect"
    mean, scale = (0.0, 1.0) if integer else (contract.mean, contract.scale)
    output = source.plain.graph.output[0]
    return ModelCard(
        name=request.name if item is not None else f"{request.name}-plain",
        task=contract.task,
        kind=contract.kind,
        file=path.name,
        sha256=hashlib.sha256(graph).hexdigest(),
        size=len(graph),
        format="tflite" if tflite else "onnx",
        precision=item.form.precision if item is not None else "fp32",
        license=contract.license,
        source=contract.source,
        input=InputSpec(
            name=source.plain.graph.input[0].name,
            layout="NHWC" if tflite else "NCHW",
            dtype="uint8" if integer else "float32",
            channels="rgb",
            mean=(mean, mean, mean),
            scale=(scale, scale, scale),
            size=(None, None) if detect and not tflite else request.size,
            template=None if detect else "arcface-112",
            batch=1 if tflite or _batch_of_one(source.plain) else None,
        ),
        output=None if detect else OutputSpec(output.name, output.type.tensor_type.shape.dim[-1].dim_value),
        space=None if detect else _space(request),
        thresholds=contract.thresholds,
        accuracy=contract.accuracy,
        default=contract.default,
    )


def _space(request: Request) -> str:
    """Embeddings of other weights are of another space, also when the network keeps its name."""
    return f"{request.name}/{hashlib.sha256(request.checkpoint.read_bytes()).hexdigest()[:8]}"


def _batch_of_one(model: onnx.ModelProto) -> bool:
    return bool(model.graph.input[0].type.tensor_type.shape.dim[0].dim_value == 1)


def _card_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.json")


def _write_card(card: ModelCard, path: Path, graph: Path) -> None:
    """Write the card of the graph at `path`, which lies at `graph` for now."""
    text = card.to_json()
    ModelCard.from_json(text, str(path))  # what the runtime would refuse is refused here
    if card.sha256 != hashlib.sha256(graph.read_bytes()).hexdigest():
        raise ModelError(f"{path}: changed while its card was written")
    with replacing(_card_path(path)) as temporary:
        temporary.write_text(text, encoding="utf-8")
