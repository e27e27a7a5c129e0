"""What the engine tells while it works, for three listeners: progress, changes that are to come, drift."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from pulumi.automation.events import EngineEvent, OpType, StepEventMetadata

from .state import PROVIDER, name_of

_HIDDEN = "•••"
_ENGINES_HIDDEN = "[secret]"
_LATER = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"  # how the engine writes what only the apply will know
_SIGNATURE = "4dabf18193072939515e22adb298388d"
_LONGEST = 200
_REGISTERING = re.compile(r"registering resource: ty=(?P<type>\S+), name=(?P<name>.+?), custom=True")
_NOT_COUNTED = ("pulumi:pulumi:", "pulumi:providers:")
_WORK = {
    OpType.CREATE: "create",
    OpType.UPDATE: "update",
    OpType.DELETE: "delete",
    OpType.REPLACE: "replace",
    OpType.CREATE_REPLACEMENT: "replace",
    OpType.IMPORT: "create",
}


class Listener:
    """Hears all events of one command. `total` is how many resources are known to take part before it starts."""

    def __init__(self, say: Callable[[str], None], total: int = 0) -> None:
        self._say = say
        self._total = total
        self._registered: set[str] = set()
        self._done: set[str] = set()
        self._running: dict[str, str] = {}
        self._refreshing: set[str] = set()
        self.changes: dict[str, dict[str, Any]] = {}
        self.drift: dict[str, str] = {}
        self.drifted: dict[str, list[str]] = {}
        self.errors: list[tuple[str, str]] = []

    def __call__(self, event: EngineEvent) -> None:
        """Take one event."""
        if event.diagnostic_event is not None:
            self._diagnosed(event.diagnostic_event)
        elif event.resource_pre_event is not None:
            self._began(event.resource_pre_event.metadata)
        elif event.res_outputs_event is not None:
            self._ended(event.res_outputs_event.metadata)

    def _diagnosed(self, diagnostic: Any) -> None:
        text = diagnostic.message.strip()
        if diagnostic.severity == "error":
            self.errors.append((diagnostic.urn or "", text))
        elif (found := _REGISTERING.search(text)) and not found["type"].startswith(_NOT_COUNTED):
            self._registered.add(f"{found['type']}::{found['name']}")

    def _began(self, step: StepEventMetadata) -> None:
        if step.op == OpType.REFRESH:
            self._refreshing.add(step.urn)
            return
        if step.type.startswith(_NOT_COUNTED):
            return
        if kind := _WORK.get(step.op):
            known = self.changes.get(step.urn)
            if known is None or kind == "replace":
                self.changes[step.urn] = {"resource": _named(step), "kind": kind, "fields": _fields(step, kind)}
            self._running[step.urn] = name_of(step.urn)
            self._tell()

    def _ended(self, step: StepEventMetadata) -> None:
        if step.urn in self._refreshing:
            self._refreshing.discard(step.urn)
            self._compare(step)
            return
        if not step.type.startswith(_NOT_COUNTED):
            self._running.pop(step.urn, None)
            self._done.add(step.urn)
            self._tell()

    def _tell(self) -> None:
        total = max(self._total, len(self._registered), len(self._done | self._running.keys()))
        waiting = f", waiting for {next(reversed(self._running.values()))}" if self._running else ""
        self._say(f"{len(self._done)} of {total}{waiting}")

    def _compare(self, step: StepEventMetadata) -> None:
        """Drift is what was asked for and is not so: what a server computes by itself changes without anybody."""
        name = name_of(step.urn) if name_of(step.urn) not in self.drift else f"{step.type}::{name_of(step.urn)}"
        if step.op == OpType.DELETE:
            self.drift[name] = f"{_named(step)} is gone"
        elif step.old is not None and step.new is not None and not step.type.startswith(_NOT_COUNTED):
            told = {**(step.detailed_diff or {}), **dict.fromkeys(step.diffs or ())} if step.op == OpType.UPDATE else {}
            before, now = step.old.outputs or {}, step.new.outputs or {}
            asked = [each for each in step.old.inputs or {} if each != PROVIDER]
            changed = [
                each
                for each in asked
                if (each in before and before[each] != now.get(each)) or any(_within(path, each) for path in told)
            ]
            if changed:
                self.drifted[step.urn] = changed
                self.drift[name] = "; ".join(f"{each} {_became(before.get(each), now.get(each))}" for each in changed)


def _within(path: str, name: str) -> bool:
    return re.split(r"[.\[]", path, maxsplit=1)[0] == name


def _became(before: Any, now: Any) -> str:
    was, is_ = shown(before), shown(now)
    if was == is_:
        return "is another than was applied"
    return f"is {is_} instead of {was}"


def _named(step: StepEventMetadata) -> str:
    return f"{name_of(step.urn)} ({step.type})"


def _fields(step: StepEventMetadata, kind: str) -> dict[str, str]:
    if kind == "delete":
        return {}
    after: Mapping[str, Any] = (step.new.inputs if step.new else None) or {}
    if kind == "create" or step.old is None:
        return {name: shown(value) for name, value in after.items() if name != PROVIDER}
    before: Mapping[str, Any] = step.old.inputs or {}
    fields = {}
    differing = [name for name in {**before, **after} if before.get(name) != after.get(name)]
    for path in [*(step.detailed_diff or {}), *(step.diffs or ())] or differing:
        name = re.split(r"[.\[]", path, maxsplit=1)[0]
        if name == PROVIDER:
            fields["code"] = "of the dynamic provider"
        else:
            fields[name] = f"{shown(before.get(name))} → {shown(after.get(name))}"
    if len(fields) > 1:
        fields.pop("code", None)
    return fields


def shown(value: Any) -> str:
    """A property's value for a person: secrets covered, long ones cut."""
    text = json.dumps(_covered(value), ensure_ascii=False)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


def _covered(value: Any) -> Any:
    if isinstance(value, Mapping):
        return _HIDDEN if _SIGNATURE in value else {name: _covered(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_covered(each) for each in value]
    if isinstance(value, str):
        return "(known later)" if value == _LATER else value.replace(_ENGINES_HIDDEN, _HIDDEN)
    return value
