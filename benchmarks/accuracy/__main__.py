"""`python -m benchmarks.accuracy PROTOCOL ROOT`: error rates of one or several graphs."""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from benchmarks.accuracy.crops import CropSource, default_folder
from benchmarks.shell import one_line
from pocketface import registry
from pocketface.cli.common import positive
from pocketface.detect import FaceDetector
from pocketface.embed import Embedder
from pocketface.errors import PocketfaceError

with one_line():
    from benchmarks.accuracy import embeddings, metrics, plots, report
    from benchmarks.accuracy.protocols import agedb, cfp, cross_lfw, heldout, ijb, lfw, megaface, packs

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.accuracy.metrics import Scores
    from benchmarks.accuracy.protocols.pairs import Pairs
    from pocketface.registry import Model

_PAIRS: dict[str, Callable[[Path, bool], Pairs]] = {
    "lfw": lambda root, aligned: lfw.load(root, aligned=aligned),
    "cfp-ff": lambda root, aligned: cfp.load(root, "FF", aligned=aligned),
    "cfp-fp": lambda root, aligned: cfp.load(root, "FP", aligned=aligned),
    "agedb-30": lambda root, aligned: agedb.load(root, aligned=aligned),
    "calfw": lambda root, aligned: cross_lfw.load(root, "CALFW", aligned=aligned),
    "cplfw": lambda root, aligned: cross_lfw.load(root, "CPLFW", aligned=aligned),
    "pack": lambda root, _: packs.load(root),
    "heldout": lambda root, _: heldout.load(root),
}
_TEMPLATES: dict[str, Literal["IJB-B", "IJB-C"]] = {"ijb-b": "IJB-B", "ijb-c": "IJB-C"}


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    args = _parser().parse_args(arguments)
    try:
        if args.output is not None:
            report.make_folder(args.output)
        return _megaface(args) if args.protocol == "megaface" else _run(args)
    except PocketfaceError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.accuracy", description=__doc__)
    protocols = ", ".join((*_PAIRS, *_TEMPLATES, "megaface"))
    commands = parser.add_subparsers(dest="protocol", required=True, metavar="PROTOCOL", help=protocols)
    for name in (*_PAIRS, *_TEMPLATES):
        command = commands.add_parser(name)
        command.add_argument("root", type=Path, help="the data set's folder, or the .bin file of a pack")
        command.add_argument(
            "-m",
            "--model",
            action="append",
            help="graph or name, repeatable; default: every embedder installed",
        )
        command.add_argument("-d", "--detector", help="graph or name; default: the installed one")
        command.add_argument("--aligned", action="store_true", help="the pictures are 112x112 ArcFace crops")
        command.add_argument("--mirror", action="store_true", help="add the mirrored crop's embedding")
        command.add_argument("--threads", type=int, default=1)
        command.add_argument("--jobs", type=positive, default=1, help="processes that share the pictures")
        command.add_argument("--replicates", type=count, default=200, help="of the bootstrap; 0: none")
        command.add_argument("--cache", type=Path, default=default_folder(), help="%(default)s")
        command.add_argument("-o", "--output", type=Path, help="folder for the JSON, the table and the plots")
        if name in _TEMPLATES:
            command.add_argument("--weighting", choices=["none", "norm", "score", "both"], default="both")
        else:  # pairs of templates need all of a template's pictures
            command.add_argument("--limit", type=positive, help="so many pairs: a look, no figure to quote")
    command = commands.add_parser("megaface")
    for whose in ("probe", "distractor"):
        command.add_argument(f"{whose}_list", type=Path, help="JSON list of the development kit")
        command.add_argument(f"{whose}_folder", type=Path, help="folder of the features it names")
    command.add_argument("--suffix", default=".bin", help="what follows a picture's path in a feature's name")
    command.add_argument("-o", "--output", type=Path, help="folder for megaface.json")
    return parser


def count(text: str) -> int:
    """An argument that is an integer of at least 0."""
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"{value} is negative")
    return value


