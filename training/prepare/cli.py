"""The command: from sources of pictures to shards of aligned faces.

    python -m training.prepare fiw=CLONE.git utkface=CLONE.git people=FOLDER --out DIR

Each source is NAME=PATH, a folder or a bare git directory; the names in `sets.py` know which of
their pictures are faces and of whom, any other name takes every face of every picture.
"""

import argparse
import hashlib
import io
import re
import sys
import tarfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps
from tqdm import tqdm

from pocketface.errors import InputError, PocketfaceError
from training.arguments import count
from training.prepare import crops, guard
from training.prepare.pictures import Picture, contents, listing
from training.prepare.sets import KnownSet, family, known_set, person
from training.prepare.shards import Row, Writer, read_manifest
from training.yunet import Faces, YuNet
from training.yunet import Picture as Pixels

SHARED = Path(__file__).resolve().parents[3] / "shared"
GIVEN, LFW, SECOND = SHARED / "data/faces", SHARED / "data/lfw", SHARED / "models/peers/w600k_mbf.onnx"
"""What protects where nothing else is said."""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser("python -m training.prepare", description="Make shards of aligned faces.")
    made.add_argument("sources", nargs="+", metavar="NAME=PATH", help="a folder or a bare git directory")
    made.add_argument("--out", type=Path, required=True, help="folder for shards and manifest.csv")
    made.add_argument(
        "--given",
        help="shards that exist: no picture twice, nobody of their held-out split; '' for none",
    )
    made.add_argument("--lfw", help="LFW's folder: nobody of it is taken; '' for none")
    made.add_argument(
        "--detector", type=Path, default=SHARED / "models/yunet_n_dynamic.onnx", help="YuNet's graph"
    )
    made.add_argument(
        "--embedder",
        type=Path,
        default=SHARED / "models/mobilefacenet_foamliu.onnx",
        help="MobileFaceNet's graph, for nearness",
    )
    made.add_argument("--second", help="second opinion on nearness; '' for none")
    made.add_argument(
        "--people", action="store_true", help="in other sources than known sets a folder is a person"
    )
    made.add_argument(
        "--heldout",
        type=float,
        default=0,
        metavar="FRACTION",
        help="of the people, or of the pictures where nobody is known, kept for evaluation",
    )
    made.add_argument("--prefix", default="extra", help="how shards and keys begin")
    made.add_argument("--shard-size", type=count, default=2000, help="faces in a shard")
    made.add_argument("--per-identity", type=count, default=12, help="pictures of one known person at most")
    made.add_argument(
        "--min-face", type=float, default=48, help="smallest side of the 112 px core, in source pixels"
    )
    made.add_argument("--score", type=float, default=0.7, help="least detector score")
    made.add_argument("--limit", type=int, default=0, help="stop after this many pictures (0: all)")
    return made


def sources(arguments: Sequence[str]) -> dict[str, Path]:
    """NAME=PATH arguments as names and folders; InputError when one is not there."""
    found = {}
    for text in arguments:
        name, equals, path = text.partition("=")
        if not equals:
            name, path = Path(text).name, text
        if not Path(path).is_dir():
            raise InputError(f"no such folder or git directory: {path}")
        found[name] = Path(path)
    return found


def guarding(option: str, said: str | None, usual: Path, holds: str = "") -> Path | None:
    """The path of what protects: `said`, None where that is empty, the usual one where nothing is said.

    `holds` is a pattern of what a folder must have; a file where it is empty. Raises InputError where
    `said` is not there, and prints a warning where the usual one is not.
    """
    if said == "":
        return None
    path = Path(said) if said else usual
    if any(path.glob(holds)) if holds else path.is_file():
        return path
    missing = f"no {holds} in {path}" if holds and path.is_dir() else f"no such path: {path}"
    if said:
        raise InputError(f"--{option}: {missing}; '' for none")
    print(f"warning: --{option}: {missing}; done without it", file=sys.stderr)
    return None


def split_of(identity: str, name: str, fraction: float) -> str:
    """`heldout` for a fraction of families, of pictures `source/path` where nobody is known, else `train`."""
    digest = hashlib.sha1(b"held out " + (family(identity) or name).encode()).digest()
    return "heldout" if int.from_bytes(digest[:6], "big") < fraction * 2**48 else "train"


