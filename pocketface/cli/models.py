"""`pocketface models`: what is here, and how more gets here."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path

from pocketface import registry
from pocketface.cards import ModelCard
from pocketface.errors import ModelError, PocketfaceError
from pocketface.registry import Model


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command and its five actions."""
    parser = subparsers.add_parser(
        "models",
        help="list, add, fetch, bundle and check models",
        description="Without an action: the models that are here, with licence, commercial use and accuracy.",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    actions = parser.add_subparsers(dest="action", metavar="ACTION")

    add = actions.add_parser("add", help="register a graph with its card, or a bundle")
    add.add_argument("file", type=Path, help=".onnx or .tflite file, or a bundle (.zip)")
    add.add_argument("--card", type=Path, help="the graph's card, when not beside it and not well known")

    fetch = actions.add_parser(
        "fetch", help="download a public model (the only command that uses the network)"
    )
    fetch.add_argument("name", help="sface, yunet, sface.int8, yunet.int8, or the file's name")
    fetch.add_argument(
        "--mirror", metavar="URL", help="folder of a web server that holds the file under its name"
    )

    export = actions.add_parser(
        "export-bundle", help="write models and cards into one file for offline machines"
    )
    export.add_argument("out", type=Path, metavar="OUT.zip")
    export.add_argument(
        "names", nargs="*", metavar="NAME", help="models; all that are here when none is named"
    )

    verify = actions.add_parser("verify", help="read every graph and compare it with its card")
    verify.add_argument("names", nargs="*", metavar="NAME")
    for action in (add, fetch, export, verify):
        action.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="print JSON")


def run(args: argparse.Namespace) -> int:
    """Run the chosen action; 0 on success, 2 when a model is damaged."""
    action = {
        None: _list,
        "add": _add,
        "fetch": _fetch,
        "export-bundle": _export,
        "verify": _verify,
    }[args.action]
    return action(args)


def _list(args: argparse.Namespace) -> int:
    models = registry.installed()
    problems = [str(problem) for problem in registry.problems()]
    defaults = _defaults()
    if args.json:
        listed = [
            {**asdict(model.card), "id": model.id, "path": str(model.path), "chosen": model in defaults}
            for model in models
        ]
        print(json.dumps({"models": listed, "problems": problems}, indent=2))
        return 0
    rows: list[tuple[str, ...]] = [
        ("", "NAME", "PRECISION", "SIZE", "LICENCE", "COMMERCIAL", "ACCURACY", "WHERE")
    ]
    rows += [_row(model, model in defaults) for model in models]
    _print_table(rows)
    print("\n* is used when none is named. Thresholds and terms in full: pocketface models --json")
    for problem in problems:
        print(f"left out: {problem}", file=sys.stderr)
    return 0


def _row(model: Model, chosen: bool) -> tuple[str, ...]:
    card = model.card
    return (
        "*" if chosen else "",
        card.name,
        f"{card.precision} {card.format}",
        f"{card.size / 1e6:.2f} MB",
        card.license.weights,
        card.license.commercial,
        _accuracy(card),
        str(model.path),
    )


def _accuracy(card: ModelCard) -> str:
    """The first figure about faces; how closely a form follows its source is for `--json`."""
    rows = [row for row in card.accuracy if "cosine" not in row.metric]
    if not rows:
        return "-"
    row = rows[0]
    return " ".join([row.data, *([] if row.metric == "accuracy" else [row.metric]), _figure(row.value)])


def _figure(value: float) -> str:
    return f"{value:.2%}" if 0 <= value <= 1 else f"{value:g}"


def _print_table(rows: Sequence[tuple[str, ...]]) -> None:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]) - 1)]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        print("  ".join([*cells, row[-1]]).rstrip())


def _defaults() -> list[Model]:
    chosen = []
    for task in registry.PREFERRED:
        try:
            chosen.append(registry.default(task))
        except PocketfaceError as error:
            print(error, file=sys.stderr)
    return chosen


def _add(args: argparse.Namespace) -> int:
    from pocketface import install

    _report(install.add(args.file, args.card), args.json, "added")
    return 0


def _fetch(args: argparse.Namespace) -> int:
    from pocketface import fetch

    entry = fetch.find(args.name)
    progress = _progress if sys.stderr.isatty() else None
    path = fetch.fetch(entry, registry.user_folder(), mirror=args.mirror, progress=progress)
    if progress:
        print(file=sys.stderr)
    _report([Model(entry.card, path)], args.json, "fetched")
    return 0


def _progress(done: int, total: int) -> None:
    print(
        f"\r{done / 1e6:8.1f} of {total / 1e6:.1f} MB {done / total:4.0%}",
        end="",
        file=sys.stderr,
        flush=True,
    )


def _export(args: argparse.Namespace) -> int:
    from pocketface import install

    models = _chosen(args.names)
    if not models:
        raise ModelError(f"{args.out}: there is no model to bundle")
    install.export_bundle(args.out, models)
    _report(models, args.json, "bundled")
    return 0


def _verify(args: argparse.Namespace) -> int:
    results = {}
    for model in _chosen(args.names):
        try:
            model.read()
            results[str(model.path)] = "ok"
        except ModelError as error:
            results[str(model.path)] = str(error)
    if not args.names:
        # A path may hold a colon, so a message cannot be cut at one.
        results |= {str(problem).partition(": ")[0]: str(problem) for problem in registry.problems()}
    if args.json:
        print(json.dumps(results, indent=2))
    else:
        for path, result in results.items():
            print(f"ok  {path}" if result == "ok" else f"BAD {result}")
    return 0 if all(result == "ok" for result in results.values()) else 2


def _chosen(names: Sequence[str]) -> list[Model]:
    """Every form of the named models; all that are installed when none is named."""
    if not names:
        return registry.installed()
    chosen: dict[Path, Model] = {}
    for name in names:
        forms = [model for model in registry.installed() if model.card.name == name] or [registry.find(name)]
        chosen |= {model.path: model for model in forms}
    return list(chosen.values())


def _report(models: Iterable[Model], as_json: bool, done: str) -> None:
    rows = [
        {"id": model.id, "path": str(model.path), "commercial": model.card.license.commercial}
        for model in models
    ]
    if as_json:
        print(json.dumps({done: rows}, indent=2))
        return
    for row in rows:
        print(f"{done} {row['id']}: {row['path']} (commercial use: {row['commercial']})")
