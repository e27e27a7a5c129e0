"""Reading and mending a deployment as `pulumi stack export` gives it: pure functions over its JSON."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping
from typing import Any

Deployment = dict[str, Any]
State = Mapping[str, Any]
"""One resource of a deployment."""

PROVIDER = "__provider"
"""The property in which a dynamic resource carries the code of its provider."""

_SIGNATURE = "4dabf18193072939515e22adb298388d"
_SECRET = "1b47061264138c4ac30d75fd1eb44270"  # noqa: S105 - Pulumi's mark of a secret value
_STACK = "pulumi:pulumi:Stack"
_PROVIDERS = "pulumi:providers:"


def plain(value: Any) -> tuple[Any, bool]:
    """The value without the wraps of secrets, and whether anything in it was secret."""
    if isinstance(value, Mapping):
        if value.get(_SIGNATURE) == _SECRET:
            return json.loads(value["plaintext"]) if "plaintext" in value else None, True
        pairs = {name: plain(each) for name, each in value.items()}
        return {name: each for name, (each, _) in pairs.items()}, any(secret for _, secret in pairs.values())
    if isinstance(value, list):
        items = [plain(each) for each in value]
        return [each for each, _ in items], any(secret for _, secret in items)
    return value, False


def resources(deployment: State) -> list[State]:
    """What stands in the world: neither the stack, nor components, nor providers, nor what is only read."""
    return [each for each in deployment.get("resources") or () if in_world(each)]


def in_world(resource: State) -> bool:
    """Whether the resource is a thing in the world that is the stack's own."""
    return bool(resource.get("custom") and not resource.get("external") and not resource["type"].startswith(_PROVIDERS))


def outputs(deployment: State) -> tuple[dict[str, Any], dict[str, Any]]:
    """The stack's outputs: public, and secret."""
    public: dict[str, Any] = {}
    secret: dict[str, Any] = {}
    for resource in deployment.get("resources") or ():
        if resource["type"] == _STACK:
            for name, value in (resource.get("outputs") or {}).items():
                clear, hidden = plain(value)
                (secret if hidden else public)[name] = clear
    return public, secret


def secrets(deployment: State) -> list[str]:
    """Every text that is secret in the inputs and outputs of its resources, begun ones too; not the code of providers,
    which Pulumi wraps alike."""
    begun = [each["resource"] for each in pending(deployment)]
    found: set[str] = set()
    for resource in [*(deployment.get("resources") or ()), *begun]:
        for values in (resource.get("inputs") or {}, resource.get("outputs") or {}):
            for name, value in values.items():
                if name != PROVIDER:
                    found.update(_secret_texts(value))
    return sorted(found)


def _secret_texts(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        if value.get(_SIGNATURE) == _SECRET:
            yield from texts(plain(value)[0])
            return
        value = list(value.values())
    if isinstance(value, list):
        for each in value:
            yield from _secret_texts(each)


def texts(value: Any) -> Iterator[str]:
    """Every text within a value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from texts(each)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from texts(each)


def name_of(urn: str) -> str:
    """The name that the program gave the resource."""
    return urn.rpartition("::")[2]


def pending(deployment: State) -> list[State]:
    """Operations that were begun and whose end nobody has recorded: each has `type` and `resource`."""
    return list(deployment.get("pending_operations") or ())


def creates(deployment: State) -> Iterator[State]:
    """The resources of pending creates: whether they exist, only the world knows."""
    for operation in pending(deployment):
        if operation["type"] == "creating" and in_world(operation["resource"]):
            yield operation["resource"]


def settled(deployment: State, found: Mapping[str, str | None]) -> Deployment:
    """The deployment without pending operations: of creates, those found in the world (URN to id) are in it.

    What was to be updated, deleted or read stands in it as it was; a refresh brings what the world made of it.
    """
    mended: Deployment = copy.deepcopy(dict(deployment))
    kept = mended["resources"] = list(mended.get("resources") or ())
    for resource in creates(deployment):
        urn = resource["urn"]
        identity = found[urn]
        older = [each for each in kept if each["urn"] == urn and not each.get("delete")]
        if identity is None or any(each.get("id") == identity for each in older):
            continue
        for each in older:
            each["delete"] = True  # a replacement: the new one is there, the old one is to go
        inputs = copy.deepcopy(resource.get("inputs") or {})
        kept.append({**copy.deepcopy(dict(resource)), "id": identity, "outputs": inputs})
    mended.pop("pending_operations", None)
    return mended


def drifted_inputs(deployment: State, drifted: Mapping[str, list[str]]) -> Deployment:
    """The deployment with what a refresh found (URN to properties) as inputs: then an `up` sees a difference to mend,
    also where a provider reads only outputs."""
    mended: Deployment = copy.deepcopy(dict(deployment))
    for resource in mended.get("resources") or ():
        for name in drifted.get(resource["urn"], ()):
            if name in (resource.get("outputs") or {}):
                resource["inputs"][name] = copy.deepcopy(resource["outputs"][name])
    return mended
