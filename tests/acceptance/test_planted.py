"""Secrets planted in a stack: made by the cloud, told once, quoted by whatever fails. Nobody meets them in clear, at
any moment of a stack's life, but whoever reveals them and the app that they are for."""

from __future__ import annotations

import contextlib
import json
import secrets
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from tests.acceptance.asking import Follower, ask_everything, plan, run_everything
from tests.acceptance.leaks import Needles, Seen, files_below, read, vault_of, watching
from tests.acceptance.service import Json, Service
from tests.waiting import eventually

BUNDLE = Path(__file__).with_name("planted")
PASSPHRASE, CLOUD_TOKEN, BY_HAND = (f"{name}-{secrets.token_hex(12)}" for name in ("passphrase", "token", "by-hand"))
"""Of this run: other processes of the machine have their own."""


class Planted:
    """A twin with an environment whose secrets are planted, and what all the world sees of it meanwhile."""

    def __init__(self, directory: Path) -> None:
        self.cloud = directory / "cloud"
        self.tmp = directory / "tmp"
        for path in (self.cloud, self.tmp):
            path.mkdir()
        self.service = Service(directory / "twin", local="off", targets_file=self._targets(directory / "targets.yaml"))
        self.needles = Needles()
        self.answers: list[tuple[str, bytes]] = []
        self.environment = ""

    def learn(self) -> None:
        """All that is secret by now: whatever the cloud ever told, and what was given to the twin."""
        self.needles.add({"passphrase": PASSPHRASE, "cloud's token": CLOUD_TOKEN, "by hand": BY_HAND})
        for number, line in enumerate(read(self.cloud / "journal").decode().splitlines()):
            with contextlib.suppress(ValueError):  # a line that is being written
                secret = json.loads(line)
                # Its halves stay the same in every quotation.
                halves = {f"half {n} of secret {number}": half for n, half in enumerate((secret[:24], secret[-24:]))}
                self.needles.add({f"secret {number}": secret, **halves})

    def create(self) -> Json:
        """An environment whose first attempt tells all it knows, and fails."""
        created = self.service.create("dev", "planted", inputs={"tell": True})
        self.environment = created["environment_id"]
        return created

    def send(self, signal: str, **fields: object) -> Json:
        """Send a signal; what was accepted."""
        return self.service.signal(self.environment, signal, **fields)

    def done(self, signal: str, **fields: object) -> None:
        """Send a signal and see it succeed."""
        self.service.succeeded(self.send(signal, **fields))

    def failure(self) -> str:
        """What is told of a failure."""
        view = self.service.reaches(self.environment, "failed")
        return str(view["conditions"][0]["message"])

    def ask(self) -> None:
        """Whatever REST and the command line tell now."""

        self.answers += ask_everything(self.service, self.environment, ("cloud", "app"), logs="app")
        if self.service.environment(self.environment)["status"] == "ready":
            self.answers += run_everything(self.service, "dev", "app")

    def plan(self, **inputs: object) -> str:
        """What a dry run says of an update, with Pulumi's preview."""
        asked = plan(self.service, self.environment, {"signal": "update", "inputs": inputs}, preview=True)
        self.answers.append(asked)
        return asked[1].decode()

    def thing(self, name: str) -> Path:
        """A thing in the cloud."""
        (path,) = self.cloud.glob(f"*-{name}.json")
        return path

    def _targets(self, path: Path) -> Path:
        pulumi = {
            "name": "pulumi/local",
            "config": {"directory": str(path.parent / "twin" / "pulumi"), "env": {"CLOUD": str(self.cloud)}},
            "credentials": {"passphrase": PASSPHRASE, "CLOUD_TOKEN": CLOUD_TOKEN},
        }
        processes = {"name": "process/local", "config": {"directory": str(path.parent / "twin" / "processes")}}
        with path.open("w") as file:
            YAML(typ="safe").dump({"targets": [pulumi, processes]}, file)
        path.chmod(0o600)
        return path


@pytest.fixture
def planted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Planted]:
    made = Planted(tmp_path)
    monkeypatch.setenv("TMPDIR", str(made.tmp))  # of the service: what is left there is searched too
    yield made
    made.service.close()


