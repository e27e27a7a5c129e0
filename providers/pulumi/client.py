"""The worker's side of a child that runs Pulumi: its environment, its order, its answer."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
import sys
from base64 import b64encode
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from providers.pulumi.child.encryption import derived
from providers.pulumi.child.state import texts
from providers.pulumi.errors import blocked, failure, no_result
from providers.pulumi.layout import Layout
from providers.pulumi.spec import PASSPHRASE, PASSWORD, Config, backend_url
from twin.children import environment
from twin.children.hiding import words_to_hide
from twin.children.running import NoInterpreter, run
from twin.domain.errors import Transient

CHILD = Path(__file__).with_name("child")
SEALING = ("apply", "retire", "preview", "observe", "remove")
_KEYS = 1000  # derived keys that are kept
_LONG = 12  # characters from which a value of the configuration is hidden: a shorter one is an ordinary setting


class Client:
    """Starts children for one target."""

    def __init__(self, target: str, settings: Config, credentials: Mapping[str, str], layout: Layout) -> None:
        self._target = target
        self._settings = settings
        self._credentials = credentials
        self._layout = layout
        self._keys: dict[str, str] = {}

    async def ask(
        self,
        operation: str,
        *,
        stack: str,
        marks: Mapping[str, str],
        deadline: datetime,
        beat: Callable[[str], Awaitable[None]],
        tree: Path | None = None,
        source: str | None = None,
        hidden: Mapping[str, Any] | None = None,
        **order: Any,
    ) -> dict[str, Any]:
        """Have a child do one operation and return its result.

        `tree` is the bundle, unpacked; `source` the folder of it that is a Pulumi project; `hidden` what must not show
        up in a failure. `beat` hears the progress. Raises the failure that the child's report means, Transient if it
        was killed or the deadline came first.
        """
        cli = self._cli()
        report: dict[str, Any] = {}
        progress = ["starting"]

        def take(line: str) -> None:
            told = json.loads(line)
            if told["kind"] == "progress":
                progress[0] = told["text"]
            else:
                report.update(told)

        async def beating() -> None:
            await beat(progress[0])

        words = sorted(
            {*words_to_hide(self._credentials.values()), *words_to_hide(texts(hidden or {}), _LONG)},
            key=len,
            reverse=True,
        )
        with self._layout.scratch() as folder:
            workspace = folder / "workspace"
            if source is not None and tree is not None:
                await asyncio.to_thread(_copy, tree / source, workspace)
            message = {
                "operation": operation,
                "stack": stack,
                "workspace": str(workspace),
                "tree": None if tree is None else str(tree),
                "source": source is not None,
                "key": await self._key(stack) if operation in SEALING else None,
                **order,
            }
            try:
                output = await run(
                    [sys.executable, "-I", str(CHILD)],
                    cwd=folder,
                    env=self._environment(folder, marks, cli),
                    marks=marks,
                    deadline=deadline,
                    beat=beating,
                    input=json.dumps(message),
                    on_line=take,
                    secrets=words,
                )
            except NoInterpreter as failed:
                raise blocked(
                    self._target,
                    "interpreter",
                    f"cannot start Python in a clean environment: {failed}",
                    "Have the twin run on a Python that starts with `env -i`",
                ) from None
            except TimeoutError:
                raise Transient(f"Stack {stack} was not done within the attempt's time.") from None
        match report.get("kind"):
            case "result":
                return report
            case "failure":
                known = {*words, *words_to_hide(report["secrets"])}
                raise failure(self._target, stack, report, sorted(known, key=len, reverse=True))
            case _:
                raise no_result(stack, output.code, output.text)

    async def _key(self, stack: str) -> str:
        """With which the child seals the stack's secrets. It goes the way of the secrets: by the pipe."""
        if stack not in self._keys:
            key = await asyncio.to_thread(derived, self._credentials[PASSPHRASE], stack)
            while len(self._keys) >= _KEYS:
                self._keys.pop(next(iter(self._keys)))
            self._keys[stack] = b64encode(key).decode()
        return self._keys[stack]

    def _cli(self) -> Path:
        found = self._settings.cli or find_cli()
        if found is None or not os.access(found, os.X_OK):
            raise blocked(
                self._target,
                "cli",
                "has no Pulumi CLI on this worker",
                "Run `make tools`, or install Pulumi 3.250 and put `pulumi` on the PATH of the twin",
            )
        return Path(found).absolute()

    def _environment(self, folder: Path, marks: Mapping[str, str], cli: Path) -> dict[str, str]:
        """Nothing of the worker's own; the target's credentials, for what runs here acts on its behalf."""
        variables = {k: v for k, v in self._credentials.items() if k not in (PASSPHRASE, PASSWORD)}
        return {
            **environment.loader(),
            **environment.network(),
            **self._settings.env,
            **variables,
            **environment.clean(str(folder / "home"), folder / "tmp", marks, first=(self._layout.bin, cli.parent)),
            "PULUMI_HOME": str(self._layout.plugins),
            "PULUMI_BACKEND_URL": backend_url(self._settings, self._credentials),
            "PULUMI_CONFIG_PASSPHRASE": self._credentials[PASSPHRASE],
            "PULUMI_SKIP_UPDATE_CHECK": "true",
            "PULUMI_DISABLE_CI_DETECTION": "true",
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONWARNINGS": "ignore",
            "GRPC_VERBOSITY": "NONE",
        }


def find_cli() -> str | None:
    """The CLI of `make tools`, or that on the PATH of the twin."""
    places = [str(Path(__file__).parents[2] / ".tools"), ".tools", os.environ.get("PATH", "")]
    return shutil.which("pulumi", path=os.pathsep.join(places))


def this_host() -> str:
    """This machine since its start, and the space in which its process numbers count."""
    parts = [socket.gethostname()]
    for path in ("/proc/sys/kernel/random/boot_id", "/proc/self/ns/pid"):
        try:
            parts.append(os.readlink(path) if path.endswith("pid") else Path(path).read_text().strip())
        except OSError:
            parts.append("")
    return "|".join(parts)


def _copy(source: Path, to: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, to, symlinks=True)
    else:
        to.mkdir(mode=0o700)  # the child tells that there is no project in it
