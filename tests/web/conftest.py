"""The page served on localhost, and Chromium to look at it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from examples.web.site import RUNTIME, RUNTIME_FILES, Site
from pocketface import FaceRecognizer
from pocketface.errors import ModelError

from .chromium import TIMEOUT, launch, ready, serving, sync_api, write_video


@pytest.fixture(scope="session")
def site() -> Site:
    if not all((RUNTIME / name).is_file() for name in RUNTIME_FILES):
        pytest.skip("needs ONNX Runtime Web: npm ci in examples/web")
    try:
        return Site.build()
    except ModelError as error:
        pytest.skip(f"needs models: {error}")


@pytest.fixture(scope="session")
def models(site: Site, tmp_path_factory) -> Path:
    """The models as the page gets them, in files for Python."""
    folder = tmp_path_factory.mktemp("site")
    site.write(folder)
    return folder / "models"


@pytest.fixture(scope="session")
def recognizer(models: Path) -> FaceRecognizer:
    paths = {}
    for name in ("detector", "embedder"):
        # The page's fixed file names are not the cards'; Python wants a graph under its card's name.
        file = json.loads((models / f"{name}.json").read_bytes())["file"]
        folder = models / name
        folder.mkdir()
        paths[name] = folder / file
        shutil.copy(models / f"{name}.onnx", paths[name])
        shutil.copy(models / f"{name}.json", paths[name].with_suffix(".json"))
    return FaceRecognizer(**paths, engine="onnxruntime", threads=1)


@pytest.fixture(scope="session")
def address(site: Site) -> Iterator[str]:
    with serving(site) as server:
        yield f"http://localhost:{server.server_address[1]}/"


@pytest.fixture(scope="session")
def playwright():
    with sync_api.sync_playwright() as playwright:
        yield playwright


@pytest.fixture(scope="session")
def browser(playwright, faces, tmp_path_factory):
    """Chromium whose camera shows the first of `faces`."""
    video = tmp_path_factory.mktemp("camera") / "face.y4m"
    write_video(video, faces[0])
    flags = ["--use-fake-device-for-media-stream", f"--use-file-for-fake-video-capture={video}"]
    browser = launch(playwright, *flags)
    yield browser
    browser.close()


@pytest.fixture(scope="session")
def faces(photos: Path) -> list[Path]:
    """The repository's own portraits: two people, and the first again."""
    names = ("eileen-collins.jpg", "grace-hopper.jpg", "eileen-collins-second-take.jpg")
    return [photos / name for name in names]


@pytest.fixture
def context(browser):
    """A visitor's profile without anything stored."""
    context = browser.new_context()
    context.set_default_timeout(TIMEOUT)
    yield context
    context.close()


@pytest.fixture(scope="session")
def loaded(browser, address: str):
    """The page, loaded once because that takes a second or two; it must ask nobody else for anything."""
    context = browser.new_context()
    context.set_default_timeout(TIMEOUT)
    addresses: list[str] = []
    errors: list[str] = []
    context.on("request", lambda request: addresses.append(request.url))
    page = context.new_page()
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.goto(address)
    ready(page)
    yield page
    context.close()
    assert [url for url in addresses if not url.startswith((address, f"blob:{address}"))] == []
    assert errors == []


@pytest.fixture
def page(loaded):
    """The loaded page, at a desktop's size and without the camera's permission."""
    loaded.set_viewport_size({"width": 1100, "height": 900})
    yield loaded
    loaded.context.clear_permissions()
