"""Where models lie, and which one a name means.

Folders in the order they are searched: `$POCKETFACE_MODELS` (one or several, separated as in PATH),
the user's cache, the package. In each, a graph `x.onnx` has its card beside it as `x.onnx.json` or
`x.json`; well-known public files need none.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from pocketface import engines, graphfile, known, tuning
from pocketface.cards import DTYPES, InputSpec, License, ModelCard, OutputSpec
from pocketface.engines.protocol import TensorInfo
from pocketface.errors import EngineError, InputError, ModelError

SUFFIXES = (".onnx", ".tflite")

# The first that is installed and whose card says `default`, else the first that is installed.
PREFERRED = {
    "embed": ("pocketnet-s128-r", "pocketnet-s128-open", "pocketnet-s128-official", "sface"),
    "detect": ("facedet", "yunet", "yunet-n-dynamic"),
}

# Forms of one network when nothing was tuned on this device and no card claims this processor.
FORMS = tuple(
    (format_, precision) for precision in ("fp32", "fp16", "int8w", "int8") for format_ in ("onnx", "tflite")
)

NO_CARD = "a graph without a card"
"""How the `source` of a card begins that was told by the graph alone; what was assumed follows."""

# What ArcFace-style embedders take; assumed, and said so, for a graph without a card.
ARCFACE_CONTRACT = InputSpec(
    "", "NCHW", "float32", "rgb", (127.5, 127.5, 127.5), (1 / 127.5, 1 / 127.5, 1 / 127.5), (112, 112),
    "arcface-112",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Model:
    """A graph on disk and its card; small, hashable and picklable, the graph is read on `read`."""

    card: ModelCard
    path: Path

    @property
    def id(self) -> str:
        """`name@sha256[:12]`."""
        return self.card.id

    def read(self) -> bytes:
        """The graph's bytes, checked against the card.

        Raises:
            ModelError: missing, tampered, truncated, a Git LFS pointer, a web page, external data.
        """
        try:
            graph = self.path.read_bytes()
        except OSError as error:
            raise ModelError(f"{self.path}: cannot be read ({error.strerror})") from error
        graphfile.check(graph, self.path.suffix, str(self.path))
        if len(graph) != self.card.size:
            raise ModelError(
                f"{self.path}: {len(graph):,} bytes, its card says {self.card.size:,}: "
                "truncated or exchanged; get it again"
            )
        if hashlib.sha256(graph).hexdigest() != self.card.sha256:
            raise ModelError(f"{self.path}: its sha256 is not the card's: the file was changed; get it again")
        return graph

    def threads(self) -> int | None:
        """Threads that `pocketface bench --tune` found best for this file on this device, or None."""
        choice = tuning.load().get(self.card.name)
        return choice.threads if choice is not None and choice.file == self.card.file else None


def folders() -> tuple[Path, ...]:
    """The folders that are searched, first one first; some may not exist."""
    listed = os.environ.get("POCKETFACE_MODELS", "")
    own = [Path(entry) for entry in listed.split(os.pathsep) if entry]
    package = Path(__file__).resolve().parent / "models"
    if not package.is_dir():  # a checkout keeps them beside the package
        package = package.parent.parent / "models"
    try:
        user = [user_folder()]
    except ModelError:  # a service's user without a home
        user = []
    return tuple(dict.fromkeys((*own, *user, package)))


def user_folder() -> Path:
    """Where `pocketface models add` and `fetch` put files; not created here.

    Raises:
        ModelError: this user has no home.
    """
    return tuning.cache_folder() / "models"


def find(
    name_or_path: str | os.PathLike[str],
    *,
    task: str | None = None,
    contract: InputSpec | None = None,
    suffixes: frozenset[str] | None = None,
) -> Model:
    """The model a name or path means.

    Args:
        name_or_path: a file, or a name such as "pocketnet-s128-r" (the best form for this device),
            "pocketnet-s128-r.int8" (that precision), or a file name in one of `folders()`.
        task: "embed" or "detect" when only such a model will do.
        contract: how to feed an embedder that has no card; without it ArcFace's is assumed. A graph
            without a card is uncalibrated: it needs an explicit threshold.
        suffixes: forms to choose from, such as the `formats` of an engine; None for all that run here.

    Raises:
        ModelError: nothing is found, or what is found is damaged or has the other task.
        EngineError: no installed engine runs it.
    """
    text = os.fspath(name_or_path)
    path = Path(text)
    if path.is_file() or (path.suffix in SUFFIXES and path.name != text):
        model = from_file(path, task=task, contract=contract)
    else:
        model = _named(text, suffixes)
    if task is not None and model.card.task != task:
        raise ModelError(f"{text}: its card says {model.card.task!r}, here a model to {task} is needed")
    return model


def default(task: str, *, suffixes: frozenset[str] | None = None) -> Model:
    """The model used when nobody chose one.

    Args:
        task: "embed" or "detect".
        suffixes: as for `find`.

    Raises:
        ModelError: none is installed.
    """
    if task not in PREFERRED:
        raise InputError(f"task must be 'embed' or 'detect', not {task!r}")
    models = [model for model in installed() if model.card.task == task]
    if not models:
        places = ", ".join(str(folder) for folder in folders())
        raise ModelError(
            f"no model to {task} is installed (searched {places}); 'pocketface models fetch "
            f"{'sface' if task == 'embed' else 'yunet'}' downloads one"
        )
    names = PREFERRED[task]
    here = {model.card.name for model in models}
    marked = [name for name in names if any(m.card.name == name and m.card.default for m in models)]
    present = [name for name in names if name in here]
    return _named((marked or present or sorted(here))[0], suffixes)


def installed() -> list[Model]:
    """Every model in `folders()`, in search order; damaged cards are left out (see `problems`)."""
    return [entry for folder in folders() for entry in _scan(folder) if isinstance(entry, Model)]


def problems() -> list[ModelError]:
    """What is wrong with cards and graphs in `folders()` that `installed` leaves out."""
    return [entry for folder in folders() for entry in _scan(folder) if isinstance(entry, ModelError)]


def from_file(path: Path, *, task: str | None = None, contract: InputSpec | None = None) -> Model:
    """The model in a file: its card beside it, a well-known file, or a graph without a card.

    Raises:
        ModelError: the file or its card is missing or damaged, or it is unclear what the graph is.
        EngineError: a graph without a card could not be looked into.
    """
    if not path.is_file():
        raise ModelError(f"{path}: no such file")
    if path.suffix not in SUFFIXES:
        raise ModelError(f"{path}: models are {' or '.join(SUFFIXES)} files")
    card = _card_beside(path) or known.identify(path)
    if card is None:
        card = _guessed_card(path, task, contract)
    return Model(card, path)


def card_file(path: Path) -> Path | None:
    """The card beside a graph, `x.onnx.json` or `x.json`, or None."""
    for candidate in (path.with_name(path.name + ".json"), path.with_suffix(".json")):
        if candidate.is_file():
            return candidate
    return None


def read_card(path: Path) -> ModelCard:
    """Parse the card in a file.

    Raises:
        ModelError: it cannot be read or is wrong.
    """
    try:
        if path.stat().st_size > 1 << 20:
            raise ModelError(f"{path}: too large for a card")
        return ModelCard.from_json(path.read_bytes(), str(path))
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror})") from error


def _card_beside(path: Path) -> ModelCard | None:
    beside = card_file(path)
    if beside is None:
        return None
    card = read_card(beside)
    if card.file != path.name:
        if beside.name == path.name + ".json":
            raise ModelError(f"{beside}: describes {card.file!r}, not {path.name!r}")
        return None  # `x.json` may belong to `x.tflite` beside `x.onnx`
    if path.suffix != f".{card.format}":
        raise ModelError(f"{beside}: 'format' is {card.format!r}, the file is {path.name!r}")
    return card


def _scan(folder: Path) -> Iterator[Model | ModelError]:
    try:
        # Hidden ones are files that are being written, or what macOS leaves beside them.
        paths = sorted(
            path
            for path in folder.iterdir()
            if path.suffix in SUFFIXES and not path.name.startswith(".") and path.is_file()
        )
    except OSError:
        return
    for path in paths:
        try:
            card = _card_beside(path) or known.identify(path)
        except ModelError as error:
            yield error
            continue
        if card is None:
            yield ModelError(
                f"{path}: has no card; 'pocketface models add {path.name}' or use it by its path"
            )
        else:
            yield Model(card, path)


def _named(name: str, suffixes: frozenset[str] | None) -> Model:
    runs = engines.runnable() if suffixes is None else suffixes
    models = installed()
    for folder in folders():
        found = [model for model in models if model.path.parent == folder and name in _names(model)]
        usable = [model for model in found if model.path.suffix in runs]
        if found and not usable:
            if suffixes is None:
                engines.for_format(found[0].path.suffix)  # says what to install
            here = ", ".join(sorted({model.card.file for model in found}))
            raise EngineError(f"{name}: the engine runs {', '.join(sorted(runs))} files; here are {here}")
        if usable:
            choice = tuning.load().get(usable[0].card.name)
            tuned = [model for model in usable if choice is not None and model.card.file == choice.file]
            return (tuned or sorted(usable, key=_form))[0]
    every = ", ".join(sorted({model.card.name for model in models})) or "none"
    fetchable = ", ".join(sorted({entry.card.name for entry in known.KNOWN if entry.url}))
    raise ModelError(
        f"no model {name!r}; installed: {every}; 'pocketface models fetch NAME' downloads {fetchable}"
    )


def _names(model: Model) -> set[str]:
    card = model.card
    return {card.name, f"{card.name}.{card.precision}", model.path.name, model.path.stem}


def fastest_here(model: Model) -> bool:
    """Whether the card says that no form of this embedder is faster on this kind of processor.

    Detectors are left out: their TFLite forms have one input size, whatever the photo's is.
    """
    card = model.card
    return card.task == "embed" and card.speed is not None and tuning.processor() in card.speed.fastest_on


def _form(model: Model) -> tuple[bool, int]:
    return not fastest_here(model), FORMS.index((model.card.format, model.card.precision))


def _guessed_card(path: Path, task: str | None, contract: InputSpec | None) -> ModelCard:
    """A card for a graph that has none: told by its inputs and outputs, never calibrated."""
    graph = path.read_bytes()
    graphfile.check(graph, path.suffix, str(path))
    try:
        session = engines.for_format(path.suffix).load(graph, threads=1)
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from error
    if len(session.inputs) != 1:
        raise ModelError(f"{path}: has {len(session.inputs)} inputs, one picture is expected; give it a card")
    taken = session.inputs[0]
    pictures = len(taken.shape) == 4 and not {3, None}.isdisjoint((taken.shape[1], taken.shape[3]))
    if not pictures or taken.dtype not in DTYPES:
        raise ModelError(
            f"{path}: takes {taken.dtype} {taken.shape}, not float32 or uint8 pictures of three channels; "
            "give it a card"
        )
    layout = "NHWC" if taken.shape[3] == 3 else "NCHW"
    size = taken.shape[1:3] if layout == "NHWC" else taken.shape[2:4]
    kind = _detector_kind(
        [output.name for output in session.outputs], [output.shape for output in session.outputs]
    )
    card = ModelCard(
        name=_as_name(path.stem),
        task="detect",
        kind=kind or "embedder",
        file=path.name,
        sha256=hashlib.sha256(graph).hexdigest(),
        size=len(graph),
        format=path.suffix[1:],
        precision="fp32",
        license=License("unknown", "unknown", "unclear"),
        source=NO_CARD,
        input=_detector_input(kind or "pocketface", taken, layout, (size[0], size[1])),
    )
    if kind is not None and task != "embed":
        return card
    output = session.outputs[0]
    dim = output.shape[-1] if output.shape else None
    if len(session.outputs) != 1 or dim is None:
        raise ModelError(f"{path}: neither a known detector nor one embedding as output; give it a card")
    if contract is None:
        contract = replace(ARCFACE_CONTRACT, layout=layout)
        values = "(pixel - 127.5) / 127.5"
        if taken.dtype == "uint8":  # whatever the graph does with pixels, it does inside
            contract = replace(contract, dtype="uint8", mean=(0.0,) * 3, scale=(1.0,) * 3)
            values = "pixels of 0 to 255"
        card = replace(card, source=f"{NO_CARD}; RGB, {values} and ArcFace's template assumed")
    return replace(
        card,
        task="embed",
        input=replace(contract, name=contract.name or taken.name, batch=contract.batch or taken.shape[0]),
        output=OutputSpec(output.name, dim),
        space=card.id,
    )


def _detector_kind(names: list[str], shapes: list[tuple[int | None, ...]]) -> str | None:
    if {"score_8", "bbox_8", "kps_8"} <= set(names):
        return "pocketface"
    if {"cls_8", "obj_8", "bbox_8", "kps_8"} <= set(names):
        return "yunet"
    if [shape[-1:] for shape in shapes] == [(1,)] * 3 + [(4,)] * 3 + [(10,)] * 3:
        return "scrfd"
    return None


def _detector_input(
    kind: str, taken: TensorInfo, layout: str, size: tuple[int | None, int | None]
) -> InputSpec:
    mean, scale = (127.5, 1 / 128) if kind == "scrfd" and taken.dtype == "float32" else (0.0, 1.0)
    channels = "bgr" if kind == "yunet" else "rgb"
    return InputSpec(
        taken.name, layout, taken.dtype, channels, (mean,) * 3, (scale,) * 3, size, batch=taken.shape[0]
    )


def _as_name(stem: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]", "-", stem)[:100].lstrip(".-_") or "model"
