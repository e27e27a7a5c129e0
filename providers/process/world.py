"""The processes of services as the operating system shows them, whatever our records say."""

from __future__ import annotations

import json
from pathlib import Path

from msgspec import Struct, convert

from twin.children import processes
from twin.children.processes import Marked, Recorded


class SlotState(Struct, frozen=True):
    """What a supervisor recorded of its replica: never anything of its environment. Times in seconds since 1970."""

    index: int
    digest: str
    port: int
    supervisor: int
    app: int
    started: float
    exit: int | None = None
    ended: float | None = None


def read_state(path: Path) -> SlotState | None:
    """A slot's record; None if there is none (or not a whole one)."""
    try:
        return convert(json.loads(path.read_text()), SlotState)
    except (FileNotFoundError, ValueError):
        return None


def of_service(environment_mark: str, component: str, slots: Path) -> list[Marked]:
    """Every live process of a service, also those that only the records in `slots` name."""
    states = ((path, read_state(path)) for path in slots.glob("*.json"))
    recorded = [
        Recorded(state.app, state.started, component, path.stem)
        for path, state in states
        if state is not None and state.exit is None and state.app
    ]
    return processes.marked(environment_mark, component=component, recorded=recorded)
