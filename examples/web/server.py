"""A web server for the page, on localhost only."""

from __future__ import annotations

import hashlib
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import PurePosixPath
from urllib.parse import unquote, urlsplit

from examples.web.site import Site

# The same policy stands in index.html for other servers; the header adds what a meta element cannot say.
POLICY = (
    "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; style-src 'self'; "
    "img-src 'self' blob: data:; connect-src 'self'; object-src 'none'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    # Both make the page cross-origin isolated, without which WebAssembly has no threads.
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",
}
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".webmanifest": "application/manifest+json",
    ".svg": "image/svg+xml",
    ".wasm": "application/wasm",
    ".onnx": "application/octet-stream",
}


def serve(site: Site, port: int) -> ThreadingHTTPServer:
    """A server for the site on 127.0.0.1, bound but not yet running.

    Args:
        site: the files.
        port: port, 0 for any free one.

    Raises:
        OSError: the port is taken.
    """
    tags = {name: f'"{hashlib.sha256(data).hexdigest()[:16]}"' for name, data in site.files.items()}

    class Handler(BaseHTTPRequestHandler):
        """Answers GET and HEAD for the files of the site."""

        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            name = unquote(urlsplit(self.path).path).lstrip("/") or "index.html"
            data = site.files.get(name)
            if data is None:
                self._head(HTTPStatus.NOT_FOUND, {"Content-Length": "0"})
                return
            if self.headers.get("If-None-Match") == tags[name]:
                self._head(HTTPStatus.NOT_MODIFIED, {"ETag": tags[name]})
                return
            kind = TYPES[PurePosixPath(name).suffix]
            headers = {"Content-Type": kind, "Content-Length": str(len(data)), "ETag": tags[name]}
            self._head(HTTPStatus.OK, headers)
            if self.command == "GET":
                self.wfile.write(data)

        do_HEAD = do_GET  # noqa: N815 - the name that http.server calls

        def _head(self, status: HTTPStatus, headers: dict[str, str]) -> None:
            self.send_response(status)
            for key, value in {**headers, **HEADERS}.items():
                self.send_header(key, value)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Stay silent: what a visitor opens is nobody's business."""

    return ThreadingHTTPServer(("127.0.0.1", port), Handler)
