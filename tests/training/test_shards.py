from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from synthetic_faces import write_shards

from pocketface.errors import InputError
from training.shards import centre, read_faces


def test_splits_are_kept_apart(tmp_path: Path) -> None:
    write_shards(tmp_path, train=5, heldout=3)
    train, heldout = (read_faces([tmp_path], split) for split in ("train", "heldout"))
    assert (len(train), len(heldout)) == (5, 3)
    assert not {f.key for f in train} & {f.key for f in heldout}
    assert centre(train[0]).shape == (112, 112, 3)
    assert centre(train[0]).dtype == np.uint8


def test_the_same_face_counts_once(tmp_path: Path) -> None:
    write_shards(tmp_path, train=4, heldout=0)
    assert len(read_faces([tmp_path, tmp_path], "train")) == 4


def test_a_shard_not_there_yet_is_skipped(tmp_path: Path) -> None:
    write_shards(tmp_path, train=4, heldout=2)
    (tmp_path / "faces-heldout-000.tar").unlink()
    assert read_faces([tmp_path], "heldout") == []


def test_a_truncated_shard_and_a_folder_without_shards_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no manifest\.csv"):
        read_faces([tmp_path], "train")
    write_shards(tmp_path, train=4, heldout=0)
    shard = tmp_path / "faces-train-000.tar"
    shard.write_bytes(shard.read_bytes()[:1500])
    with pytest.raises(InputError, match=r"faces-train-000\.tar"):
        read_faces([tmp_path], "train")


def test_a_face_of_another_size_is_named(tmp_path: Path) -> None:
    write_shards(tmp_path, train=1, heldout=0, size=96)
    with pytest.raises(InputError, match="128x128"):
        centre(read_faces([tmp_path], "train")[0])