def _order(picture: Picture) -> str:
    return hashlib.sha1(f"{picture.source}/{picture.path}".encode()).hexdigest()


def candidates(
    sources: dict[str, Path],
    given: list[Row],
    lfw: set[str],
    per_identity: int,
    known_as: Callable[[str], KnownSet] = known_set,
) -> list[Picture]:
    """The pictures worth looking at: in a set, not taken before, of nobody held out or in LFW.

    The order is a fixed shuffle, so that every shard is a sample of all the sources. `known_as` is the
    set of a source's name.
    """
    taken = {row["original"] for row in given}
    held = {family(row["identity"]) for row in given if row["split"] == "heldout" and row["identity"]}
    names = {person(identity) for identity in held} | lfw
    chosen = []
    for name, root in sources.items():
        known = known_as(name)
        for picture in listing(name, root):
            if not known.wants(picture.path) or picture.path in taken:
                continue
            who = known.identity(picture.path)
            if who and (family(who) in held or (person(who) and person(who) in names)):
                continue
            chosen.append(picture)
    count: Counter[str] = Counter()
    fair = []
    for picture in sorted(chosen, key=_order):
        who = known_as(picture.source).identity(picture.path).replace("fiw2:", "fiw:")
        count[who] += bool(who)
        if count[who] <= per_identity:
            fair.append(picture)
    return fair


