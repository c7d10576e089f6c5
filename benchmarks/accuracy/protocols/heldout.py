"""The held-out split of the training faces: all pairs of people that no network here was trained on.

A folder with `manifest.csv` (key, shard, source, identity, split, ...) and tar shards of aligned
faces with an 8-pixel margin around the ArcFace crop. Identities of the source `fiw` are
`fiw:FAMILY/MEMBER`: pairs of two members of one family are the hard impostors.
"""

from __future__ import annotations

import csv
import tarfile
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.accuracy.protocols.pairs import Pairs, Picture
from pocketface.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

MARGIN = 8
_COLUMNS = ("key", "shard", "source", "identity", "split")


def load(root: Path, split: str = "heldout") -> Pairs:
    """Read all pictures of the split and compare each with each.

    Args:
        root: folder with the manifest and the shards.
        split: the manifest's name of the split.

    Raises:
        InputError: the manifest, a shard or a picture is missing or damaged.
    """
    manifest = root / "manifest.csv"
    if not manifest.is_file():
        raise InputError(f"{manifest} is missing: is this the folder of the face shards?")
    rows = {row["key"]: row for row in _rows(manifest) if row["split"] == split}
    data: dict[str, bytes] = {}
    for shard in sorted({row["shard"] for row in rows.values()}):
        try:
            with tarfile.open(root / shard) as tar:
                for member in tar:
                    key = member.name.rsplit(".", 1)[0]
                    stream = tar.extractfile(member) if key in rows else None
                    if stream is not None:
                        data[key] = stream.read()
        except (OSError, tarfile.TarError) as error:
            why = error.strerror if isinstance(error, OSError) and error.strerror else error
            raise InputError(f"{root / shard}: cannot be read ({why}), but the manifest names it") from None
    missing = sorted(rows.keys() - data.keys())
    if missing or not rows:
        raise InputError(f"{manifest}: {len(missing)} of {len(rows)} pictures are in no shard")
    pictures = tuple(
        Picture(
            name=key,
            source=data[key],
            person=row["identity"],
            group=row["source"],
            family=row["identity"].split("/")[0] if row["source"] == "fiw" else "",
            margin=MARGIN,
        )
        for key, row in sorted(rows.items())
    )
    left, right = np.triu_indices(len(pictures), 1)
    person = np.unique([p.person for p in pictures], return_inverse=True)[1]
    same = person[left] == person[right]
    return Pairs("held-out faces", pictures, left, right, same, None, aligned=True)


def _rows(manifest: Path) -> list[dict[str, str]]:
    """The manifest's lines, each with all of `_COLUMNS`."""
    try:
        with manifest.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
    except (ValueError, csv.Error) as error:
        raise InputError(f"{manifest}: cannot be read as CSV ({error})") from None
    for number, row in enumerate(rows, 2):
        if lacking := [name for name in _COLUMNS if row.get(name) is None]:
            raise InputError(f"{manifest}: row {number} has no {', '.join(lacking)}")
    return rows
