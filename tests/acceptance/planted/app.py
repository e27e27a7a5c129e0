"""An app that tells all it was given to its log, and lives."""

import base64
import http.server
import json
import os

for name in ("PASSWORD", "SECRET_KEY"):
    value = os.environ[name]
    print("given", value, repr(value), json.dumps(value), base64.b64encode(value.encode()).decode(), flush=True)


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_):
        pass


http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
