"""Serve the page on this machine: `python -m examples.web`, then open the printed address."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from examples.web.server import serve
from examples.web.site import Site, SiteError
from pocketface.errors import PocketfaceError


def main() -> int:
    """Serve the page, or write it out for another web server."""
    parser = argparse.ArgumentParser(prog="python -m examples.web", description=main.__doc__)
    parser.add_argument("--port", type=int, default=8000, help="on localhost (8000; 0: any free one)")
    parser.add_argument("--detector", metavar="MODEL", help="name or path of another detector")
    parser.add_argument("--embedder", metavar="MODEL", help="name or path of another embedder")
    parser.add_argument("--out", type=Path, help="write the files into this folder instead of serving them")
    args = parser.parse_args()
    if not 0 <= args.port <= 65535:
        parser.error(f"--port {args.port}: a port is a number from 0 to 65535")
    try:
        site = Site.build(detector=args.detector, embedder=args.embedder)
        if args.out is not None:
            site.write(args.out)
            print(f"wrote {len(site.files)} files to {args.out}")
            return 0
        server = serve(site, args.port)
    except (SiteError, PocketfaceError, OSError) as error:
        print(f"examples.web: {error}", file=sys.stderr)
        return 2
    print(f"http://localhost:{server.server_address[1]}/  (stop with Ctrl-C)", flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        print()
    finally:
        server.server_close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
