"""Model cards: the JSON file beside each graph that says what it is and how to feed it.

A card is the contract between a graph and the pipeline (input, output, embedding space), the
evidence behind a decision (thresholds, accuracy) and the terms of use (licences). Parsing is strict:
a card that is misspelt or incomplete is refused with a line that names the field, because a wrong
contract gives wrong answers without an error. The format is described in docs/architecture.md.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import asdict, dataclass, fields
from typing import Any

from pocketface.errors import ModelError
from pocketface.types import Threshold

SCHEMA = 1
MAX_CARD_BYTES = 1 << 20

TASKS = ("embed", "detect")
KINDS = {"embed": ("embedder",), "detect": ("pocketface", "yunet", "scrfd")}
FORMATS = ("onnx", "tflite")
PRECISIONS = ("fp32", "fp16", "int8w", "int8")
COMMERCIAL = ("yes", "no", "unclear")
LAYOUTS = ("NCHW", "NHWC")
DTYPES = ("float32", "uint8")
CHANNELS = ("rgb", "bgr")
TEMPLATES = ("arcface-112",)


@dataclass(frozen=True, slots=True)
class License:
    """Terms of a graph.

    Attributes:
        weights: SPDX id of the weights' licence, or "unknown".
        data: what the training pictures are and under which terms.
        commercial: "yes", "no" or "unclear": may a company use the weights?
        notes: anything a lawyer would ask next.
    """

    weights: str
    data: str
    commercial: str
    notes: str = ""


@dataclass(frozen=True, slots=True)
class InputSpec:
    """How pixels become the graph's input: `(pixel - mean) * scale`, pixel 0..255.

    Attributes:
        name: the graph's input.
        layout: "NCHW" or "NHWC".
        dtype: "float32", or "uint8" for a graph that normalises inside.
        channels: order of `mean`, `scale` and the tensor's channels, "rgb" or "bgr".
        mean: one value a channel, in units of a pixel.
        scale: one factor a channel.
        size: height and width; None for a detector that takes any multiple of 32.
        template: alignment template of an embedder ("arcface-112"), None for detectors.
        batch: the most pictures the graph takes in one call, None for any number.
    """

    name: str
    layout: str
    dtype: str
    channels: str
    mean: tuple[float, float, float]
    scale: tuple[float, float, float]
    size: tuple[int | None, int | None]
    template: str | None = None
    batch: int | None = None


@dataclass(frozen=True, slots=True)
class OutputSpec:
    """An embedder's output: its name in the graph and the embedding's dimension."""

    name: str
    dim: int


@dataclass(frozen=True, slots=True)
class Accuracy:
    """A measured figure and the command that gave it.

    Attributes:
        data: name of the data set.
        protocol: how it was measured.
        metric: what the value is, such as "accuracy" or "TAR at FAR 1e-3".
        value: the figure (a fraction, not percent).
        command: command that repeats it.
    """

    data: str
    protocol: str
    metric: str
    value: float
    command: str = ""


@dataclass(frozen=True, slots=True)
class Speed:
    """Where this form of the network is the fastest one.

    Attributes:
        fastest_on: kinds of processors, of "x86-64", "arm64" (without int8 dot products) and
            "arm64-dotprod" (with them); there the form is the default.
        relative_to_plain: how many times faster than the plain export, None if not measured.
    """

    fastest_on: tuple[str, ...] = ()
    relative_to_plain: float | None = None


@dataclass(frozen=True, slots=True)
class Golden:
    """What an embedder must give for the self-test's crop (`pocketface.golden.crop`).

    Attributes:
        crop: sha256 of the crop's 112 * 112 * 3 bytes.
        values: the first eight values of the unit-norm embedding.
        norm: Euclidean norm of the raw embedding.
    """

    crop: str
    values: tuple[float, ...]
    norm: float


@dataclass(frozen=True, slots=True)
class ModelCard:
    """Everything pocketface knows about one graph file; see docs/architecture.md.

    Attributes:
        name: the network, such as "pocketnet-s128-r"; all its precisions share it.
        task: "embed" or "detect".
        kind: "embedder", or how a detector's outputs are decoded: "pocketface", "yunet", "scrfd".
        file: the graph's file name, in the card's folder.
        sha256: of the file, 64 lower-case hex digits.
        size: of the file, in bytes.
        format: "onnx" or "tflite".
        precision: "fp32", "fp16" (weights), "int8w" (weights only) or "int8".
        license: terms of weights and data.
        source: where the graph comes from.
        input: what it takes.
        output: what an embedder gives; None for detectors.
        space: embeddings may be compared when their spaces are equal; None for detectors.
        thresholds: calibrated decision thresholds; empty means uncalibrated.
        accuracy: measured figures.
        speed: where this form is the fastest, or None.
        golden: expected embedding of the self-test's crop, or None.
        default: whether the project recommends this network when nobody chose one.
    """

    name: str
    task: str
    kind: str
    file: str
    sha256: str
    size: int
    format: str
    precision: str
    license: License
    source: str
    input: InputSpec
    output: OutputSpec | None = None
    space: str | None = None
    thresholds: tuple[Threshold, ...] = ()
    accuracy: tuple[Accuracy, ...] = ()
    speed: Speed | None = None
    golden: Golden | None = None
    default: bool = False

    @property
    def id(self) -> str:
        """`name@sha256[:12]`, as stored in results and galleries."""
        return f"{self.name}@{self.sha256[:12]}"

    @property
    def calibrated(self) -> bool:
        """Whether the card holds measured thresholds."""
        return bool(self.thresholds)

    @classmethod
    def from_json(cls, text: str | bytes, source: str = "card") -> ModelCard:
        """Parse and check a card.

        Args:
            text: the JSON document.
            source: what error messages call it, usually its path.

        Raises:
            ModelError: it is no JSON, a field is missing, unknown or wrong; the message names it.
        """
        if len(text) > MAX_CARD_BYTES:
            raise ModelError(f"{source}: a card of {len(text):,} bytes; {MAX_CARD_BYTES:,} are allowed")
        try:
            data = json.loads(text, parse_constant=_no_constant, object_pairs_hook=_no_duplicates)
        except (ValueError, RecursionError) as error:
            raise ModelError(f"{source}: not a JSON card ({error})") from error
        return _card(_Fields(data, source, "card"))

    def to_json(self) -> str:
        """The card as indented JSON; `from_json` gives it back."""
        data: dict[str, Any] = {"schema": SCHEMA, **asdict(self)}
        for key in ("output", "space", "speed", "golden"):
            if data[key] is None:
                del data[key]
        if not self.default:
            del data["default"]
        return json.dumps(data, indent=2, ensure_ascii=False) + "\n"


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not a number")


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    data = dict(pairs)
    if len(data) != len(pairs):
        raise ValueError("a field appears twice")
    return data


class _Fields:
    """Reads a JSON object field by field; whatever is left over at the end is an error."""

    def __init__(self, data: object, source: str, where: str) -> None:
        self.source = source
        self.where = where
        if not isinstance(data, dict):
            raise self.wrong(f"an object is expected, not {_shown(data)}")
        self.data: dict[str, Any] = dict(data)

    def wrong(self, reason: str) -> ModelError:
        return ModelError(f"{self.source}: {self.where}: {reason}")

    def take(self, key: str, default: Any = ...) -> Any:
        value = self.data.pop(key, default)
        if value is ...:
            raise self.wrong(f"the field {key!r} is missing")
        return value

    def text(self, key: str, default: Any = ...) -> str:
        value = self.take(key, default)
        if not isinstance(value, str) or (default is ... and not value):
            raise self.wrong(f"{key!r} must be text, not {_shown(value)}")
        return value

    def choice(self, key: str, allowed: tuple[str, ...]) -> str:
        value = self.take(key)
        if value not in allowed:
            raise self.wrong(f"{key!r} must be one of {', '.join(allowed)}, not {_shown(value)}")
        return str(value)

    def match(self, key: str, pattern: str, meaning: str) -> str:
        value = self.take(key)
        if not isinstance(value, str) or not re.fullmatch(pattern, value):
            raise self.wrong(f"{key!r} must be {meaning}, not {_shown(value)}")
        return value

    def integer(self, key: str, low: int, high: int) -> int:
        value = self.take(key)
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise self.wrong(f"{key!r} must be an integer of {low} to {high}, not {_shown(value)}")
        return value

    def optional_integer(self, key: str, low: int, high: int) -> int | None:
        if self.data.get(key) is None:
            self.data.pop(key, None)
            return None
        return self.integer(key, low, high)

    def number(
        self, key: str, low: float = -math.inf, high: float = math.inf, default: Any = ...
    ) -> float | None:
        value = self.take(key, default)
        if value is None and default is None:
            return None
        return self.checked_number(key, value, low, high)

    def checked_number(
        self, key: str, value: object, low: float = -math.inf, high: float = math.inf
    ) -> float:
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise self.wrong(f"{key!r} must be a number, not {_shown(value)}")
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if not math.isfinite(number) or not low <= number <= high:
            raise self.wrong(f"{key!r} must be a finite number of {low:g} to {high:g}, not {_shown(value)}")
        return number

    def numbers(self, key: str, count: int) -> tuple[float, ...]:
        value = self.take(key)
        if not isinstance(value, list) or len(value) != count:
            raise self.wrong(f"{key!r} must be a list of {count} numbers, not {_shown(value)}")
        return tuple(self.checked_number(key, number) for number in value)

    def child(self, key: str) -> _Fields:
        return _Fields(self.take(key), self.source, key)

    def children(self, key: str) -> list[_Fields]:
        value = self.take(key, [])
        if not isinstance(value, list):
            raise self.wrong(f"{key!r} must be a list, not {_shown(value)}")
        return [_Fields(item, self.source, f"{key}[{index}]") for index, item in enumerate(value)]

    def done(self) -> None:
        if self.data:
            raise self.wrong(f"unknown field {sorted(self.data)[0]!r}")


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _card(card: _Fields) -> ModelCard:
    schema = card.take("schema")
    if schema != SCHEMA:
        raise card.wrong(
            f"schema {_shown(schema)} is not known to this version, which reads {SCHEMA}; update"
        )
    task = card.choice("task", TASKS)
    embeds = task == "embed"
    known = {field.name for field in fields(ModelCard)}
    values: dict[str, Any] = {
        "name": card.match(
            "name", r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", "a name of letters, digits, '.', '_', '-'"
        ),
        "task": task,
        "kind": card.choice("kind", KINDS[task]),
        "file": card.match("file", r"[A-Za-z0-9][A-Za-z0-9._ +-]{0,199}", "a file name without a folder"),
        "sha256": card.match("sha256", r"[0-9a-f]{64}", "64 lower-case hex digits"),
        "size": card.integer("size", 1, 1 << 40),
        "format": card.choice("format", FORMATS),
        "precision": card.choice("precision", PRECISIONS),
        "license": _license(card.child("license")),
        "source": card.text("source"),
        "input": _input(card.child("input"), embeds),
        "thresholds": tuple(_threshold(item) for item in card.children("thresholds")),
        "accuracy": tuple(_accuracy(item) for item in card.children("accuracy")),
    }
    if embeds:
        values["output"] = _output(card.child("output"))
        values["space"] = card.text("space")
    if "speed" in card.data:
        values["speed"] = _speed(card.child("speed"))
    if "golden" in card.data:
        values["golden"] = _golden(card.child("golden"))
    default = card.take("default", False)
    if not isinstance(default, bool):
        raise card.wrong(f"'default' must be true or false, not {_shown(default)}")
    card.done()
    assert set(values) <= known
    return ModelCard(**values, default=default)


def _license(item: _Fields) -> License:
    result = License(
        weights=item.text("weights"),
        data=item.text("data"),
        commercial=item.choice("commercial", COMMERCIAL),
        notes=item.text("notes", ""),
    )
    item.done()
    return result


def _input(item: _Fields, embeds: bool) -> InputSpec:
    size = item.take("size")
    if not isinstance(size, list) or len(size) != 2:
        raise item.wrong(f"'size' must be [height, width], not {_shown(size)}")
    for side in size:
        if side is None and not embeds:
            continue
        if not isinstance(side, int) or isinstance(side, bool) or not 1 <= side <= 1 << 14:
            raise item.wrong(f"'size' must hold two integers of 1 to 16384, not {_shown(size)}")
    mean = item.numbers("mean", 3)
    scale = item.numbers("scale", 3)
    if 0.0 in scale:
        raise item.wrong("'scale' must not be zero")
    result = InputSpec(
        name=item.text("name"),
        layout=item.choice("layout", LAYOUTS),
        dtype=item.choice("dtype", DTYPES),
        channels=item.choice("channels", CHANNELS),
        mean=(mean[0], mean[1], mean[2]),
        scale=(scale[0], scale[1], scale[2]),
        size=(size[0], size[1]),
        template=item.choice("template", TEMPLATES) if embeds else item.take("template", None),
        batch=item.optional_integer("batch", 1, 1 << 16),
    )
    if not embeds and result.template is not None:
        raise item.wrong("a detector has no 'template'")
    item.done()
    return result


def _output(item: _Fields) -> OutputSpec:
    result = OutputSpec(name=item.text("name"), dim=item.integer("dim", 1, 1 << 16))
    item.done()
    return result


def _threshold(item: _Fields) -> Threshold:
    value = item.number("value", -1.0, 1.0)
    fmr = item.number("fmr", 0.0, 1.0)
    assert value is not None
    result = Threshold(
        value=value,
        fmr=fmr,
        fmr_upper=item.number("fmr_upper", 0.0, 1.0, None),
        data=item.text("data"),
        impostor_pairs=item.integer("impostor_pairs", 1, 1 << 62),
        fnmr=item.number("fnmr", 0.0, 1.0, None),
    )
    item.done()
    return result


def _accuracy(item: _Fields) -> Accuracy:
    value = item.number("value")
    assert value is not None
    result = Accuracy(
        data=item.text("data"),
        protocol=item.text("protocol"),
        metric=item.text("metric"),
        value=value,
        command=item.text("command", ""),
    )
    item.done()
    return result


def _speed(item: _Fields) -> Speed:
    fastest = item.take("fastest_on", [])
    if not isinstance(fastest, list) or not all(isinstance(name, str) for name in fastest):
        raise item.wrong(f"'fastest_on' must be a list of names, not {_shown(fastest)}")
    result = Speed(tuple(fastest), item.number("relative_to_plain", 0.0, default=None))
    item.done()
    return result


def _golden(item: _Fields) -> Golden:
    norm = item.number("norm", 0.0)
    assert norm is not None
    result = Golden(
        crop=item.match("crop", r"[0-9a-f]{64}", "64 lower-case hex digits"),
        values=item.numbers("values", 8),
        norm=norm,
    )
    item.done()
    return result
