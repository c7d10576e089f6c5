from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from training.curves import columns, draw, read_log, smooth

LOG = "samples,rate,hint0,cosine\n" + "".join(
    f"{8 * i},{1 - i / 40},{'' if i > 30 else 0.5},{i / 40}\n" for i in range(1, 40)
)


def test_missing_values_are_no_numbers(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text(LOG)
    values = read_log(tmp_path / "log.csv")
    assert np.isnan(values["hint0"][-1])
    assert values["samples"][-1] == 312


def test_an_empty_log_is_said(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text("samples,rate\n")
    with pytest.raises(ValueError, match="no rows yet"):
        read_log(tmp_path / "log.csv")


def test_smoothing_keeps_means() -> None:
    assert np.allclose(smooth(np.ones(40)), 1)
    assert smooth(np.arange(4.0)).tolist() == [1.5]


def test_a_picture_is_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    (tmp_path / "log.csv").write_text(LOG)
    draw(tmp_path / "log.csv", tmp_path / "log.png")
    assert (tmp_path / "log.png").read_bytes().startswith(b"\x89PNG")


def test_a_run_without_hints_has_one_panel(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    widths = []
    for name, text in (("with", LOG), ("without", LOG.replace("hint0", "loss"))):
        (tmp_path / "log.csv").write_text(text)
        draw(tmp_path / "log.csv", tmp_path / f"{name}.png")
        with Image.open(tmp_path / f"{name}.png") as image:
            widths.append(image.width)
    assert widths[0] == 2 * widths[1]


def test_a_run_killed_before_its_first_row_begins_the_log_anew(tmp_path: Path) -> None:
    log = tmp_path / "log.csv"
    assert columns(log) == []
    log.write_text("")
    assert columns(log) == []
    log.write_text(LOG)
    assert columns(log) == ["samples", "rate", "hint0", "cosine"]
