"""A cloud in a directory, with the manners of a real one: it answers late, and it gives each thing an id of its own, so
that to create again what is there already makes a second one.

Each thing is a file `<id>.json`; `journal` has a line for all that was done, in order.
"""

from __future__ import annotations

import json
import os
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

Thing = dict[str, Any]


def create(directory: str, seconds: float, thing: Mapping[str, Any]) -> str:
    """Make a thing; its id. Half of the time passes before it is there, half before that is answered."""
    id_ = f"part-{uuid.uuid4().hex[:12]}"
    time.sleep(seconds / 2)
    Path(directory).mkdir(parents=True, exist_ok=True)
    _write(directory, id_, thing)
    _note(directory, "create", id_, thing)
    time.sleep(seconds / 2)
    return id_


def change(directory: str, seconds: float, id_: str, thing: Mapping[str, Any]) -> None:
    """Make a thing what it shall be. Raises LookupError if it is not there."""
    time.sleep(seconds / 2)
    if look(directory, id_) is None:
        raise LookupError(f"{id_} is not there")
    _write(directory, id_, thing)
    _note(directory, "change", id_, thing)
    time.sleep(seconds / 2)


def remove(directory: str, seconds: float, id_: str) -> None:
    """Remove a thing; already absent is success."""
    time.sleep(seconds / 2)
    found = look(directory, id_)
    if found is not None:
        _path(directory, id_).unlink(missing_ok=True)
        _note(directory, "remove", id_, found)
    time.sleep(seconds / 2)


def look(directory: str, id_: str) -> Thing | None:
    """What stands under an id."""
    try:
        thing: Thing = json.loads(_path(directory, id_).read_text())
    except FileNotFoundError:
        return None
    return thing


def named(directory: str, stack: str, name: str) -> list[str]:
    """The ids of all things of this name in a stack."""
    return [
        path.stem
        for path in sorted(Path(directory).glob("part-*.json"))
        if (thing := look(directory, path.stem)) and (thing["stack"], thing["name"]) == (stack, name)
    ]


def _path(directory: str, id_: str) -> Path:
    return Path(directory) / f"{id_}.json"


def _write(directory: str, id_: str, thing: Mapping[str, Any]) -> None:
    unfinished = Path(directory) / f".{id_}.{uuid.uuid4().hex}"
    unfinished.write_text(json.dumps(thing, sort_keys=True))
    os.replace(unfinished, _path(directory, id_))


def _note(directory: str, what: str, id_: str, thing: Mapping[str, Any]) -> None:
    line = {"what": what, "id": id_, "stack": thing["stack"], "name": thing["name"], "at": time.time()}
    with (Path(directory) / "journal").open("a") as journal:
        journal.write(json.dumps(line) + "\n")
