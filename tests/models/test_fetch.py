"""`pocketface models fetch` against a server that truncates, stalls, lies and serves web pages."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from pocketface import known, registry
from pocketface.cli import main
from pocketface.errors import FetchError
from pocketface.fetch import fetch, find

BODY = bytes(range(256)) * 1200
OTHER = BODY[:-1] + b"!"


class Server(ThreadingHTTPServer):
    """Answers with `behave(handler, first_byte_asked_for)` and remembers what was asked."""

    daemon_threads = True

    def __init__(self, behave: Callable[[BaseHTTPRequestHandler, int], None]) -> None:
        self.asked: list[str | None] = []
        self.done = threading.Event()
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                wanted = self.headers.get("Range")
                server.asked.append(wanted)
                behave(self, int(wanted[len("bytes=") : -1]) if wanted else 0)

            def log_message(self, *args):
                pass

        super().__init__(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/folder/"


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    servers = []

    def start(behave) -> Server:
        servers.append(Server(behave))
        return servers[-1]

    yield start
    for server in servers:
        server.done.set()
        server.shutdown()
        server.server_close()


@pytest.fixture
def entry() -> known.Known:
    card = replace(find("sface").card, size=len(BODY), sha256=hashlib.sha256(BODY).hexdigest())
    return known.Known(card, "http://127.0.0.1:9/unused")


def answer(body: bytes, *, ranges: bool = True, length: int | None = None, status: int = 200):
    def behave(handler, start):
        start = start if ranges else 0
        handler.send_response(206 if start else status)
        if start:
            handler.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        handler.send_header("Content-Length", str(len(body) - start if length is None else length))
        handler.end_headers()
        handler.wfile.write(body[start:])

    return behave


def truncating(body: bytes, step: int, *, ranges: bool = True):
    """Says the right length, sends `step` bytes, closes."""

    def behave(handler, start):
        start = start if ranges else 0
        handler.send_response(206 if start else 200)
        if start:
            handler.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        handler.send_header("Content-Length", str(len(body) - start))
        handler.end_headers()
        handler.wfile.write(body[start : start + step])

    return behave


def run(entry, folder, server, **options):
    return fetch(entry, folder, mirror=server.url, timeout=options.pop("timeout", 5.0), **options)


def graphs_in(folder) -> list[str]:
    return sorted(path.name for path in folder.glob("*") if path.suffix in (".onnx", ".json"))


def test_a_file_arrives_with_its_card(serve, entry, tmp_path):
    steps: list[tuple[int, int]] = []
    server = serve(answer(BODY))
    path = run(entry, tmp_path / "new", server, progress=lambda done, total: steps.append((done, total)))
    assert path.read_bytes() == BODY
    assert registry.read_card(registry.card_file(path)) == entry.card
    assert steps[-1] == (len(BODY), len(BODY))
    assert not list(path.parent.glob("*.part"))


def test_a_file_that_is_there_needs_no_connection(serve, entry, tmp_path):
    server = serve(answer(BODY))
    run(entry, tmp_path, server)
    run(entry, tmp_path, server)
    assert len(server.asked) == 1


def test_a_changed_file_is_fetched_again(serve, entry, tmp_path):
    (tmp_path / entry.card.file).write_bytes(OTHER)
    assert run(entry, tmp_path, serve(answer(BODY))).read_bytes() == BODY


def test_truncated_answers_are_resumed(serve, entry, tmp_path):
    server = serve(truncating(BODY, len(BODY) // 2))
    assert run(entry, tmp_path, server).read_bytes() == BODY
    assert server.asked == [None, f"bytes={len(BODY) // 2}-"]


def test_the_next_run_goes_on_where_the_last_one_stopped(serve, entry, tmp_path):
    with pytest.raises(FetchError, match=r"of 307,200 bytes .*goes on from there"):
        run(entry, tmp_path, serve(truncating(BODY, 1000)))
    assert graphs_in(tmp_path) == []
    server = serve(answer(BODY))
    assert run(entry, tmp_path, server).read_bytes() == BODY
    assert server.asked == ["bytes=3000-"]


def test_a_source_without_ranges_starts_over(serve, entry, tmp_path):
    with pytest.raises(FetchError):
        run(entry, tmp_path, serve(truncating(BODY, 1000, ranges=False)))
    assert run(entry, tmp_path, serve(answer(BODY, ranges=False))).read_bytes() == BODY


def test_a_part_of_something_else_is_noticed_and_thrown_away(serve, entry, tmp_path):
    part = tmp_path / f"{entry.card.file}.{entry.card.sha256[:12]}.part"
    part.write_bytes(b"x" * 1000)
    with pytest.raises(FetchError, match="sha256 is not the pinned one"):
        run(entry, tmp_path, serve(answer(BODY)))
    assert run(entry, tmp_path, serve(answer(BODY))).read_bytes() == BODY


def test_wrong_bytes_of_the_right_size_are_refused(serve, entry, tmp_path):
    with pytest.raises(FetchError, match="not the model: its sha256"):
        run(entry, tmp_path, serve(answer(OTHER)))
    assert graphs_in(tmp_path) == []
    assert not list(tmp_path.glob("*.part"))


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"<!DOCTYPE html><html><body>please log in</body></html>", "a web page in place of the model"),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
            "a Git LFS pointer in place of the model",
        ),
        (BODY + b"more", "307,204 bytes, the pinned file has 307,200"),
        (BODY[:-5], "307,195 bytes, the pinned file has 307,200"),
    ],
)
def test_something_else_is_named(serve, entry, tmp_path, body, reason):
    with pytest.raises(FetchError, match=reason):
        run(entry, tmp_path, serve(answer(body)))
    assert graphs_in(tmp_path) == []


def test_a_web_page_padded_to_the_right_size_is_named(serve, entry, tmp_path):
    page = b"<html>" + b" " * (len(BODY) - 6)
    with pytest.raises(FetchError, match="a web page in place of the model"):
        run(entry, tmp_path, serve(answer(page)))


def test_a_source_that_never_ends_is_cut_off(serve, entry, tmp_path):
    def endless(handler, start):
        handler.send_response(200)
        handler.end_headers()
        try:
            while not handler.server.done.is_set():
                handler.wfile.write(BODY)
        except OSError:
            pass  # the client hung up, as it should

    with pytest.raises(FetchError, match="sends more than"):
        run(entry, tmp_path, serve(endless))
    assert max(path.stat().st_size for path in tmp_path.iterdir()) <= len(BODY)


def test_a_stalled_source_is_given_up(serve, entry, tmp_path):
    def stalls(handler, start):
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(BODY)))
        handler.end_headers()
        handler.wfile.write(BODY[:100])
        handler.wfile.flush()
        handler.server.done.wait(30)

    with pytest.raises(FetchError, match=r"100 of 307,200 bytes \(.*timed out"):
        run(entry, tmp_path, serve(stalls), timeout=0.2)


def test_a_trickle_counts_as_stalled(serve, entry, tmp_path):
    def trickles(handler, start):
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(BODY)))
        handler.end_headers()
        try:
            while not handler.server.done.wait(0.02):
                handler.wfile.write(b"x")
        except OSError:
            pass  # the client hung up, as it should

    with pytest.raises(FetchError, match="stalled"):
        run(entry, tmp_path, serve(trickles), timeout=0.2)


@pytest.mark.parametrize("status", [404, 403, 500])
def test_refusals_are_passed_on(serve, entry, tmp_path, status):
    with pytest.raises(FetchError, match=str(status)):
        run(entry, tmp_path, serve(answer(b"no", status=status)))


def test_no_connection(entry, tmp_path):
    with pytest.raises(FetchError, match=r"http://127.0.0.1:9/unused: 0 of"):
        fetch(entry, tmp_path, timeout=1.0)


@pytest.mark.parametrize("mirror", ["file:///etc", "ftp://host/", "/folder"])
def test_only_http_is_spoken(entry, tmp_path, mirror):
    with pytest.raises(FetchError, match="no http or https address"):
        fetch(entry, tmp_path, mirror=mirror)


def test_two_at_once_download_once(serve, entry, tmp_path):
    server = serve(answer(BODY))
    with ThreadPoolExecutor(4) as pool:
        paths = list(pool.map(lambda _: run(entry, tmp_path, server), range(4)))
    assert {path.read_bytes() for path in paths} == {BODY}
    assert len(server.asked) == 1


def test_the_command_fetches_from_a_mirror(serve, shared, home, capsys):
    body = (shared / "models/face_detection_yunet_2023mar.onnx").read_bytes()
    server = serve(answer(body))
    assert main(["models", "fetch", "yunet", "--mirror", server.url]) == 0
    assert "fetched yunet@8f2383e4dd3c" in capsys.readouterr().out
    model = registry.find("yunet", task="detect")
    assert model.path.parent == registry.user_folder()
    assert model.read() == body


def test_an_unknown_name_lists_the_offered_ones():
    with pytest.raises(FetchError, match=r"sface\.fp32"):
        find("arcface")


def test_offered_files_are_pinned_to_a_commit_over_https():
    for item in known.KNOWN:
        if item.url:
            assert item.url.startswith("https://")
            assert "966be4cb6eefc2a4f586ed0581bf4bbaa2533070" in item.url
            assert item.url.endswith(item.card.file)
