"""Blueprints to be published: folders with everything that an environment of theirs needs."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

APP = """
import http.server
import os


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(os.environ["DATABASE_URL"].rpartition("/")[2].encode())

    def log_message(self, *_):
        pass


http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
"""
"""An app that is up in a moment and answers with the name of its database."""


def folder(path: Path, components: dict[str, Any], *, name: str, version: str = "1.0.0", **more: Any) -> Path:
    """A folder with a blueprint of these components; `more` are further parts of the document."""
    path.mkdir(parents=True)
    document = {
        "apiVersion": "twin/v1",
        "kind": "Blueprint",
        "metadata": {"name": name, "version": version},
        **more,
        "components": components,
    }
    with (path / "blueprint.yaml").open("w") as file:
        YAML(typ="safe").dump(document, file)
    (path / "app.py").write_text(textwrap.dedent(APP))
    return path


def small_guestbook(path: Path) -> Path:
    """The guestbook's components around an app that starts in a moment; what is immutable can be chosen."""
    return folder(
        path,
        {
            "db": {"type": "postgres.database", "inputs": {"locale": "${inputs.locale}"}},
            "cache": {"type": "redis.keyspace"},
            "jobs": {"type": "nats.stream", "inputs": {"subjects": ["jobs.>"], "storage": "${inputs.storage}"}},
            "app": {
                "type": "process.service",
                "inputs": {
                    "command": ["python", "-I", "-S", "app.py"],
                    "replicas": "${inputs.replicas}",
                    "env": {
                        "DATABASE_URL": "${db.secrets.url}",
                        "REDIS_URL": "${cache.secrets.url}",
                        "NATS_URL": "${jobs.secrets.url}",
                    },
                    "stop_grace": 2,
                },
            },
        },
        name="guestbook",
        inputs={
            "properties": {
                "replicas": {"type": "integer", "minimum": 1, "maximum": 5, "default": 1},
                "locale": {"type": "string", "default": "C.UTF-8"},
                "storage": {"type": "string", "default": "file"},
            }
        },
    )
