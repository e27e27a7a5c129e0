"""A page that says which replica serves it, and finishes what it is doing when it is told to end."""

from __future__ import annotations

import os
import signal
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Server(ThreadingHTTPServer):
    """Waits at its end for requests under way."""

    daemon_threads = False
    request_queue_size = 128


class Page(BaseHTTPRequestHandler):
    """One answer per connection."""

    def do_GET(self) -> None:
        said = f"{os.environ['GREETING']} from replica {os.environ['REPLICA']}\n".encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

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
