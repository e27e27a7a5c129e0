"""The commands against a real `twin serve`, from a blueprint to the certificate. Its only target starts processes."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

from api.cli.exits import Exit
from tests.waiting import eventually

Twin = Callable[..., Any]

APP = """\
import http.server, os
class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path != "/never" else 503)
        self.end_headers()
        self.wfile.write(os.environ["GREETING"].encode())
print("hello from", os.environ["PORT"], flush=True)
http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Page).serve_forever()
"""

BLUEPRINT = """\
apiVersion: twin/v1
kind: Blueprint
metadata: {name: page, version: VERSION, description: One process}
inputs:
  properties:
    replicas: {type: integer, minimum: 1, maximum: 3, default: 1}
    greeting: {type: string, default: hello}
    health: {type: string, default: /}
components:
  app:
    type: process.service
    inputs:
      command: [python, app.py]
      replicas: ${inputs.replicas}
      env: {GREETING: "${inputs.greeting}"}
      health: {path: "${inputs.health}", deadline: 60}
      stop_grace: 1
"""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A service on a free port; what the command line needs to find it."""
    data = tmp_path_factory.mktemp("data")
    environ = {"TWIN_DATA_DIR": str(data), "TWIN_LOCAL": "off", "TWIN_PORT": "0", "TWIN_LOG_LEVEL": "warning"}
    with subprocess.Popen(
        [sys.executable, "-m", "api.cli.main", "serve"],
        env={**os.environ, **environ},
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        said = ""
        while (found := re.search(r"Twin is at (\S+)", said)) is None:
            line = process.stderr.readline()
            assert line, f"the service ended: {said}"
            said += line
        yield {"TWIN_DATA_DIR": str(data), "TWIN_LOCAL": "off", "TWIN_URL": found[1]}
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)


@pytest.fixture
def environ(served: dict[str, str]) -> dict[str, str]:
    return served


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    (folder / "app.py").write_text(APP)
    (folder / "blueprint.yaml").write_text(BLUEPRINT.replace("VERSION", "1.0.0"))
    return folder


@pytest.fixture(autouse=True)
def target(twin: Twin, served: dict[str, str]) -> None:
    place = f"directory={served['TWIN_DATA_DIR']}/processes"
    assert twin("target", "add", "process/local", "--config", place).code == Exit.DONE


def test_a_life(twin: Twin, folder: Path) -> None:
    up = twin("up", str(folder), "--name", "life", "--project", "shop", "--label", "team=a")
    assert up.code == Exit.DONE, up.err
    url = up.out.strip()
    assert httpx.get(url).text == "hello"
    assert "apply app succeeded" in up.err, "progress, line by line, where there is no terminal"
    assert "twin scale shop/life app replicas=2" in up.err, "and what to type next"

    again = twin("up", str(folder), "--name", "life", "--project", "shop", "-o", "json")
    assert again.json["url"] == url
    assert "exists already, of this very version" in again.err

    assert [each["name"] for each in twin("ls", "--project", "shop", "--label", "team=a", "-o", "json").json] == [
        "life"
    ]
    assert twin("--output", "json", "show", "shop/life").json["status"] == "ready"
    assert twin("open", "shop/life").out.strip() == url

    dry = twin("plan", "shop/life", "scale", "app", "replicas=2")
    assert "apply app" in dry.out
    assert twin("plan", "shop/life").out.startswith("Nothing to do"), "a plan changes nothing"
    assert twin("plan", "shop/life", "detect_drift").code == Exit.DONE, "a signal has its own name, too"

    cloned = twin("plan", "shop/life", "clone", "pr-1", "--tier", "dev", "--ttl", "2h", "--label", "a=b").out
    assert "apply app" in cloned
    assert twin("plan", "shop/life", "clone", "tier=dev", "ttl=2h", "--label", "a=b", "name=pr-1").out == cloned
    wrong = twin("plan", "shop/life", "clone", "pr-1", "data=half")
    assert (wrong.code, "data is 'half'" in wrong.err) == (Exit.REFUSED, True), "the word was read as the option"
    assert twin("plan", "shop/life", "destroy", "force=true").code == Exit.DONE
    assert twin("plan", "shop/life", "clone", "pr-1", "colour=red").code == Exit.USAGE

    refused = twin("scale", "shop/life", "app", "replicas=2", "--expect-plan", "00")
    assert refused.code == Exit.REFUSED
    assert "apply app" in refused.err, "a refused plan comes with the one that it would be"
    digest = dry.out.split()[-1]
    assert twin("scale", "shop/life", "app", "replicas=2", "--expect-plan", digest).code == Exit.DONE

    beyond = twin("scale", "shop/life", "app", "replicas=99")
    assert beyond.code == Exit.REFUSED
    assert "3" in beyond.err.splitlines()[0], "the bound is named"

    scaled = twin("scale", "shop/life", "app", "replicas=1", "-o", "json").json
    assert scaled["operation"]["status"] == "succeeded"

    why = twin("why", "shop/life", "app")
    assert "scale by token:admin" in why.out
    assert "hello from" in twin("logs", "shop/life", "--lines", "5").out
    assert "operation_ended" in twin("events", "shop/life", "-o", "json").out
    assert twin("show", "shop/life", "--as-of", "1d").code == Exit.NOT_FOUND
    assert twin("suspend", "shop/life").code == Exit.DONE
    waiting = twin("update", "shop/life", "--input", "greeting=good day")
    assert waiting.code == Exit.DONE
    assert "waits for: twin resume shop/life" in waiting.err
    assert twin("resume", "shop/life").code == Exit.DONE
    assert httpx.get(twin("open", "shop/life").out.strip()).text == "good day"

    unconfirmed = twin("destroy", "shop/life")
    assert unconfirmed.code == Exit.USAGE, "no terminal to ask at"
    assert "twin destroy shop/life --yes" in unconfirmed.err
    destroyed = twin("destroy", "shop/life", "--yes")
    assert destroyed.code == Exit.DONE
    assert "Certificate of destruction of shop/life" in destroyed.out
    assert twin("destroy", "shop/life", "--yes").out == destroyed.out, "gone is gone, and the certificate stays"
    assert twin("ls", "--project", "shop", "-o", "json").json == []
    assert [each["status"] for each in twin("ls", "--project", "shop", "--all", "-o", "json").json] == ["destroyed"]


