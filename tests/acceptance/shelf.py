"""The twin with one provider more, whose components cost next to nothing: each is a file on a shelf.

    python -m tests.acceptance.shelf serve|worker

For many previews at once, and for seeing with one's own eyes which of them stand, and of what commit.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

from msgspec import Struct, field

from api import bootstrap
from api.cli.main import main
from twin.domain.component_type import ComponentType, inputs_schema
from twin.domain.errors import Invalid
from twin.domain.identity import ComponentRef, EnvironmentId, Placement, ownership_mark
from twin.domain.targets import Target
from twin.ports.provider import Applied, Observed, Provider, Resource, StepContext


class AppInputs(Struct, frozen=True, forbid_unknown_fields=True):
    """Where its code comes from; nobody fetches it."""

    source: dict[str, str] = field(default_factory=dict)


APP = ComponentType(name="shelf.app", provider="shelf", schema=inputs_schema(AppInputs), outputs=("url",), settle=0.0)


class Shelf:
    """See `twin.ports.provider.Provider`. The shelf is a directory, and a file appears on it whole or not at all."""

    def __init__(self, target: str, directory: Path) -> None:
        self._target = target
        self._directory = directory

    async def identify(self) -> Placement:
        """This directory."""
        return Placement(self._target, str(self._directory), "shelf")

    async def observe(self, ref: ComponentRef, inputs: Mapping[str, Any]) -> Observed | None:
        """What the file says."""
        found = _read(self._directory / f"{ref.name}.json")
        if found is None:
            return None
        drift = {} if found["inputs"] == dict(inputs) else {"inputs": "they are others"}
        return Observed(external_id=ref.name, outputs=_outputs(ref), drift=drift)

    async def apply(self, ref: ComponentRef, step: StepContext) -> Applied:
        """One file."""
        self._directory.mkdir(parents=True, exist_ok=True)
        begun = self._directory / f"{ref.name}.begun"
        about = {"mark": ref.mark, "environment": ref.environment_name, "inputs": dict(step.inputs)}
        begun.write_text(json.dumps(about))
        begun.replace(self._directory / f"{ref.name}.json")
        return Applied(external_id=ref.name, outputs=_outputs(ref))

    async def remove(self, ref: ComponentRef, step: StepContext) -> None:
        """No file."""
        (self._directory / f"{ref.name}.json").unlink(missing_ok=True)

    async def owned(self, environment: EnvironmentId) -> AsyncIterator[Resource]:
        """By the mark that is written in each file."""
        for name, found in _all(self._directory).items():
            if found["mark"] == ownership_mark(environment):
                yield Resource(kind="file", external_id=name)

    async def close(self) -> None:
        """Nothing is open."""


def _read(file: Path) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = json.loads(file.read_text())
    except FileNotFoundError:
        return None
    return found


def _all(directory: Path) -> dict[str, dict[str, Any]]:
    found = {path.stem: _read(path) for path in directory.glob("*.json")}
    return {name: each for name, each in found.items() if each is not None}


def _outputs(ref: ComponentRef) -> dict[str, str]:
    return {"url": f"http://{ref.environment_name}.localhost"}


def standing(directory: Path) -> dict[str, str]:
    """What stands on a shelf: the commit by the name of its environment, none of which may be there twice."""
    found = [(each["environment"], str(each["inputs"]["source"]["ref"])) for each in _all(directory).values()]
    commits = dict(found)
    assert len(commits) == len(found), f"one has a double: {sorted(found)}"
    return commits


class Kind:
    """See `twin.ports.provider.ProviderKind`. A target's `directory` is its shelf."""

    name = "shelf"
    types = (APP,)

    def check(self, target: Target, credentials: Mapping[str, str]) -> None:
        """Raise `Invalid` if there is no directory."""
        if not isinstance(target.config.get("directory"), str):
            raise Invalid("config.directory is needed", field="config.directory")

    def open(self, target: Target, credentials: Mapping[str, str]) -> Provider:
        """The shelf."""
        return Shelf(target.name, Path(target.config["directory"]))


if __name__ == "__main__":
    usual = bootstrap.provider_kinds
    bootstrap.provider_kinds = lambda: {**usual(), "shelf": Kind()}  # type: ignore[dict-item]
    main()
