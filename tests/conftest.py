"""Where the tests find pictures; `../shared` is not part of a clone, so what needs it skips without it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

# One thread for PyTorch: several workers that each spin on every core make each other crawl.
os.environ.setdefault("OMP_NUM_THREADS", "1")

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder of reference data; skips where it is missing."""
    if not (SHARED / "README.md").is_file():
        pytest.skip("needs ../shared (reference weights and LFW), which is not part of a clone")
    return SHARED


@pytest.fixture(scope="session")
def lfw(shared: Path) -> Path:
    """LFW's original 250x250 pictures, `Name/Name_0001.jpg`, and `pairs.txt`."""
    return shared / "data" / "lfw"


@pytest.fixture(scope="session")
def photos() -> Path:
    """The repository's own public-domain portraits."""
    return ROOT / "examples" / "photos"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]):
    """With POCKETFACE_SHARED=required a test that skips for want of ../shared fails."""
    report = yield
    required = os.environ.get("POCKETFACE_SHARED") == "required"
    if report.skipped and required and "shared" in str(report.longrepr):
        report.outcome = "failed"
    return report
