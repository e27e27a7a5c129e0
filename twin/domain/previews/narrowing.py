"""What a repository's own `.twin/preview.yaml` may say: less than its source allows, and never more.

Whoever can push a branch can write this file, so all that it may do is to give something up. Paths and labels add
to the conditions. Times, the number that may live at once, drafts and forks can only become less. Inputs are neither
less nor more, so that it may set those alone that the source names in `repository_inputs`; the blueprint's schema
bounds their values.
"""

from __future__ import annotations

from typing import Any, NoReturn

from msgspec.structs import replace

from twin.domain.durations import duration_text, parse_duration
from twin.domain.errors import Invalid
from twin.domain.near import suggestion
from twin.domain.previews.config import LEAST_TTL, SourceConfig, check_names
from twin.domain.previews.paths import check_patterns
from twin.domain.previews.plain import check_plain

FILE = ".twin/preview.yaml"

_KEYS = ("paths", "labels", "ttl", "idle_ttl", "max_live", "drafts", "forks", "inputs")
_OF_THE_SOURCE = frozenset(SourceConfig.__struct_fields__) - frozenset(_KEYS)


def narrowed(config: SourceConfig, document: Any) -> SourceConfig:
    """The configuration for a commit that has this document. Raises `Invalid` naming field, problem and mend if it
    would widen anything, or is not understood."""
    if not isinstance(document, dict):
        _refuse("", "it must be a mapping", "Write, for example, paths: [src/**]")
    for key in document:
        if not isinstance(key, str):
            _refuse("", "a key is no text", "Put it in quotes.")
        if key in _OF_THE_SOURCE:
            _refuse(key, "the repository cannot choose it", "Remove it; the preview source has it.")
        if key not in _KEYS:
            _refuse(_shown(key), "it is not known here", suggestion(_shown(key), _KEYS))
    # Which inputs it sets before what they are: of what it may not set, nothing is looked at.
    inputs = _inputs(config, document.get("inputs"))
    for key, value in document.items():
        check_plain(value, key)
    labels = _labels(document.get("labels"))
    paths = _texts(document.get("paths"), "paths")
    check_patterns(paths, "paths")
    needed = tuple(dict.fromkeys((*config.needed_labels, *labels["needed"])))
    excluded = tuple(dict.fromkeys((*config.excluded_labels, *labels["excluded"])))
    check_names(labels["needed"], "labels.needed")
    check_names(labels["excluded"], "labels.excluded")
    return replace(
        config,
        within=paths,
        needed_labels=needed,
        excluded_labels=excluded,
        ttl=_time(config.ttl, document.get("ttl"), "ttl"),
        idle_ttl=_time(config.idle_ttl, document.get("idle_ttl"), "idle_ttl"),
        max_live=_most(config.max_live, document.get("max_live")),
        drafts=_drafts(document.get("drafts"), allowed=config.drafts),
        forks=_forks(config, document.get("forks")),
        inputs=inputs,
    )


def _labels(given: Any) -> dict[str, tuple[str, ...]]:
    if given is None:
        given = {}
    if not isinstance(given, dict) or not given.keys() <= {"needed", "excluded"}:
        _refuse("labels", "it must be a mapping of needed and excluded", "Write labels: {needed: [preview]}")
    return {key: _texts(given.get(key), f"labels.{key}") for key in ("needed", "excluded")}


def _texts(given: Any, where: str) -> tuple[str, ...]:
    if given is None:
        return ()
    if not isinstance(given, list | tuple) or not all(isinstance(each, str) for each in given):
        _refuse(where, "it must be a list of texts", f"Write {where.rpartition('.')[2]}: [...]")
    return tuple(given)


def _time(most: float | None, given: Any, where: str) -> float | None:
    if given is None:
        return most
    seconds = parse_duration(given, where)
    if seconds < LEAST_TTL:
        _refuse(where, "the minimum is 1m", "Give at least 1m.")
    if most is not None and seconds > most:
        limit = duration_text(most)
        _refuse(where, f"it is {given}, and the preview source allows {limit}", f"Give at most {limit}.")
    return seconds


def _most(most: int, given: Any) -> int:
    if given is None:
        return most
    if not isinstance(given, int) or isinstance(given, bool) or not 1 <= given <= most:
        _refuse("max_live", f"it must be a number from 1 to {most}, which the preview source allows", "Lower it.")
    return given


def _drafts(given: Any, *, allowed: bool) -> bool:
    if given is None:
        return allowed
    if not isinstance(given, bool):
        _refuse("drafts", "it must be true or false", "Write drafts: false")
    if given and not allowed:
        _refuse("drafts", "the preview source has no previews of drafts", "Remove it, or mark drafts as ready.")
    return given


def _forks(config: SourceConfig, given: Any) -> Any:
    if given is None:
        return config.forks
    if given not in ("never", "allow"):
        _refuse("forks", "it must be never or allow", "Write forks: never")
    if given == "allow" and config.forks == "never":
        _refuse("forks", "the preview source has no previews of forks", "Remove it.")
    return given


def _inputs(config: SourceConfig, given: Any) -> dict[str, Any]:
    if given is None:
        return config.inputs
    if not isinstance(given, dict):
        _refuse("inputs", "it must be a mapping", "Write inputs: {greeting: hello}")
    for name in given:
        if name not in config.repository_inputs:
            shown = _shown(name) if isinstance(name, str) else "?"
            _refuse(
                f"inputs.{shown}",
                "the preview source does not let the repository set it",
                f"It may set: {', '.join(config.repository_inputs)}." if config.repository_inputs else "Remove it.",
            )
    return {**config.inputs, **given}


def _shown(name: str) -> str:
    """A name in a message, which may have halves of characters that nothing can keep."""
    return name[:50].encode(errors="backslashreplace").decode()


def _refuse(where: str, problem: str, mend: str) -> NoReturn:
    raise Invalid(f"{where}: {problem}" if where else problem, field=where or FILE, mend=mend)