@pytest.mark.timeout(600)  # a dozen runs of the CLI, beside whatever else the machine does
def test_a_stack_s_secrets_are_nowhere_in_clear(planted: Planted) -> None:
    service, places = planted.service, (planted.service.directory, planted.tmp)
    with watching(*places, needles=planted.needles, learn=planted.learn) as seen:
        process = service.serve()
        service.publish(BUNDLE)
        planted.create()
        follower = Follower(service, planted.environment)
        with follower.following():
            live(planted)
            process = rotate_with_a_kill_in_the_middle(planted, process)
            planted.ask()
            shown = service.api.post(
                f"/v1/environments/{planted.environment}/credentials/reveal", json={"reason": "a test"}
            )
            held = {name: value for name, value in vault_of(service.directory).items() if planted.environment in name}
            planted.done("destroy")
            planted.ask()
        service.stop(process)
    planted.learn()

    needles = planted.needles
    found = {path: needles.within(read(path)) for path in files_below(*places)}
    assert not {path: names for path, names in found.items() if names}
    assert not seen.found, "nor were they there for a moment"
    assert needles.within(read(service.log)) == set()
    assert needles.within(b"\n".join(seen.commands)) == set()
    assert not [(told, names) for told, body in planted.answers if (names := needles.within(body))]
    assert needles.within(b"".join(follower.heard)) == set()
    for_those_alone_who_need_them(planted, seen)
    the_search_finds_what_is_there(planted, seen, follower, shown.content, held)


def live(planted: Planted) -> None:
    """Failures that quote, previews, updates and drift."""
    assert "cannot use" in planted.failure(), "it is told what went wrong"
    planted.done("update", inputs={"tell": False})
    assert "cannot use" in planted.plan(tell=True), "also of a preview that fails"
    planted.plan(text="second")

    planted.thing("door").write_text(json.dumps({"text": "third", "password": BY_HAND}))
    planted.done("detect_drift")
    planted.service.reaches(planted.environment, "ready")
    observed = planted.service.events(planted.environment, "component_observed")
    assert any("third" in each["data"]["drift"].get("door", "") for each in observed)
    assert "third" not in planted.thing("door").read_text(), "the drift was mended"

    planted.send("update", inputs={"text": "refuse"})
    assert "no such text" in planted.failure()
    planted.done("update", inputs={"text": "second", "delay": 1.0})


def rotate_with_a_kill_in_the_middle(planted: Planted, process: subprocess.Popen[bytes]) -> subprocess.Popen[bytes]:
    """kill -9 between the cloud's making of a key and its answer; the service after it."""
    service, journal = planted.service, planted.cloud / "journal"
    before = len(journal.read_text().splitlines())
    rotation = planted.send("rotate_credentials", component="cloud", grace="1s")
    eventually(lambda: len(journal.read_text().splitlines()) > before, within=60, why=service.last_lines)
    service.kill(process)
    process = service.serve()
    service.succeeded(rotation)
    made = len(journal.read_text().splitlines()) - before
    assert made == 2, "the answer with the first key was lost, and another was made"
    return process


def for_those_alone_who_need_them(planted: Planted, seen: Seen) -> None:
    """Environments of processes: what the target was given, in what works for it; the cloud's secrets in the app."""
    assert not seen.readable, "environments are for the owner alone"
    targets = Needles()
    targets.add({"passphrase": PASSPHRASE, "cloud's token": CLOUD_TOKEN})
    holders: dict[str, set[bytes]] = {"app": set(), "stack": set()}
    for command, environs in seen.variables.items():
        for environ in environs:
            names = planted.needles.within(environ)
            holders["stack" if targets.within(environ) else "app"].update({command} if names else ())
            ours = b"TWIN_ENVIRONMENT=" in environ or b"PULUMI_CONFIG_PASSPHRASE=" in environ
            assert ours or not names, f"{command!r} is neither a stack's nor the app's"
            assert not (targets.within(environ) and names - targets.within(environ)), command
    assert holders["stack"], "the target's credentials are seen where they belong"
    assert {command for command in holders["app"] if b"app.py" not in command} == set()


def the_search_finds_what_is_there(
    planted: Planted, seen: Seen, follower: Follower, shown: bytes, held: dict[str, str]
) -> None:
    """The search can fail: where secrets belong they are found, in each form."""
    assert planted.needles.within(shown)
    assert len(planted.needles.secrets) > 12
    assert len(held) >= 2
    assert all(planted.needles.within(value.encode()) for value in held.values())
    planted_here = planted.tmp / "left-behind"
    for form in (shown, read(planted.cloud / "journal")):
        planted_here.write_bytes(form)
        assert any(planted.needles.within(read(path)) for path in files_below(planted.tmp))
    assert seen.rounds > 10
    assert any(b"pulumi" in command for command in seen.commands)
    assert b"step_failed" in b"".join(follower.heard)
