"""One stack in its workspace: what the CLI is asked, each question once.

`up`, `preview`, `refresh` and `destroy` are the Automation API's. The short commands go to the CLI directly: the API
would put a deployment with all its secrets into a file, and ask three more times after each `up`.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from pulumi.automation import (
    LocalWorkspace,
    OutputMap,
    PulumiCommand,
    Stack,
    UpdateSummary,
)

from .encryption import Encryption

PROJECT = "twin"
"""The project of all stacks: where the bundle is gone, no Pulumi.yaml tells another."""


_CLI = "pulumi"  # by the PATH that the worker has made


class CliMissing(Exception):
    """There is no `pulumi` program."""


class SourceWrong(Exception):
    """The folder is no Pulumi project."""


class CliFailed(Exception):
    """A command of the CLI did not succeed; the message is what it said on stderr."""


class Workspace:
    """A folder with Pulumi.yaml and the stack's settings. All secrets of it come by environment, none by argv."""

    def __init__(
        self, folder: Path, *, name: str, passphrase: str, key: bytes | None = None, inline: bool = True
    ) -> None:
        self.folder, self.name = folder, name
        self._key = key
        self._encryption: Encryption | None = None
        self._passphrase = passphrase
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        project: dict[str, Any] = {"runtime": "python"} if inline else _project(folder)
        (folder / "Pulumi.yaml").write_text(yaml.safe_dump({**project, "name": PROJECT}))
        if not inline and _installs(project):
            self.ask("install")

    def configure(self, config: Mapping[str, Any], sealed: Collection[str] = ()) -> None:
        """Write the stack's settings, those of these names encrypted."""
        if self._encryption is None:
            self._encryption = Encryption(self._passphrase, self.name, self._key)
        secret = as_programs_read({name: config[name] for name in sealed if name in config})
        values: dict[str, Any] = {
            name: {"secure": self._encryption.seal(value)} if name in secret else value
            for name, value in as_programs_read(config).items()
        }
        settings = {"encryptionsalt": self._encryption.salt, **({"config": values} if values else {})}
        path = self.folder / f"Pulumi.{self.name}.yaml"
        path.write_text(yaml.safe_dump(settings))
        path.chmod(0o600)

    def ask(self, *arguments: str, stdin: str | None = None) -> str:
        """What the CLI answers on stdout. Raises CliFailed, CliMissing."""
        try:
            done = subprocess.run(  # noqa: S603 - the CLI of the target
                [_CLI, *arguments, "--non-interactive"],
                cwd=self.folder,
                input=stdin,
                stdin=subprocess.DEVNULL if stdin is None else None,
                capture_output=True,
                encoding="utf-8",
                check=False,
            )
        except OSError as error:
            raise CliMissing(f"{_CLI}: {error.strerror}") from None
        if done.returncode < 0:  # by a signal, and told as the Automation API tells it
            raise CliFailed(f"code: {done.returncode}\n{done.stderr.strip()}")
        if done.returncode:
            raise CliFailed(done.stderr.strip() or done.stdout.strip() or f"exit code {done.returncode}")
        return done.stdout

    def export(self, *, secrets: bool = True) -> dict[str, Any] | None:
        """The deployment, with its secrets in clear unless they are not needed; None if there is no such stack."""
        try:
            answer = self.ask("stack", "export", *(["--show-secrets"] if secrets else []), "--stack", self.name)
        except CliFailed as failed:
            if absent(str(failed)):
                return None
            raise
        deployment: dict[str, Any] = json.loads(answer).get("deployment") or {}
        return deployment

    def load(self, deployment: Mapping[str, Any]) -> None:
        """Replace the deployment."""
        self.ask("stack", "import", "--stack", self.name, stdin=json.dumps({"version": 3, "deployment": deployment}))

    def init(self) -> None:
        """Make the stack if it is not there."""
        try:
            self.ask("stack", "init", "--no-select", "--stack", self.name)
        except CliFailed as failed:
            if "already exists" not in str(failed):
                raise

    def remove(self) -> None:
        """Remove the stack, whatever its state still names, with its backups."""
        try:
            self.ask("stack", "rm", "--yes", "--force", "--remove-backups", "--preserve-config", "--stack", self.name)
        except CliFailed as failed:
            if not absent(str(failed)):
                raise

    def cancel(self) -> None:
        """Remove the locks that dead processes left; stops nothing."""
        self.ask("cancel", "--yes", "--stack", self.name)

    def tag(self, name: str) -> str | None:
        """A tag of the stack; None if it has none of that name."""
        tags: dict[str, str] = json.loads(self.ask("stack", "tag", "ls", "--json", "--stack", self.name) or "{}")
        return tags.get(name)

    def set_tag(self, name: str, value: str) -> None:
        """Set a tag. It stands in an argv and in the backend in clear: nothing secret."""
        self.ask("stack", "tag", "set", name, value, "--stack", self.name)

    def stacks(self) -> list[str]:
        """The names of all stacks of the project."""
        return sorted(each["name"].rpartition("/")[2] for each in json.loads(self.ask("stack", "ls", "--json")))

    def opened(self, program: Callable[[], Any] | None = None) -> QuickStack:
        """The Automation API's view of it, to work on."""
        return QuickStack(self.name, LocalWorkspace(str(self.folder), program=program, pulumi_command=_command()))