def _run(args: argparse.Namespace) -> int:
    templates = ijb.load(args.root, _TEMPLATES[args.protocol]) if args.protocol in _TEMPLATES else None
    limit: int | None = None
    if templates is not None:
        pairs = ijb.as_pictures(templates)
    else:
        limit = args.limit
        pairs = _PAIRS[args.protocol](args.root, args.aligned)
        pairs = pairs if limit is None else pairs.first(limit)
    detector = None
    if not (args.aligned or pairs.aligned):
        chosen = registry.find(args.detector, task="detect") if args.detector else registry.default("detect")
        detector = FaceDetector(chosen, threads=args.threads)
    source = CropSource(pairs.pictures, pairs.digest(), detector, args.cache)

    models = [registry.find(name, task="embed") for name in args.model or ()]
    models = models or [model for model in registry.installed() if model.card.task == "embed"]
    entries: list[dict[str, Any]] = []
    vectors: list[embeddings.Embeddings] = []
    curves: dict[str, Scores] = {}
    for model, name in zip(models, _names(models), strict=True):
        made = embeddings.embed(
            source, Embedder(model, threads=args.threads), mirror=args.mirror, jobs=args.jobs
        )
        if templates is None:
            scores = embeddings.score(pairs, made)
        else:
            pooled = ijb.pool(templates, made.vectors, made.norms, made.found, weighting=args.weighting)
            scores = ijb.score(templates, *pooled)
        summary = metrics.summarise(scores, replicates=args.replicates, what=str(args.root))
        entry = report.model_entry(model.card, summary, made)
        entry["card_thresholds"] = report.card_thresholds(entry, pairs.name)
        if templates is None:
            _add_groups(entry, pairs, scores)
        entries.append(entry)
        vectors.append(made)
        curves[name] = scores
    report.compare_precisions(entries, vectors)

    way = "aligned crops" if detector is None else f"end to end, detector {detector.card.name}"
    way += ", mirrored crops added" if args.mirror else ", no mirror averaging"
    first = entries[0]
    counts = f"{first['genuine_pairs']:,} genuine and {first['impostor_pairs']:,} impostor pairs"
    title = f"{pairs.name}, {counts}; {way}"
    text = f"{title}\n\n{report.table(entries)}\n"
    if "relatives" in first:
        text += "\n" + _relatives_table(entries) + "\n"
    if "groups" in first:
        text += "\n" + _groups_table(entries) + "\n"
    print(text)
    if args.output is not None:
        stem = args.protocol if args.protocol != "pack" else f"pack-{args.root.stem}"
        made_by = report.command("benchmarks.accuracy")
        report.write(
            args.output / f"{stem}.json",
            {
                "protocol": pairs.name,
                "way": way,
                "mirror": args.mirror,
                "limited": limit is not None,
                "detector": None if detector is None else detector.card.id,
                "machine": report.machine(),
                "command": made_by,
                "models": entries,
            },
        )
        where = report.machine()
        note = f"`{made_by}`, {where['cpu']}, {where['cpus']} CPUs, {where['date']}\n"
        (args.output / f"{stem}.md").write_text(f"{text}\n{note}", encoding="utf-8")
        plots.draw(curves, title, args.output, stem)
    return 0


def _names(models: list[Model]) -> list[str]:
    """What the plots call each graph: its file's name, or its path where others share the name."""
    files = [model.card.file for model in models]
    return [model.card.file if files.count(model.card.file) == 1 else str(model.path) for model in models]


def _add_groups(entry: dict[str, Any], pairs: Pairs, scores: Scores) -> None:
    """Error rates by group, and of relatives, at the threshold for FMR 1e-3 (1e-2 where that is refused)."""
    values = {point["fmr"]: point["value"] for point in entry["points"]}
    threshold = values[1e-3] if values[1e-3] is not None else values[1e-2]
    if threshold is None:
        return
    if groups := pairs.groups:
        entry["groups"] = metrics.by_group(scores, groups, threshold)
    relatives = pairs.relatives
    if relatives.any():
        kin = scores.score[relatives]
        entry["relatives"] = {
            "pairs": len(kin),
            "fmr": {
                str(point["fmr"]): float(np.mean(kin >= point["value"]))
                for point in entry["points"]
                if point["supported"]
            },
        }


def _relatives_table(entries: list[dict[str, Any]]) -> str:
    """How often relatives pass at each threshold, a graph a row."""
    rates = list(entries[0]["relatives"]["fmr"])
    rows = [
        ["graph", *(f"relatives that match at FMR {float(rate):g}" for rate in rates)],
        ["---"] * (len(rates) + 1),
    ]
    rows += [[e["file"], *(f"{e['relatives']['fmr'][rate]:.2%}" for rate in rates)] for e in entries]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def _groups_table(entries: list[dict[str, Any]]) -> str:
    """A graph a row: how often two people of one group match at the threshold for FMR 1e-3 of all pairs.

    Beside it the TAR within each group, at the threshold where 1e-3 of the group's own pairs match.
    """
    groups = entries[0]["groups"]
    own = [name for name, rates in groups.items() if rates["tar_at_own_fmr"] is not None]
    head = ["graph", *(f"FMR within {name}" for name in groups)]
    head += [f"TAR within {name} at its own FMR 0.001" for name in own]
    rows = [head, ["---"] * len(head)]
    for entry in entries:
        rates = [entry["groups"][name]["fmr"] for name in groups]
        tars = [entry["groups"][name]["tar_at_own_fmr"] for name in own]
        row = ["" if rate is None else f"{rate:.3%}" for rate in rates]
        rows.append([entry["file"], *row, *(f"{tar:.2%}" for tar in tars)])
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def _megaface(args: argparse.Namespace) -> int:
    data = megaface.load(
        args.probe_list, args.probe_folder, args.distractor_list, args.distractor_folder, suffix=args.suffix
    )
    summary = megaface.verification(data)
    rate = megaface.rank_one(data)
    print(f"MegaFace: {len(data.probes):,} probes, {len(data.distractors):,} distractors")
    print(f"identification, rank 1: {rate:.2%}")
    for point in summary.points:
        tar = f"{point.tar:.2%}" if point.tar is not None else f"not enough pairs ({point.impostor_pairs:,})"
        print(f"verification, TAR at FMR {point.fmr:g}: {tar}")
    if args.output is not None:
        command = report.command("benchmarks.accuracy")
        report.write(
            args.output / "megaface.json",
            {
                "rank_1": rate,
                **summary.as_dict(),
                "eer": None if math.isnan(summary.eer) else summary.eer,
                "machine": report.machine(),
                "command": command,
            },
        )
    return 0


if __name__ == "__main__":
    with one_line():
        sys.exit(main())
