"""Chromium, a server for it to look at, and a film for its camera."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright import sync_api

from examples.web.server import serve
from examples.web.site import Site

FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
TIMEOUT = 60_000  # milliseconds; generous, because a busy machine is no error


@contextmanager
def serving(site: Site) -> Iterator[ThreadingHTTPServer]:
    """Run a server in a thread."""
    server = serve(site, 0)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def launch(playwright, *flags: str):
    path = os.environ.get("CHROMIUM") or shutil.which("chromium")
    if path is None:
        pytest.skip("needs Chromium: apt-get install chromium")
    return playwright.chromium.launch(executable_path=path, args=[*FLAGS, *flags])


def ready(page) -> None:
    sync_api.expect(page.locator("#state")).to_contain_text("Ready", timeout=TIMEOUT)


def write_video(path: Path, photo: Path) -> None:
    """A film of one frame, 640 x 480, YUV 4:2:0, as Chromium's fake camera reads it."""
    frame = Image.new("RGB", (640, 480))
    with Image.open(photo) as image:
        image.thumbnail((480, 480))
        frame.paste(image, ((640 - image.width) // 2, 0))
    luma, blue, red = np.moveaxis(np.asarray(frame.convert("YCbCr")), 2, 0)
    planes = [luma, blue[::2, ::2], red[::2, ::2]]
    header = b"YUV4MPEG2 W640 H480 F5:1 Ip A1:1 C420\nFRAME\n"
    path.write_bytes(header + b"".join(plane.tobytes() for plane in planes))
