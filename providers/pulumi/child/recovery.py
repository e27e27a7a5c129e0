"""After a crash: whose lock it is, what the world made of a cut create, and a deployment that agrees with the world.

A killed `up` leaves its lock and its pending operations. Forced on, the next one would create a second time what the
first had created; so each pending create is asked for in the world. What nobody can answer is a question to a human.
"""

from __future__ import annotations

import base64
import json
import re
import socket
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

import dill
import psutil
from pulumi.dynamic import Config, ConfigureRequest, ResourceProvider
from pulumi.runtime._serialization import _deserialize

from .stack import PROJECT, Workspace
from .state import PROVIDER, Deployment, State, creates, name_of, pending, plain, settled

_LOCK = re.compile(r"created by \S*?@(?P<host>\S+) \(pid (?P<pid>\d+)\) at (?P<at>\S+)")
_STILL_ENDING = 5.0  # seconds
_CLOCK_SLACK = 2.0  # seconds: a lock's time has whole ones, a process's start comes from the kernel's ticks

ATTEMPT = "twin:attempt"
"""The stack's tag that says who works on it: host, deadline, and digests of the inputs."""


class Elsewhere(Exception):
    """Another machine may still be at work, until `until` (seconds since 1970)."""

    def __init__(self, host: str, until: float) -> None:
        super().__init__(f"an attempt on {host} may still be at work")
        self.until = until


class Questions(Exception):
    """Pending creates that nobody could answer for."""

    def __init__(self, questions: list[dict[str, Any]]) -> None:
        super().__init__("pending creates")
        self.questions = questions


class Recovery:
    """What is known of how to ask the world: answers of a human, a hook of the bundle, types whose id is an input."""

    def __init__(
        self,
        workspace: Workspace,
        *,
        host: str,
        answers: Mapping[str, str | None],
        hook: Callable[..., Any] | None,
        ids: Mapping[str, str],
        config: Mapping[str, str],
        longest: float,
    ) -> None:
        self._workspace = workspace
        self._host = host
        self._answers = answers
        self._hook = hook
        self._ids = ids
        self._config = config
        self._longest = longest
        self._before: dict[str, Any] | None = None

    def ensure(self, deployment: Deployment) -> Deployment:
        """A deployment without pending operations. Raises Elsewhere, Questions."""
        if not pending(deployment):
            return deployment
        self.take_over()
        deployment = self._workspace.export() or {}  # as it was when the other had ended
        found: dict[str, str | None] = {}
        questions = []
        for resource in creates(deployment):
            try:
                found[resource["urn"]] = self._look(resource)
            except LookupError as why:
                questions.append(_question(resource, str(why)))
        if questions:
            raise Questions(questions)
        mended = settled(deployment, found)
        self._workspace.load(mended)
        return mended

    def remember(self) -> None:
        """Read who worked on it before; call it before claiming it."""
        self._before = attempt(self._workspace)

    def take_over(self, said: str = "") -> None:
        """Remove the locks of the attempt before; `said` is how the CLI told of them. Raises Elsewhere.

        The worker has ended whatever of that attempt was on this machine; one on another machine can act until its
        deadline.
        """
        record = self._before if self._before is not None else attempt(self._workspace)
        until = float(record.get("deadline", 0.0))
        elsewhere = bool(record) and record.get("host") != self._host
        if elsewhere and time.time() < until:
            raise Elsewhere(str(record.get("host")), until)
        for lock in _LOCK.finditer(said):
            made = datetime.fromisoformat(lock["at"].replace("Z", "+00:00")).timestamp()
            if lock["host"] != socket.gethostname():
                until = max(until if elsewhere else 0.0, made + self._longest)
                if time.time() < until:
                    raise Elsewhere(lock["host"], until)
            elif _is_that_pulumi(int(lock["pid"]), made):
                raise Elsewhere(f"{lock['host']} (process {lock['pid']})", time.time() + _STILL_ENDING)
        self._workspace.cancel()

    def _look(self, resource: State) -> str | None:
        """The id under which the resource exists, None if it is proven absent; LookupError if none can tell."""
        for known_as in (resource["urn"], name_of(resource["urn"])):
            if known_as in self._answers:
                return self._answers[known_as]
        inputs, _ = plain(resource.get("inputs") or {})
        kind, name = resource["type"], name_of(resource["urn"])
        provider = dynamic_provider(resource)
        if provider is not None:
            configured = Config(raw_config=dict(self._config), project_name=PROJECT)
            provider.configure(ConfigureRequest(config=configured))
        shown = {key: value for key, value in inputs.items() if key != PROVIDER}
        why = "neither its provider nor the bundle can look it up"
        lookup = getattr(provider, "lookup", None)
        if callable(lookup):
            try:
                return _identity(lookup(shown))
            except Exception as error:
                why = f"its provider's lookup failed: {error}"
        if self._hook is not None:
            try:
                return _identity(self._hook(kind, name, shown))
            except Exception as error:
                why = f"the bundle's lookup failed: {error}"
        if kind in self._ids and isinstance(inputs.get(self._ids[kind]), str):
            return str(inputs[self._ids[kind]])  # adopted under it; if it is absent, the refresh takes it out again
        raise LookupError(why)


def _is_that_pulumi(pid: int, locked: float) -> bool:
    """Whether the process of this number is the one that locked: a Pulumi, and begun before. A number may be another's
    by now, also another Pulumi's."""
    try:
        process = psutil.Process(pid)
        return process.create_time() <= locked + _CLOCK_SLACK and any("pulumi" in each for each in process.cmdline())
    except psutil.AccessDenied:
        return True  # nothing is proven
    except psutil.Error:
        return False


def attempt(workspace: Workspace) -> dict[str, Any]:
    """The record of the attempt before; empty if there is none."""
    record: dict[str, Any] = json.loads(workspace.tag(ATTEMPT) or "{}")
    return record


def dynamic_provider(resource: State) -> ResourceProvider | None:
    """The provider that a dynamic resource carries, None for others and for one that cannot be read here."""
    code, _ = plain((resource.get("inputs") or {}).get(PROVIDER))
    if not isinstance(code, str):
        return None
    try:
        provider: ResourceProvider = _deserialize(lambda: dill.loads(base64.b64decode(code)))  # noqa: S301 - our state
    except Exception:
        return None
    return provider


def readable(resource: State) -> bool:
    """Whether a refresh can tell if the resource exists: a dynamic provider that has no `read` says yes to all."""
    provider = dynamic_provider(resource)
    return provider is None or type(provider).read is not ResourceProvider.read


def _identity(answer: Any) -> str | None:
    if answer is None or (isinstance(answer, str) and answer):
        return answer
    raise TypeError(f"a lookup answers with an id or None, not with {type(answer).__name__}")


def _question(resource: State, why: str) -> dict[str, Any]:
    inputs = resource.get("inputs") or {}
    public = {name: plain(value)[0] for name, value in inputs.items() if not plain(value)[1]}
    return {"urn": resource["urn"], "type": resource["type"], "inputs": public, "why": why}