def decode(data: bytes) -> Pixels | None:
    """Pixels (h, w, 3) uint8 RGB, upright; None for what is no picture of at least 40 px."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            image.draft("RGB", (1280, 1280))
            pixels = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
    return pixels if min(pixels.shape[:2]) >= 40 else None


def _stream(sources: dict[str, Path], pictures: list[Picture]) -> Iterator[tuple[Picture, bytes]]:
    for start in range(0, len(pictures), 512):
        batch = sorted(pictures[start : start + 512], key=lambda picture: picture.source)
        for name, group in groupby(batch, key=lambda picture: picture.source):
            yield from contents(sources[name], list(group))


@dataclass
class Sieve:
    """Lets a face through or says why not."""

    find: Callable[[Pixels, bool], Faces]
    protected: guard.Protected
    seen: guard.Seen
    min_face: float
    known_as: Callable[[str], KnownSet] = known_set
    heldout: float = 0.0

    def sift(self, picture: Picture, data: bytes, writer: Writer) -> str:
        """Give the faces of one picture to the writer; what became of the last of them."""
        pixels = decode(data)
        if pixels is None:
            return "unreadable"
        known = self.known_as(picture.source)
        outcome = "no face"
        for number, points in enumerate(self.find(pixels, known.single).points):
            face, side = crops.crop(pixels, points)
            if side < self.min_face:
                outcome = "small"
                continue
            value = crops.fingerprint(face)
            if self.seen.has_print(value) or self.seen.has(embedding := self.protected.first(face)):
                outcome = "duplicate"
            elif self.protected.near(face, embedding):
                outcome = "near a protected face"
            else:
                outcome = "taken"
                self.seen.add(value, embedding)
                identity = known.identity(picture.path)
                row = {
                    "source": picture.source,
                    "identity": identity,
                    "split": split_of(identity, f"{picture.source}/{picture.path}", self.heldout),
                    "face_px": str(round(side)),
                    "original": picture.path + (f"#{number}" if number else ""),
                }
                writer.add(face, row, value, embedding)
        return outcome


def _digest(options: argparse.Namespace) -> str:
    """Of everything that decides who is protected, for the names of caches."""
    digest = hashlib.sha256()
    files = [options.embedder, options.detector, options.second]
    for path in (*files, options.given and options.given / "manifest.csv"):
        digest.update(hashlib.sha256(path.read_bytes() if path else b"").digest())
    for path in sorted(options.lfw.glob("*/*.jpg")) if options.lfw else []:
        digest.update(f"{path.parent.name}/{path.name}\n".encode())
    return digest.hexdigest()[:12]


def _protected(options: argparse.Namespace, given: list[Row], teacher: YuNet) -> guard.Protected:
    held = {row["key"] for row in given if row["split"] == "heldout"}
    shards = sorted({row["shard"] for row in given if row["split"] == "heldout"})

    def faces() -> Iterator[Pixels]:
        for shard in shards:
            yield from (face for key, face in guard.faces_of(options.given / shard) if key in held)
        if options.lfw:
            yield from guard.portraits_of(options.lfw, teacher)

    second = crops.insightface(options.second) if options.second else None
    made = guard.Protected(crops.foamliu(options.embedder), second)
    cache = options.out / f"protected-{_digest(options)}.npz"
    made.load(lambda: tqdm(faces(), "protected faces", mininterval=5), cache)
    return made


def _seen(options: argparse.Namespace, given: list[Row]) -> guard.Seen:
    """What the given shards hold, by perceptual hash, computed once."""
    cache = options.out / f"given-{_digest(options)}.npy"
    if not cache.is_file():
        shards = sorted({row["shard"] for row in given})
        faces = (face for shard in shards for _, face in guard.faces_of(options.given / shard))
        values = [crops.fingerprint(face) for face in tqdm(faces, "given faces", mininterval=5)]
        np.save(cache, np.array(values, np.uint64).reshape(-1, 4))
    seen = guard.Seen()
    for value in np.load(cache):
        seen.add_print(value)
    return seen


def run(options: argparse.Namespace) -> Counter[str]:
    """Do what the command line says; how many pictures ended how, resumed runs counted in."""
    roots = sources(options.sources)
    if not 0 <= options.heldout < 1:
        raise InputError(f"--heldout {options.heldout:g}: expected a fraction of at least 0, below 1")
    options.given = guarding("given", options.given, GIVEN, "manifest.csv")
    options.lfw = guarding("lfw", options.lfw, LFW, "*/*.jpg")
    options.second = guarding("second", options.second, SECOND)
    for model in (options.detector, options.embedder):
        if not model.is_file():
            raise InputError(f"no such model: {model}")
    given = read_manifest(options.given) if options.given else []
    lfw = {person(":" + p.name) for p in options.lfw.iterdir()} if options.lfw else set()
    known_as = partial(known_set, people=options.people)
    teacher = YuNet(options.detector)
    writer = Writer(options.out, options.prefix, options.shard_size)
    for row in writer.rows:
        name = re.sub(r"#\d+$", "", f"{row['source']}/{row['original']}")
        if row["split"] != split_of(row["identity"], name, options.heldout):
            raise InputError(f"{options.out}: begun with another --heldout: give the same, or another --out")
    sieve = Sieve(
        lambda pixels, single: crops.find(teacher, pixels, single, options.score),
        _protected(options, given, teacher),
        _seen(options, given),
        options.min_face,
        known_as,
        options.heldout,
    )
    done: set[str] = set()
    for looked, prints, embeddings in writer.notes():
        done.update(looked)
        for value, embedding in zip(prints, embeddings, strict=True):
            sieve.seen.add(value, embedding)
    todo = candidates(roots, given, lfw, options.per_identity, known_as)
    todo = [picture for picture in todo if f"{picture.source}/{picture.path}" not in done]
    todo = todo[: options.limit or None]
    files: set[bytes] = set()
    with tqdm(total=len(todo), desc="pictures", mininterval=5) as bar:
        for picture, data in _stream(roots, todo):
            digest = hashlib.sha1(data).digest()
            outcome = "same file" if digest in files else sieve.sift(picture, data, writer)
            files.add(digest)
            writer.looked_at(f"{picture.source}/{picture.path}", outcome)
            bar.set_postfix(taken=writer.counts["taken"], refresh=False)
            bar.update()
    writer.finish()
    return writer.counts


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; 0, or 2 with one line on standard error for bad input."""
    try:
        counts = run(parser().parse_args(arguments))
    except (PocketfaceError, OSError, tarfile.TarError) as error:
        print(f"training.prepare: {error}", file=sys.stderr)
        return 2
    print(", ".join(f"{name} {n}" for name, n in counts.most_common()))
    return 0
