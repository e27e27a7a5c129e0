"""The operations that the worker can order, in terms of one stack."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import time
from base64 import b64decode
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from pulumi.automation.errors import CommandError, ConcurrentUpdateError

from . import bundle
from .events import Listener
from .pipe import Pipe
from .recovery import ATTEMPT, Recovery, attempt, readable
from .stack import CliFailed, CliMissing, QuickStack, Workspace, as_programs_read
from .state import Deployment, drifted_inputs, name_of, outputs, pending, resources, secrets

_CHECK_SECONDS = 30.0
IDENTITY = "twin-identity"


class Failed(Exception):
    """A command of the engine did not succeed: what it said, and the errors by resource (URN and text)."""

    def __init__(self, said: str, errors: list[tuple[str, str]]) -> None:
        super().__init__(said)
        self.errors = errors


class Leftovers(Exception):
    """Resources that outlived their destruction, or whose retired credential still opens."""

    def __init__(self, left: list[dict[str, str]]) -> None:
        super().__init__("leftovers")
        self.left = left


class StillOpen(Exception):
    """A retired credential still opened when the time was over."""


class Before(NamedTuple):
    """What a removal found: the URNs whose APIs can be asked whether they are gone, and the deployment, encrypted."""

    asked: list[str]
    deployment: Deployment


class Operations:
    """What an order asks for; each method gives the result that goes back to the worker."""

    def __init__(self, order: dict[str, Any], pipe: Pipe) -> None:
        self._order = order
        self._pipe = pipe
        self._config: dict[str, Any] = dict(order.get("config") or {})
        self._sealed: list[str] = list(order.get("sealed") or ())
        if order.get("tree"):
            bundle.use(order["tree"])
        self._workspace = Workspace(
            Path(order["workspace"]),
            name=order["stack"],
            passphrase=os.environ["PULUMI_CONFIG_PASSPHRASE"],
            key=b64decode(order["key"]) if order.get("key") else None,
            inline=not order.get("source"),
        )
        hook = order.get("lookup") if order.get("tree") else None
        self._recovery = Recovery(
            self._workspace,
            host=order.get("host", ""),
            answers=order.get("answers") or {},
            hook=(lambda *asked: bundle.function(hook)(*asked)) if hook else None,
            ids=order.get("ids") or {},
            config=as_programs_read(self._config),
            longest=float(order.get("timeout") or 0.0),
        )

    def run(self) -> dict[str, Any]:
        """Do what the order says."""
        doing: Callable[[], dict[str, Any]] = getattr(self, self._order["operation"])
        return doing()

    def secrets(self) -> list[str]:
        """Every secret that the stack has by now, for a failure may quote what nobody else knows yet. None if it cannot
        be asked: then it has not come so far as to know any."""
        try:
            return secrets(self._workspace.export() or {})
        except (CliFailed, CliMissing):
            return []

    def apply(self) -> dict[str, Any]:
        """Have the world as the program says; also mends drift and what a crash left."""
        deployment = self._claimed()
        listener = self._up(deployment, refresh=True)
        unmended = {urn: names for urn, names in listener.drifted.items() if urn not in listener.changes}
        if unmended:  # the provider saw no difference in what it reads only as outputs
            self._workspace.load(drifted_inputs(self._workspace.export() or {}, unmended))
            self._up(deployment, refresh=False)
        public, secret = outputs(self._workspace.export() or {})
        return {"outputs": public, "secrets": secret}

    def retire(self) -> dict[str, Any]:
        """`apply` without the old credential, then prove that it no longer opens. Raises StillOpen."""
        result = self.apply()
        opens = bundle.function(self._order["check"])
        give_up = time.monotonic() + _CHECK_SECONDS
        pause = 0.2
        while opens(self._order["retired"]):
            if time.monotonic() > give_up:
                raise StillOpen
            time.sleep(pause)
            pause = min(2 * pause, 3.0)
        return result

    def preview(self) -> dict[str, Any]:
        """What an `apply` would change. Where there is no stack yet, it is asked of an empty one that nobody keeps."""
        deployment = self._workspace.export()
        scratch = None
        try:
            if deployment is None:
                scratch = tempfile.mkdtemp(prefix="preview-")
                os.environ["PULUMI_BACKEND_URL"] = f"file://{scratch}"
                self._workspace.configure(self._config, self._sealed)
                self._workspace.init()
            self._workspace.configure(self._config, self._sealed)
            listener = Listener(self._pipe.progress)
            self._engine(
                listener,
                lambda stack: stack.preview(on_event=listener, refresh=scratch is None),
                program=self._program(),
            )
        finally:
            if scratch is not None:
                shutil.rmtree(scratch, ignore_errors=True)
        return {"changes": list(listener.changes.values())}

    def observe(self) -> dict[str, Any]:
        """What stands, and how it differs; reads only."""
        self._workspace.configure({})
        deployment = self._workspace.export()
        if deployment is None or not (resources(deployment) or pending(deployment)):
            return {"found": False}
        listener = Listener(self._pipe.progress)
        self._engine(listener, lambda stack: stack.preview_refresh(on_event=listener))
        for operation in pending(deployment):
            name = name_of(operation["resource"]["urn"])
            listener.drift[name] = f"{operation['type']} it was cut off"
        public, _ = outputs(deployment)
        inputs = attempt(self._workspace).get("inputs") or {}
        return {"found": True, "outputs": public, "drift": listener.drift, "inputs": inputs}

    def remove(self) -> dict[str, Any]:
        """Destroy all, have the resources' own APIs say that they are gone, then remove the stack. Raises Leftovers.

        What stood before the first attempt is kept until the proof: a destroy forgets also what it was told to retain.
        """
        self._workspace.configure(self._config, self._sealed)
        found = self._workspace.export()
        if found is None:
            return {}
        self._recovery.remember()
        deployment = self._recovery.ensure(found)
        before = self._kept() or self._keep(deployment)
        self._workspace.set_tag(ATTEMPT, self._order["record"])
        if resources(deployment):
            self._destroy(deployment)
        if self._survivors(before):
            self._destroy(before.deployment)
            if left := self._survivors(before):
                raise Leftovers(left)
        self._workspace.remove()
        return {}

    def owned(self) -> dict[str, Any]:
        """Every stack whose name begins as the order says, with its resources."""
        found = []
        for name in self._workspace.stacks():
            if name.startswith(self._order["prefix"]):
                workspace = Workspace(self._workspace.folder, name=name, passphrase="")
                held = resources(workspace.export(secrets=False) or {})
                each = [{"type": r["type"], "id": str(r.get("id", "")), "urn": r["urn"]} for r in held]
                found.append({"stack": name, "resources": [{**r, "name": name_of(r["urn"])} for r in each]})
        return {"stacks": found}

    def identify(self) -> dict[str, Any]:
        """The identity of the backend, kept in it as the tag of a stack without resources; made at first contact."""
        try:
            identity = self._workspace.tag(IDENTITY)
        except CliFailed as failed:
            if "no stack named" not in str(failed):
                raise
            self._workspace.configure({})
            self._workspace.init()
            identity = self._workspace.tag(IDENTITY)
        if identity is None:
            self._workspace.set_tag(IDENTITY, self._order["fresh"])
            identity = self._workspace.tag(IDENTITY)
        return {"identity": identity}

    def _claimed(self) -> Deployment:
        """The stack, there and recovered, with a tag that says who works on it."""
        self._workspace.configure(self._config, self._sealed)
        deployment = self._workspace.export()
        if deployment is None:
            self._workspace.init()
            deployment = {}
        else:
            self._recovery.remember()
            deployment = self._recovery.ensure(deployment)
        self._workspace.set_tag(ATTEMPT, self._order["record"])
        return deployment

    def _up(self, deployment: Deployment, *, refresh: bool) -> Listener:
        listener = Listener(self._pipe.progress, len(resources(deployment)))
        self._engine(listener, lambda stack: stack.up(on_event=listener, refresh=refresh), program=self._program())
        return listener

    def _program(self) -> Callable[[], Any] | None:
        """The function of the bundle; none for a source, whose language has a host of its own. It is imported where it
        runs: modules may read the configuration on import."""
        name = self._order.get("program")
        if not name:
            return None

        def inline() -> Any:
            return bundle.function(name)()

        return inline

    def _destroy(self, before: Deployment) -> None:
        listener = Listener(self._pipe.progress, len(resources(before)))
        self._engine(listener, lambda stack: stack.destroy(on_event=listener, refresh=True))

    def _kept(self) -> Before | None:
        """What an earlier attempt at the removal found; None if this is the first."""
        try:
            return Before(**json.loads(Path(self._order["kept"]).read_text()))
        except FileNotFoundError:
            return None

    def _keep(self, deployment: Deployment) -> Before:
        """Keep what is to be removed for the attempts to come, with its secrets encrypted."""
        asked = sorted({each["urn"] for each in resources(deployment) if readable(each)})
        before = Before(asked, (self._workspace.export(secrets=False) or {}) if asked else {})
        path = Path(self._order["kept"])
        draft = path.with_name(f".{path.name}-{os.getpid()}")
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            json.dump(before._asdict(), file)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
        return before

    def _survivors(self, before: Before) -> list[dict[str, str]]:
        """What of `before` still exists, by the resources' own word: a refresh forgets all that is absent. The stack
        then holds what is left."""
        if not before.asked:
            return []
        self._workspace.load(before.deployment)
        listener = Listener(self._pipe.progress)
        self._engine(listener, lambda stack: stack.refresh(on_event=listener))
        after = resources(self._workspace.export(secrets=False) or {})
        return [
            {"type": each["type"], "id": str(each.get("id", "")), "name": name_of(each["urn"])}
            for each in after
            if each["urn"] in before.asked
        ]

    def _engine(
        self, listener: Listener, command: Callable[[QuickStack], Any], program: Callable[[], Any] | None = None
    ) -> None:
        """Run one command of the engine; one that finds the lock of a dead attempt takes over and runs again."""
        for again in (False, True):
            try:
                command(self._workspace.opened(program))
            except ConcurrentUpdateError as locked:
                if again:
                    raise Failed(str(locked), listener.errors) from None
                self._recovery.take_over(str(locked))
                self._recovery.ensure(self._workspace.export() or {})
            except CommandError as failed:
                raise Failed(str(failed), listener.errors) from None
            else:
                return
