"""How far the steps of an environment are: a fold of its events over its plan. Draws nothing, asks nobody."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from msgspec import Struct

from twin.service.views import EnvironmentView, EventView, StepView

_STEP_EVENTS = ("step_started", "step_succeeded", "component_observed", "placement_swept")


class StepLine(Struct, kw_only=True):
    """One step as it is shown. `note` says why it waits, or what went wrong."""

    component: str
    verb: str
    state: str
    attempt: int = 0
    note: str = ""
    started_at: datetime | None = None
    ended_at: datetime | None = None
    next_at: datetime | None = None


class Ending(Struct, frozen=True):
    """How the operation ended. `error` has message, field and mend, if it failed."""

    outcome: str
    error: Mapping[str, Any] | None = None
    by: str = ""


PAUSE = 5.0
"""Seconds between two lines about one step, where nothing can be drawn."""


LONG = timedelta(minutes=1)
"""What is due later than this, nobody waits for at a terminal."""


def resting(view: EnvironmentView, now: datetime) -> tuple[StepView, ...]:
    """All that is left to do, if it is retirements and nothing but time, or somebody outside, brings them on; none if
    there is something to look at, or nothing left."""
    left = view.plan.steps
    far = all(each.waits_for or (each.not_before is not None and each.not_before - now > LONG) for each in left)
    return left if far and all((each.verb, each.state) == ("retire", "waiting") for each in left) else ()


class Progress:
    """The steps seen since it was begun, in the order of the plan, and the operation's end."""

    def __init__(self, operation: str) -> None:
        self.operation = operation
        self.ending: Ending | None = None
        self.view: EnvironmentView | None = None
        self._lines: dict[str, StepLine] = {}
        self._written: dict[str, tuple[str, float]] = {}

    def lines(self) -> list[StepLine]:
        """What to show now."""
        return [line for line in list(self._lines.values()) if line.state != "vanished"]

    @property
    def stuck(self) -> bool:
        """Whether nothing goes on before a human has mended what blocks."""
        states = {step.state for step in self.view.plan.steps} if self.view is not None else set()
        return "blocked" in states and not states & {"running", "ready", "retrying"}

    def see(self, view: EnvironmentView) -> None:
        """Take over the plan as it is now. What is in it no more, and not done, vanished with a replanning."""
        self.view = view
        present = {step.key: step for step in view.plan.steps}
        for key, line in self._lines.items():
            if key not in present and line.state != "done":
                line.state = "vanished"
        for key, step in present.items():
            line = self._line(key, step.component, step.verb)
            line.state, line.attempt, line.next_at = step.state, step.attempt, None
            line.note = step.progress or _waits_for(step)
            line.ended_at = None
            line.started_at = step.started_at or line.started_at
            if step.state in ("retrying", "blocked", "failed"):
                self._take_condition(line)

    def hear(self, event: EventView) -> None:
        """Take over what happened."""
        if event.type == "operation_ended" and event.data.get("operation_id") == self.operation:
            by = event.data.get("by") or {}
            self.ending = Ending(
                event.data["outcome"], event.data.get("error"), f"{by['kind']}:{by['name']}" if by else ""
            )
            return
        key = event.data.get("key")
        if event.type not in _STEP_EVENTS or not isinstance(key, dict):
            return
        line = self._line(_text(key), key["component"], key["verb"])
        match event.type:
            case "step_started":
                line.state, line.started_at, line.attempt, line.note = "running", event.at, event.data["attempt"], ""
            case "step_succeeded" | "component_observed" | "placement_swept":
                line.state, line.ended_at, line.note = "done", event.at, _outcome(event.data)

    def tell(self, progress: Mapping[str, str]) -> None:
        """Take over what running steps say of how far they are, by their keys."""
        for key, text in progress.items():
            if (line := self._lines.get(key)) is not None and line.state == "running":
                line.note = text

    def news(self, now: float) -> list[StepLine]:
        """The running steps that say something else than when they were given here last, and not too soon after
        that. `now` is in seconds of any clock that goes forward."""
        found = []
        for key, line in self._lines.items():
            text, at = self._written.get(key, ("", now - PAUSE))
            if line.state == "running" and line.note not in ("", text) and now - at >= PAUSE:
                self._written[key] = line.note, now
                found.append(line)
        return found

    def _line(self, key: str, component: str, verb: str) -> StepLine:
        return self._lines.setdefault(key, StepLine(component=component, verb=verb, state="waiting"))

    def _take_condition(self, line: StepLine) -> None:
        for condition in self.view.conditions if self.view is not None else ():
            if (condition.component, condition.verb) == (line.component, line.verb):
                line.note, line.next_at = condition.message, condition.next_at


def component_of(key: str) -> str:
    """The component of a step's key, `db@1:apply:…`."""
    return key.partition("@")[0]


def _text(key: Mapping[str, Any]) -> str:
    return f"{key['component']}@{key['incarnation']}:{key['verb']}:{key['digest']}"


def _outcome(data: Mapping[str, Any]) -> str:
    if data.get("adopted"):
        return "found and adopted"
    if data.get("found"):
        return f"{len(data['found'])} left over"
    if data.get("present") is False:
        return "absent"
    return ", ".join(f"{field}: {how}" for field, how in (data.get("drift") or {}).items())


def _waits_for(step: StepView) -> str:
    if step.state != "waiting":
        return ""
    return f"after {', '.join(dict.fromkeys(map(component_of, step.after)))}" if step.after else "waits for its time"
