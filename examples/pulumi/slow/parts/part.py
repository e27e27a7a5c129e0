"""One part, and what happens to it in the cloud.

A dynamic provider is kept, with all that it uses, in the state of its stack. What is imported by name goes there by
value; a whole module of ours would have to be there again when the stack is removed.
"""

from __future__ import annotations

from typing import Any

from pulumi.dynamic import CreateResult, DiffResult, ReadResult, Resource, ResourceProvider, UpdateResult

from parts.cloud import change, create, look, remove

Properties = dict[str, Any]

FIXED = ("cloud", "stack", "name")
FREE = ("label", "needs")


class PartProvider(ResourceProvider):
    """Creates what is asked for, each time anew: that it is not there yet is for others to know."""

    serialize_as_secret_always = False

    def diff(self, _id: str, _olds: Properties, _news: Properties) -> DiffResult:
        replaces = [name for name in FIXED if _olds.get(name) != _news.get(name)]
        changed = replaces or [name for name in FREE if _olds.get(name) != _news.get(name)]
        return DiffResult(changes=bool(changed), replaces=replaces, delete_before_replace=True)

    def create(self, props: Properties) -> CreateResult:
        return CreateResult(create(props["cloud"], props["seconds"], _thing(props)), dict(props))

    def update(self, _id: str, _olds: Properties, _news: Properties) -> UpdateResult:
        change(_news["cloud"], _news["seconds"], _id, _thing(_news))
        return UpdateResult(dict(_news))

    def read(self, id_: str, props: Properties) -> ReadResult:
        found = look(props["cloud"], id_)
        return ReadResult("", {}) if found is None else ReadResult(id_, {**props, **found})

    def delete(self, _id: str, _props: Properties) -> None:
        remove(_props["cloud"], _props["seconds"], _id)


def _thing(props: Properties) -> Properties:
    return {name: props[name] for name in ("stack", "name", "label", "needs")}


class Part(Resource, module="slow", name="Part"):
    """A part that needs others."""

    def __init__(self, name: str, *, opts: Any = None, **props: Any) -> None:
        super().__init__(PartProvider(), name, {"name": name, **props}, opts)
