"""A page to begin with: it says which environment it is, and which database it has been given."""

from __future__ import annotations

import os
import signal
import threading
from html import escape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

TITLE = "Hello"

PAGE = f"""<!doctype html>
<html lang="en">
<title>{TITLE}</title>
<h1>{TITLE} from {escape(os.environ["ENVIRONMENT"])}</h1>
<p>My database is {escape(urlsplit(os.environ["DATABASE_URL"]).path[1:])}.</p>
"""


class Server(ThreadingHTTPServer):
    """Waits at its end for requests under way."""

    daemon_threads = False


class Page(BaseHTTPRequestHandler):
    """One answer per connection."""

    def do_GET(self) -> None:
        body = PAGE.encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        """Health checks are nothing to tell of."""


def main() -> None:
    """Serve until SIGTERM."""
    server = Server(("127.0.0.1", int(os.environ["PORT"])), Page)
    # From another thread: `shutdown` waits for the loop that the signal has interrupted.
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
    server.serve_forever(poll_interval=0.05)
    server.server_close()


if __name__ == "__main__":
    main()