class QuickStack(Stack):
    """A stack that is known to be there, and after an `up` is exported by us: what the API would ask besides, costs the
    start of a program each."""

    def __init__(self, name: str, workspace: LocalWorkspace) -> None:
        self.name = name
        self.workspace = workspace
        self._mode = None  # type: ignore[assignment]

    def outputs(self) -> OutputMap:
        """None: they are in the export."""
        return {}

    def info(self, show_secrets: bool = True) -> UpdateSummary | None:
        """Of an update that succeeded, for if it had not the API would have raised."""
        return UpdateSummary(
            kind="update", start_time=datetime.now(UTC), message="", environment={}, config={}, result="succeeded"
        )


@cache
def _command() -> PulumiCommand:
    try:
        return PulumiCommand()
    except FileNotFoundError:
        raise CliMissing(_CLI) from None
    except subprocess.CalledProcessError as failed:  # it was asked for its version, and perhaps killed at that
        raise CliFailed(f"code: {failed.returncode}") from None


def absent(said: str) -> bool:
    """Whether the CLI says that there is no such stack."""
    return "no stack named" in said or "could not find stack" in said


def _project(folder: Path) -> dict[str, Any]:
    """A team's own Pulumi.yaml, without the place of its state: that is the target's."""
    for name in ("Pulumi.yaml", "Pulumi.yml"):
        if (folder / name).exists():
            project = yaml.safe_load((folder / name).read_text())
            if isinstance(project, dict) and project.get("runtime"):
                project.pop("backend", None)
                return project
            raise SourceWrong(f"{name} names no runtime")
    raise SourceWrong("there is no Pulumi.yaml in it")


def _installs(project: Mapping[str, Any]) -> bool:
    """Whether dependencies go into the folder; those of a Python without an environment of its own would go into the
    twin's."""
    runtime = project["runtime"]
    options = runtime.get("options") or {} if isinstance(runtime, Mapping) else {}
    name = runtime.get("name") if isinstance(runtime, Mapping) else runtime
    return name in ("nodejs", "go", "dotnet") or (name == "python" and bool(options.get("virtualenv")))


def as_programs_read(config: Mapping[str, Any]) -> dict[str, str]:
    """Configuration with full names, and as text."""
    return {_key(name): _text(value) for name, value in config.items()}


def _key(name: str) -> str:
    return name if ":" in name else f"{PROJECT}:{name}"


def _text(value: Any) -> str:
    """As programs read it: text as it is, all else as JSON (true, 5, {"a": 1})."""
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True)