def test_history(twin: Twin, folder: Path) -> None:
    assert twin("publish", str(folder)).code == Exit.DONE
    facts = twin("audit", "--type", "target_added", "--limit", "1", "-o", "json")
    assert facts.code == Exit.DONE
    lines = twin("audit", "--format", "ndjson", "--limit", "2").out.splitlines()
    assert [line[0] for line in lines] == ["{", "{"]
    assert twin("audit", "--format", "csv", "--limit", "2").out.count("\n") >= 3, "a header and two rows"
    assert "target added" in twin("audit", "--since", "1h").out
    assert "every hash is right" in twin("audit", "verify").out
    assert twin("audit", "--since", "tomorrow").code == Exit.USAGE


def test_a_detached_create_goes_on_and_can_be_taken_back(twin: Twin, folder: Path, served: Mapping[str, str]) -> None:
    """The health check never succeeds, so the create runs until it is cancelled."""
    words = ["up", str(folder), "--name", "long", "--input", "health=/never"]
    with subprocess.Popen(
        [sys.executable, "-m", "api.cli.main", *words], env={**os.environ, **served}, stderr=subprocess.PIPE, text=True
    ) as following:
        assert following.stderr is not None
        said = ""
        while "apply app started" not in said:
            line = following.stderr.readline()
            assert line, said
            said += line
        following.send_signal(signal.SIGINT)
        said += following.communicate(timeout=30)[1]
    assert following.returncode == Exit.DETACHED
    assert "Detached: create of default/long goes on" in said
    operation = re.findall(r"twin cancel default/long (op_\w+)", said)[0]

    assert twin("show", "long", "-o", "json").json["operations"][0]["id"] == operation, "Ctrl-C cancels nothing"
    other = twin("up", str(folder), "--name", "long", "--tier", "prod")
    assert other.code == Exit.REFUSED, "a tier does not change"
    assert twin("cancel", "long", operation).code == Exit.DONE
    assert twin("show", "long", "-o", "json").json["status"] == "destroyed", "a cancelled create destroys"


def test_blueprints_and_targets(twin: Twin, folder: Path, tmp_path: Path) -> None:
    assert twin("publish", str(folder)).code == Exit.DONE
    assert "was published before" in twin("publish", str(folder)).out
    assert twin("blueprints", "-o", "json").json[0]["name"] == "page"
    (tmp_path / "app.py").write_text("other")
    (tmp_path / "blueprint.yaml").write_text(BLUEPRINT.replace("VERSION", "1.0.0"))
    assert twin("publish", str(tmp_path)).code == Exit.REFUSED, "a published version never changes"
    (tmp_path / "blueprint.yaml").write_text("kind: [")
    broken = twin("publish", str(tmp_path), "-o", "json")
    assert broken.code == Exit.REFUSED
    assert broken.out == "", "an error is no result"
    assert "blueprint.yaml" in broken.err

    assert twin("plan", "nobody", "suspend").code == Exit.NOT_FOUND
    assert "apply app" in twin("up", "page", "--name", "dry", "--dry-run").out
    assert twin("show", "dry").code == Exit.NOT_FOUND, "a dry run makes nothing"
    place = f"directory={tmp_path}/elsewhere"
    assert twin("target", "add", "process/other", "--no-default", "--config", place).code == Exit.DONE
    assert "process/other" in twin("targets").out
    assert twin("target", "remove", "process/other").code == Exit.DONE
    assert twin("target", "remove", "process/other").code == Exit.NOT_FOUND


