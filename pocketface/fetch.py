"""Downloads of public model files: the only code of pocketface that opens a connection.

Nothing is fetched unless asked for. A file is pinned by source, size and sha256; it is downloaded to
a `.part` file, resumed where it stopped, hashed, and only then given its name.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote, urlsplit

from pocketface import graphfile
from pocketface.errors import FetchError, ModelError
from pocketface.install import place_card
from pocketface.known import KNOWN, Known

_CHUNK = 1 << 16
_SLOWEST = 1024  # bytes a second, over one timeout
_ATTEMPTS = 3

Progress = Callable[[int, int], None]


def find(name: str) -> Known:
    """The public file a name means: "sface", "sface.int8" or the file's own name.

    Raises:
        FetchError: no file of that name is offered.
    """
    offered = [entry for entry in KNOWN if entry.url]
    for entry in offered:
        card = entry.card
        if name in (card.file, f"{card.name}.{card.precision}") or (
            name == card.name and card.precision == "fp32"
        ):
            return entry
    names = ", ".join(f"{entry.card.name}.{entry.card.precision}" for entry in offered)
    raise FetchError(f"no public model {name!r}; offered are {names}")


def fetch(
    entry: Known,
    folder: Path,
    *,
    mirror: str | None = None,
    progress: Progress | None = None,
    timeout: float = 30.0,
) -> Path:
    """Download a public model file and put its card beside it.

    Args:
        entry: what to download.
        folder: where it shall lie; made when missing.
        mirror: address of a folder that holds the file under its own name, in place of the pinned source.
        progress: called with bytes so far and bytes in all.
        timeout: seconds without data, or with less than a trickle, after which the source counts as stalled.

    Returns:
        The file. One that is already there and right is left alone, without a connection.

    Raises:
        FetchError: no connection, stalled, truncated, or not the pinned file; nothing is installed.
    """
    card = entry.card
    url = f"{mirror.rstrip('/')}/{quote(card.file)}" if mirror else entry.url
    if url is None or urlsplit(url).scheme not in ("http", "https"):
        raise FetchError(f"{card.name}: {url!r} is no http or https address")
    target = folder / card.file
    part = folder / f"{card.file}.{card.sha256[:12]}.part"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _locked(folder / f"{card.file}.lock"):
            if not (target.is_file() and _sha256(target) == card.sha256):
                _download(url, part, card.size, progress, timeout)
                _check(part, entry, url)
                os.replace(part, target)
            place_card(card, target)
    except OSError as error:
        raise FetchError(f"{target}: {error.strerror or error}") from error
    return target


def _download(url: str, part: Path, size: int, progress: Progress | None, timeout: float) -> None:
    """Fill the part file up to its size; what already lies there is kept."""
    if part.exists() and part.stat().st_size > size:
        part.unlink()
    problem: Exception | None = None
    for _ in range(_ATTEMPTS):
        have = part.stat().st_size if part.exists() else 0
        if have == size:
            return
        try:
            with _open(url, have, timeout) as response:
                start = _start(response, have, size, url)
                with part.open("r+b" if start else "wb") as file:
                    file.seek(start)
                    _copy(response, file, start, size, progress, timeout, url)
                    file.flush()
                    os.fsync(file.fileno())
        except urllib.error.HTTPError as error:
            error.close()
            if error.code == 416:  # the part is no beginning of what the source has now
                part.unlink(missing_ok=True)
            elif error.code < 500 and error.code not in (408, 429):
                raise FetchError(f"{url}: {error.code} {error.reason}") from error
            problem = error
        except (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError) as error:
            problem = error
    have = part.stat().st_size if part.exists() else 0
    if have != size:
        reason = str(problem) if problem else "the source ended early"
        raise FetchError(f"{url}: {have:,} of {size:,} bytes ({reason}); the same command goes on from there")


def _open(url: str, have: int, timeout: float) -> Any:
    headers = {"User-Agent": "pocketface", "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
    return urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=timeout)


def _start(response: Any, have: int, size: int, url: str) -> int:
    """Where the answer's bytes belong; refuses an answer that cannot be the pinned file."""
    resumed = have > 0 and response.status == 206
    if resumed and not str(response.headers.get("Content-Range", "")).startswith(f"bytes {have}-"):
        raise FetchError(f"{url}: the source answered with other bytes than were asked for")
    start = have if resumed else 0
    length = response.headers.get("Content-Length")
    if length is not None and length.isdigit() and start + int(length) != size:
        head = response.read(_CHUNK)
        raise FetchError(f"{url}: {_what(head)}: {start + int(length):,} bytes, the pinned file has {size:,}")
    return start


def _copy(
    response: Any, file: IO[bytes], at: int, size: int, progress: Progress | None, timeout: float, url: str
) -> None:
    since, received = time.monotonic(), 0
    while at < size:
        data = response.read1(min(_CHUNK, size - at))
        if not data:
            return
        file.write(data)
        at += len(data)
        received += len(data)
        if progress is not None:
            progress(at, size)
        elapsed = time.monotonic() - since
        if elapsed > timeout:
            if received < _SLOWEST * elapsed:
                raise TimeoutError(f"stalled at {received / elapsed:.0f} bytes a second")
            since, received = time.monotonic(), 0
    if response.read1(1):
        raise FetchError(f"{url}: the source sends more than the {size:,} bytes of the pinned file")


def _check(part: Path, entry: Known, url: str) -> None:
    if _sha256(part) == entry.card.sha256:
        return
    head = part.read_bytes()[:_CHUNK]
    part.unlink()
    raise FetchError(f"{url}: {_what(head)}: its sha256 is not the pinned one; nothing was installed")


def _what(head: bytes) -> str:
    """What the first bytes look like, when it is a common disguise."""
    try:
        graphfile.check(head, ".tflite", "answer")
    except ModelError as error:
        text = str(error)
        for sign in ("Git LFS pointer", "web page"):
            if sign in text:
                return f"a {sign} in place of the model"
    return "not the model"


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """One download of a file at a time; a second process waits, then finds the file there.

    The operating system drops the lock with the process, however it ends.
    """
    with path.open("a+b") as file:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(file.fileno(), msvcrt.LK_LOCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX)
        yield
