from __future__ import annotations

from pathlib import Path

import pytest

from pocketface.errors import InputError
from training.resume import cut, read_state, same_settings


def test_rows_after_the_checkpoint_and_a_row_cut_short_are_dropped(tmp_path: Path) -> None:
    log = tmp_path / "log.csv"
    log.write_text("samples,rate,loss\n200,1,3.5\n400,0.9,\n600,0.8,2\n400,0.")
    cut(log, "samples", 400)
    assert log.read_text().splitlines() == ["samples,rate,loss", "200,1,3.5", "400,0.9,"]
    cut(log, "samples", 0)
    assert not log.exists(), "nothing is left, so a new run writes its own columns"


def test_settings_are_compared_in_what_both_know(tmp_path: Path) -> None:
    same_settings(tmp_path, {"a": {"b": 1}}, {"a": {"b": 1, "new": 2}})
    same_settings(tmp_path, {}, {"a": 1})
    with pytest.raises(InputError, match=r"a\.b 1, not 2 and 1 more"):
        same_settings(tmp_path, {"a": {"b": 1}, "c": 3}, {"a": {"b": 2}, "c": 4})


def test_a_file_that_holds_no_weights_is_named(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    for content in (b"", b"no weights", b"PK\x03\x04cut"):
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"weights\.pth"):
            read_state(path)
