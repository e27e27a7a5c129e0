"""A small service, and what the tests of the process provider see of the world without asking the provider."""

from __future__ import annotations

import contextlib
import io
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import psutil

from providers.process import KIND
from providers.process.provider import ProcessProvider
from twin.domain.targets import Target
from twin.ports.provider import StepContext
from twin.testing.steps import make_step

APP = """
import http.server, json, os, signal, sys

mode = os.environ.get("MODE", "")
if mode == "exit":
    print("cannot start with", os.environ.get("SECRET"), flush=True)
    sys.exit(3)
if mode == "deaf":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if mode == "prints":
    print("my secret is", os.environ.get("SECRET"), flush=True)

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path.startswith("/say/"):
            print(self.path[5:], flush=True)
        body = json.dumps({"pid": os.getpid(), "cwd": os.getcwd(), "env": dict(os.environ)}).encode()
        self.send_response(500 if mode == "sick" else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_):
        pass

http.server.HTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
"""

COMMAND = ["python", "-I", "-S", "app.py"]


def bundle(files: Mapping[str, str] | None = None) -> bytes:
    """A tar.gz with the app and more files."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for name, text in {"app.py": APP, **(files or {})}.items():
            member = tarfile.TarInfo(name)
            member.size = len(text.encode())
            archive.addfile(member, io.BytesIO(text.encode()))
    return out.getvalue()


def open_provider(directory: Path, **config: Any) -> ProcessProvider:
    """A provider whose target is that directory."""
    target = Target(name="test", provider="process", config={"directory": str(directory), **config})
    provider = KIND.open(target, {})
    assert isinstance(provider, ProcessProvider)
    return provider


def step(inputs: Mapping[str, Any], *, content: bytes | None = None, digest: str = "b1", **more: Any) -> StepContext:
    """A step with the app's bundle; the command is the app unless the inputs name one."""
    data = bundle() if content is None else content

    async def read() -> bytes:
        return data

    return make_step({"command": COMMAND, **inputs}, bundle=digest, read_bundle=read, **more)


def processes(component: str) -> list[psutil.Process]:
    """Every live process that carries the component's mark."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get("TWIN_COMPONENT") == component and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def apps(component: str) -> list[psutil.Process]:
    """The processes of the app itself."""
    found = []
    for process in processes(component):
        with contextlib.suppress(psutil.Error):
            if "PORT" in process.environ():
                found.append(process)
    return found


def environments(component: str) -> list[dict[str, str]]:
    """What each process of the app itself was given; also while some of them end."""
    found = []
    for app in apps(component):
        with contextlib.suppress(psutil.Error):
            found.append(app.environ())
    return found


def supervisors(component: str) -> list[psutil.Process]:
    """The parents of the replicas."""
    known = {app.pid for app in apps(component)}
    return [process for process in processes(component) if process.pid not in known]


def ask(url: str) -> dict[str, Any]:
    """What the app says of itself."""
    answer = httpx.get(url, trust_env=False)
    answer.raise_for_status()
    body: dict[str, Any] = answer.json()
    return body
