"""Puts models into the user's folder: single files, and bundles for machines without a network.

A bundle is a zip of graphs and cards, nothing else. Whatever comes in is checked against its card
in a temporary file and renamed, so a model is either there in full or not at all.
"""

from __future__ import annotations

import tempfile
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from pocketface import known, registry
from pocketface.atomic import replacing
from pocketface.cards import MAX_CARD_BYTES, ModelCard
from pocketface.errors import ModelError
from pocketface.registry import Model

MAX_GRAPH_BYTES = 1 << 30
_MAX_ENTRIES = 200


def add(path: Path, card_path: Path | None = None, folder: Path | None = None) -> list[Model]:
    """Register a graph file or a bundle.

    Args:
        path: an .onnx or .tflite file, or a bundle.
        card_path: the graph's card, when it does not lie beside it and the file is not well known.
        folder: where to; the user's folder when None.

    Returns:
        The models added.

    Raises:
        ModelError: damaged, refused, without a card, or another file of that name is there.
    """
    folder = folder or registry.user_folder()
    if path.suffix == ".zip":
        return _add_bundle(path, folder)
    if card_path is not None:
        if not path.is_file():
            raise ModelError(f"{path}: no such file")
        model = Model(registry.read_card(card_path), path)
    else:
        model = registry.from_file(path)
        if model.card.task == "embed" and registry.card_file(path) is None and not _is_known(model):
            raise ModelError(f"{path}: an embedder needs a card (--card CARD) that says how pixels enter it")
    return [_place(model.card, model.read(), folder)]


def export_bundle(target: Path, models: Iterable[Model]) -> None:
    """Write models and their cards into one zip file, for `add` on another machine.

    Raises:
        ModelError: a model is damaged, or two have the same file name.
    """
    chosen = list(models)
    names = [model.card.file for model in chosen]
    if len(set(names)) != len(names):
        raise ModelError(f"{target}: two of the models have the same file name; name the ones you want")
    with replacing(target) as temporary, zipfile.ZipFile(temporary, "w") as bundle:
        for model in chosen:
            bundle.writestr(model.card.file, model.read())
            bundle.writestr(f"{model.card.file}.json", model.card.to_json())


def place_card(card: ModelCard, graph: Path) -> None:
    """Write a card beside its graph, as `x.onnx.json`."""
    target = graph.with_name(graph.name + ".json")
    with replacing(target) as temporary:
        temporary.write_text(card.to_json(), encoding="utf-8")


def _is_known(model: Model) -> bool:
    return known.identify(model.path) is not None


def _place(card: ModelCard, graph: bytes, folder: Path) -> Model:
    """Write a checked graph and its card into a folder."""
    target = folder / card.file
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if target.is_file() and target.read_bytes() != graph:
            raise ModelError(f"{target}: another file of that name is there; remove it first")
        with replacing(target) as temporary:
            temporary.write_bytes(graph)
        place_card(card, target)
    except OSError as error:
        raise ModelError(f"{target}: {error.strerror or error}") from error
    return Model(card, target)


def _add_bundle(path: Path, folder: Path) -> list[Model]:
    try:
        with zipfile.ZipFile(path) as bundle, tempfile.TemporaryDirectory() as scratch:
            models = _unpack(bundle, Path(scratch), str(path))
            return [_place(model.card, model.read(), folder) for model in models]
    except (OSError, zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise ModelError(f"{path}: not a readable bundle ({error})") from error


def _unpack(bundle: zipfile.ZipFile, scratch: Path, source: str) -> list[Model]:
    """The bundle's models, written to a scratch folder; never more bytes than the cards announce."""
    entries = {entry.filename: entry for entry in bundle.infolist()}
    if not 0 < len(entries) <= _MAX_ENTRIES:
        raise ModelError(f"{source}: a bundle of {len(entries)} files; 1 to {_MAX_ENTRIES} are allowed")
    models = []
    for name, entry in sorted(entries.items()):
        if name != PurePosixPath(name).name or "\\" in name:
            raise ModelError(f"{source}: {name!r} is no plain file name; a bundle holds no folders")
        if not name.endswith(".json"):
            continue
        if entry.file_size > MAX_CARD_BYTES:
            raise ModelError(f"{source}: {name}: too large for a card")
        card = ModelCard.from_json(_member(bundle, entry, MAX_CARD_BYTES), f"{source}: {name}")
        graph = entries.get(card.file)
        if graph is None or not card.file.endswith(registry.SUFFIXES):
            raise ModelError(f"{source}: {name}: its graph {card.file!r} is not in the bundle")
        if card.size > MAX_GRAPH_BYTES:
            raise ModelError(f"{source}: {name}: a graph of {card.size:,} bytes is refused")
        (scratch / card.file).write_bytes(_member(bundle, graph, card.size))
        models.append(Model(card, scratch / card.file))
    described = {model.card.file for model in models}
    loose = [name for name in entries if not name.endswith(".json") and name not in described]
    if loose:
        raise ModelError(f"{source}: {loose[0]!r} has no card in the bundle")
    return models


def _member(bundle: zipfile.ZipFile, entry: zipfile.ZipInfo, limit: int) -> bytes:
    with bundle.open(entry) as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise ModelError(f"{bundle.filename}: {entry.filename}: longer than its card says")
    return data
