"""A blueprint as a document, as JSON or YAML gives it: every error names its place and its mend."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from typing import Any, NoReturn

import msgspec

from twin.domain.blueprint import TIERS, Blueprint, ComponentSpec, Policy, Rotation, TierSpec
from twin.domain.durations import parse_duration
from twin.domain.errors import Invalid
from twin.domain.identity import COMPONENT_PATTERN, NAME_PATTERN
from twin.domain.json_schema import check, check_schema, join, shown, with_defaults
from twin.domain.near import suggestion
from twin.domain.references import RESERVED, Reference, escape, references

API_VERSION = "twin/v1"
MOST_VALUES = 20_000
DEEPEST = 64
_TYPE_PATTERN = r"^[a-z][-a-z0-9_]*\.[a-z][-a-z0-9_]*$"
# https://semver.org, "Is there a suggested regular expression to check a SemVer string?"
_SEMVER = re.compile(
    r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(-((0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*)"
    r"(\.(0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*))*))?(\+[0-9a-zA-Z-]+(\.[0-9a-zA-Z-]+)*)?",
    re.ASCII,
)


def parse(document: Mapping[str, Any]) -> Blueprint:
    """The blueprint that a document describes.

    Raises `Invalid` whose `field` is the dotted path of the first thing that is wrong, with the mend.
    """
    top = _keys(_Plain().copy(document, ""), "", {"apiVersion", "kind", "metadata", "inputs", "components", "tiers"})
    for key, wanted in (("apiVersion", API_VERSION), ("kind", "Blueprint")):
        if top.get(key) != wanted:
            _refuse(key, top, f"it must be {wanted}", f"Write {key}: {wanted}")
    metadata = _keys(_mapping(top, "metadata", "", required=True), "metadata", {"name", "version", "description"})
    inputs = _inputs_schema(_mapping(top, "inputs", ""))
    components = _components(_mapping(top, "components", "", required=True), inputs)
    blueprint = Blueprint(
        name=_name(metadata, "name", "metadata", NAME_PATTERN),
        version=_version(metadata),
        description=_text(metadata, "description", "metadata") or "",
        inputs=inputs,
        components=components,
        tiers=_tiers(_mapping(top, "tiers", ""), components),
    )
    for name, tier in blueprint.tiers.items():
        _check_inputs(tier.inputs, blueprint.inputs_schema, f"tiers.{name}.inputs")
    return blueprint


def document(blueprint: Blueprint) -> dict[str, Any]:
    """The JSON to store and show; `parse(document(b)) == b`. Durations are in seconds."""
    metadata = {"name": blueprint.name, "version": blueprint.version}
    if blueprint.description:
        metadata["description"] = blueprint.description
    body = {
        "apiVersion": API_VERSION,
        "kind": "Blueprint",
        "metadata": metadata,
        "inputs": blueprint.inputs,
        "components": {name: _told(spec) for name, spec in blueprint.components.items()},
        "tiers": {name: _told(spec) for name, spec in blueprint.tiers.items()},
    }
    return {key: value for key, value in body.items() if value or key == "components"}


def _told(spec: ComponentSpec | TierSpec) -> dict[str, Any]:
    # msgspec's omit_defaults keeps structs and floats that merely equal their default.
    built: dict[str, Any] = msgspec.to_builtins(spec)
    return {key: value for key, value in built.items() if value not in ({}, 0.0, False)}


class _Plain:
    """Copies a document to plain JSON values; refuses what JSON has not, and documents that grow without bound."""

    def __init__(self) -> None:
        self.left = MOST_VALUES

    def copy(self, value: Any, path: str, depth: int = 0) -> Any:
        self.left -= 1
        if self.left < 0 or depth > DEEPEST:
            mend = "Take out repeated aliases; a bundle can hold the data as a file."
            raise Invalid(f"more than {MOST_VALUES} values, or {DEEPEST} levels deep", field=path or None, mend=mend)
        match value:
            case None | bool() | int():
                return value
            case str():
                return self._text(value, path)
            case float() if math.isfinite(value):
                return value
            case Mapping():
                copied = {}
                for key, each in value.items():
                    if not isinstance(key, str):
                        where = join(path, [str(key)])
                        raise Invalid(
                            f"{where}: the key {key!r} is not text", field=path or where, mend="Quote the key."
                        )
                    copied[self._text(key, path)] = self.copy(each, join(path, [key]), depth + 1)
                return copied
            case list() | tuple():
                return [self.copy(each, join(path, [index]), depth + 1) for index, each in enumerate(value)]
            case _:
                mend = "Put it in quotes, if text is meant."
                raise Invalid(f"{path} is a {type(value).__name__}, which JSON has not", field=path, mend=mend)

    @staticmethod
    def _text(text: str, path: str) -> str:
        try:
            text.encode()
        except UnicodeEncodeError:
            message = f"{path}: {text!r} holds half of a surrogate pair"
            raise Invalid(message, field=path or None, mend="Write the character itself.") from None
        return text


def _inputs_schema(schema: dict[str, Any]) -> dict[str, Any]:
    check_schema(schema, "inputs")
    if schema.get("type", "object") != "object":
        _refuse("inputs.type", {"type": schema["type"]}, "inputs are an object", "Remove it, or write type: object")
    for name, part in schema.get("properties", {}).items():
        path = f"inputs.properties.{name}"
        if not re.fullmatch(r"[A-Za-z_][-A-Za-z0-9_]*", name):
            raise Invalid(f"{path}: {name!r} is not a name", field=path, mend="Use letters, digits, - and _.")
        if isinstance(part, Mapping) and "default" in part:
            check(escape(part["default"]), part, f"{path}.default", root=schema)
    return schema


def _components(documents: dict[str, Any], inputs: dict[str, Any]) -> dict[str, ComponentSpec]:
    if not documents:
        raise Invalid("components is empty", field="components", mend="Name at least one component.")
    components = {}
    for name in documents:
        path = f"components.{name}"
        if not re.fullmatch(COMPONENT_PATTERN, name):
            mend = "Use at most 26 lower-case letters, digits and dashes; begin with a letter, end without a dash."
            raise Invalid(f"{path}: {name!r} is not a component's name", field=path, mend=mend)
        if name in RESERVED:
            raise Invalid(f"{path}: {name!r} has a meaning in references", field=path, mend="Choose another name.")
        components[name] = _component(_mapping(documents, name, "components", required=True), path)
    for name, spec in components.items():
        for index, needed in enumerate(spec.needs):
            _known_component(needed, components, f"components.{name}.needs[{index}]")
        for where, reference in _referred(spec.inputs, f"components.{name}.inputs"):
            _check_reference(reference, where, components, inputs)
    _refuse_cycles(components)
    return components


def _component(body: dict[str, Any], path: str) -> ComponentSpec:
    known = {"type", "inputs", "target", "needs", "policy", "observe_every", "rotate_every", "rotation", "masking"}
    _keys(body, path, known)
    policy = _keys(_mapping(body, "policy", path), f"{path}.policy", {"attempts", "within"})
    attempts = policy.get("attempts")
    if attempts is not None and (type(attempts) is not int or attempts < 1):
        _refuse(f"{path}.policy.attempts", policy, "it must be a number of at least 1", "Give a number from 1.")
    needs = body.get("needs") or []
    if not isinstance(needs, list) or not all(isinstance(each, str) for each in needs):
        _refuse(f"{path}.needs", body, "it must be a list of components", "Write needs: [db, cache]")
    rotation = _keys(_mapping(body, "rotation", path), f"{path}.rotation", {"grace", "acknowledge"})
    if not isinstance(rotation.get("acknowledge", False), bool):
        _refuse(f"{path}.rotation.acknowledge", rotation, "it must be true or false", "Write acknowledge: true")
    grace = _duration(rotation, "grace", f"{path}.rotation")
    return ComponentSpec(
        type=_name(body, "type", path, _TYPE_PATTERN, "A type is PROVIDER.KIND, such as postgres.database."),
        inputs=_mapping(body, "inputs", path),
        target=_name(body, "target", path, NAME_PATTERN) if body.get("target") is not None else None,
        needs=tuple(dict.fromkeys(needs)),
        policy=Policy(attempts=attempts, within=_duration(policy, "within", f"{path}.policy")),
        observe_every=_duration(body, "observe_every", path, least=1.0),
        rotate_every=_duration(body, "rotate_every", path, least=1.0),
        rotation=Rotation(
            grace=Rotation().grace if grace is None else grace, acknowledge=rotation.get("acknowledge", False)
        ),
        masking=_files(body, "masking", path),
    )


def _files(body: dict[str, Any], key: str, path: str) -> tuple[str, ...]:
    """Files of the bundle, by their relative paths."""
    files = body.get(key) or []
    if isinstance(files, str):
        files = [files]
    if not isinstance(files, list) or not all(isinstance(each, str) for each in files):
        _refuse(join(path, [key]), body, "it must be a list of files of the bundle", "Write masking: [mask.sql]")
    for each in files:
        parts = each.split("/")
        if not each or each.startswith("/") or ".." in parts or "" in parts:
            _refuse(join(path, [key]), body, f"{each!r} is no file within the bundle", "Give its path in the folder.")
    return tuple(files)


def _tiers(documents: dict[str, Any], components: dict[str, ComponentSpec]) -> dict[str, TierSpec]:
    tiers = {}
    for name in _keys(documents, "tiers", set(TIERS)):
        path = f"tiers.{name}"
        body = _keys(
            _mapping(documents, name, "tiers"), path, {"ttl", "protected", "destroy_delay", "inputs", "targets"}
        )
        if not isinstance(body.get("protected", False), bool):
            _refuse(f"{path}.protected", body, "it must be true or false", "Write protected: true")
        targets = _mapping(body, "targets", path)
        for component in targets:
            _known_component(component, components, f"{path}.targets.{component}")
        tiers[name] = TierSpec(
            ttl=_duration(body, "ttl", path, least=1.0),
            protected=body.get("protected", False),
            destroy_delay=_duration(body, "destroy_delay", path) or 0.0,
            inputs=_mapping(body, "inputs", path),
            targets={each: _name(targets, each, f"{path}.targets", NAME_PATTERN) for each in targets},
        )
    return tiers


def _check_inputs(values: dict[str, Any], schema: dict[str, Any], field: str) -> None:
    """What a tier sets must fit; what it leaves out may still be given."""
    schema = {key: part for key, part in schema.items() if key != "required"}
    check(with_defaults(escape(values), schema), schema, field)


def _referred(value: Any, path: str) -> Iterator[tuple[str, Reference]]:
    match value:
        case dict():
            for key, each in value.items():
                yield from _referred(each, join(path, [key]))
        case list():
            for index, each in enumerate(value):
                yield from _referred(each, join(path, [index]))
        case str():
            try:
                yield from ((path, each) for each in sorted(references(value), key=str))
            except Invalid as problem:
                raise Invalid(f"{path}: {problem.message}", field=path, mend=problem.mend) from None


def _check_reference(
    reference: Reference, path: str, components: Mapping[str, ComponentSpec], inputs: Mapping[str, Any]
) -> None:
    if reference.component is not None:
        _known_component(reference.component, components, path, f"{path}: {reference} names")
        return
    known = inputs.get("properties", {})
    is_open = inputs.get("additionalProperties") or inputs.get("patternProperties")
    if reference.kind == "inputs" and reference.name not in known and not is_open:
        message = f"{path}: {reference} names an input that is not declared"
        raise Invalid(message, field=path, mend=suggestion(reference.name, known))


def _known_component(name: str, components: Mapping[str, Any], path: str, saying: str | None = None) -> None:
    if name not in components:
        message = f"{saying or f'{path} names'} a component that is not there: {name!r}"
        raise Invalid(message, field=path, mend=suggestion(name, components))


def _refuse_cycles(components: Mapping[str, ComponentSpec]) -> None:
    try:
        TopologicalSorter({name: spec.dependencies for name, spec in components.items()}).prepare()
    except CycleError as error:
        cycle: list[str] = list(reversed(error.args[1]))
        message = f"components need each other in a circle: {' → '.join(cycle)}"
        mend = "Take out one of the references or needs."
        raise Invalid(message, field=f"components.{cycle[0]}", mend=mend) from None


def _keys(body: dict[str, Any], path: str, known: set[str]) -> dict[str, Any]:
    for key in body:
        if key not in known:
            where = join(path, [key])
            raise Invalid(f"{where} is not known", field=where, mend=suggestion(key, known))
    return body


def _mapping(body: dict[str, Any], key: str, path: str, *, required: bool = False) -> dict[str, Any]:
    value = body.get(key)
    where = join(path, [key])
    if value is None and not required:
        return {}
    if not isinstance(value, dict):
        _refuse(where, body, "it must be a mapping", f"Write {key}: followed by keys and values.")
    return value


def _text(body: dict[str, Any], key: str, path: str) -> str | None:
    value = body.get(key)
    if value is not None and not isinstance(value, str):
        _refuse(join(path, [key]), body, "it must be text", "Put it in quotes.")
    return value


def _name(body: dict[str, Any], key: str, path: str, pattern: str, mend: str | None = None) -> str:
    value = _text(body, key, path)
    if value is None or not re.fullmatch(pattern, value):
        mend = mend or "Use at most 40 lower-case letters, digits and dashes; begin with a letter."
        _refuse(join(path, [key]), body, f"it must match {pattern}", mend)
    return value


def _version(metadata: dict[str, Any]) -> str:
    value = _text(metadata, "version", "metadata")
    if value is None or not _SEMVER.fullmatch(value):
        _refuse("metadata.version", metadata, "it must be a semantic version", "Write version: 1.0.0")
    return value


def _duration(body: dict[str, Any], key: str, path: str, *, least: float = 0.0) -> float | None:
    if body.get(key) is None:
        return None
    seconds = parse_duration(body[key], join(path, [key]))
    if seconds < least:
        _refuse(join(path, [key]), body, f"the minimum is {least:g}s", f"Give at least {least:g}s.")
    return seconds


def _refuse(path: str, body: Mapping[str, Any], problem: str, mend: str) -> NoReturn:
    key = path.rpartition(".")[2]
    saying = f"{path} is {shown(body[key])}" if body.get(key) is not None else f"{path} is missing"
    raise Invalid(f"{saying}; {problem}", field=path, mend=mend)