def test_a_forge_is_a_target_that_nothing_stands_on(twin: Twin, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("0123456789abcdef")
    where = ("--config", "url=https://git.example.com")
    assert twin("target", "add", "gitea/main", *where, "--credential", f"token=@{token}").code == Exit.DONE
    assert "gitea/main" in twin("targets").out
    refused = twin("target", "add", "gitea/other", "--config", "url=git.example.com", "--credential", f"token=@{token}")
    assert refused.code == Exit.REFUSED
    assert "config.url" in refused.err
    source = ("--forge", "gitea/main", "--repository", "acme/page", "--project", "shop", "--blueprint", "page")
    assert "acme/page at gitea/main" in twin("preview", "set", "page", *source, "--ttl", "2d").out
    assert "0 of 5" in twin("preview", "ls").out
    assert "Previews of page in project shop" in twin("preview", "show", "page").out
    hourly = twin("preview", "set", "page", *source, "--reconcile-every", "1h", "--output", "json").json
    assert (hourly["config"]["reconcile_every"], "ttl" in hourly["config"]) == (3600, False), "what is left out is gone"
    wrong = twin("preview", "set", "page", *source, "--ttl", "soon")
    assert (wrong.code, "ttl" in wrong.err) == (Exit.REFUSED, True)
    assert "being destroyed: 0" in twin("preview", "rm", "page").out
    assert twin("preview", "show", "nothing").code == Exit.NOT_FOUND
    # It is needed until the source is at rest, and that forge, which is nowhere, may just now be asked for its list.
    eventually(lambda: twin("target", "remove", "gitea/main").code == Exit.DONE, within=90)
    assert "Nothing is blocked" in twin("blocks").err
    assert twin("blocks", "resolve", "x/y/z").code == Exit.NOT_FOUND


def test_quotas(twin: Twin, folder: Path) -> None:
    assert "unlimited" in twin("quota", "show", "small").out
    shown = twin("quota", "set", "small", "--max", "3", "--tier", "preview=0", "-o", "json")
    assert shown.json["tiers"] == {"preview": 0}
    refused = twin("up", str(folder), "--name", "one", "--project", "small", "--tier", "preview")
    assert refused.code == Exit.REFUSED
    assert "twin quota set small --tier preview=1" in " ".join(refused.err.split())
    assert twin("quota", "set", "small", "--tier", "preview").code == Exit.USAGE
    assert twin("quota", "set", "small", "--tier", "previw=1").code == Exit.REFUSED
    assert "preview" not in twin("quota", "set", "small").out, "all that is left out is unlimited again"


def test_tokens(twin: Twin, monkeypatch: pytest.MonkeyPatch) -> None:
    token = twin("token", "create", "ci", "--role", "shop=viewer").out.strip()
    again = twin("token", "create", "ci", "--role", "shop=admin")
    assert again.code == Exit.REFUSED
    assert "twin token revoke ci" in again.err
    listed = twin("token", "ls")
    assert "shop=viewer" in listed.out
    assert token not in listed.out
    assert [each["name"] for each in twin("token", "ls", "-o", "json").json] == ["admin", "ci"]
    assert twin("token", "revoke", "admin").code == Exit.REFUSED, "nobody could make another"
    assert twin("token", "revoke", "c/i").code == Exit.NOT_FOUND
    monkeypatch.setenv("TWIN_TOKEN", token)
    assert twin("ls", "--project", "shop").code == Exit.DONE
    assert twin("ls").code == Exit.NOT_ALLOWED
    monkeypatch.setenv("TWIN_TOKEN", "twin_wrong")
    wrong = twin("ls")
    assert wrong.code == Exit.NOT_ALLOWED
    assert "Set TWIN_TOKEN" in wrong.err
    monkeypatch.delenv("TWIN_TOKEN")
    assert twin("token", "revoke", "ci").code == Exit.DONE
    monkeypatch.setenv("TWIN_TOKEN", token)
    assert twin("ls", "--project", "shop").code == Exit.NOT_ALLOWED


def test_doctor(twin: Twin, served: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TWIN_POTR", "1")
    found = {each["name"]: each for each in twin("doctor", "-o", "json").json}
    assert {found[name]["state"] for name in ("Python", "service", "token", "ready")} == {"ok"}
    assert "TWIN_PORT" in found["settings"]["mend"]
    token = Path(served["TWIN_DATA_DIR"]) / "token"
    token.chmod(0o644)
    try:
        loose = twin("doctor")
    finally:
        token.chmod(0o600)
    assert loose.code == Exit.FAILED
    assert f"chmod 600 {token}" in loose.out
