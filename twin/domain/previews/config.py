"""The configuration of a preview source, and what is wrong with one."""

from __future__ import annotations

import re
from typing import Any, Literal

from msgspec import Struct, field

from twin.domain.errors import Invalid
from twin.domain.naming import check_component_name, check_name
from twin.domain.near import suggestion
from twin.domain.previews.paths import check_patterns

Data = Literal["none", "schema", "full", "masked"]

TIER = "preview"
"""Of the environments of pull requests."""

PULL_NAMES = ("number", "sha", "branch")
"""What an input may say of the pull request: `${pr.number}`. Never its title, nor the branch as its author wrote it."""

MOST_LABELS = 32
LEAST_TTL = 60.0
LONGEST_TTL = 3650 * 86_400.0
MOST_LIVE = 1000

_REPOSITORY = re.compile(r"[A-Za-z0-9_.-]{1,100}(/[A-Za-z0-9_.-]{1,100})+", re.ASCII)
_OPENING = re.compile(r"\$\{pr\.([^}]*)\}")
_PREFIX = re.compile(r"[a-z]([a-z0-9]*(-[a-z0-9]+)*)?", re.ASCII)
_LONGEST_PREFIX = 20


class CloneFrom(Struct, frozen=True, kw_only=True):
    """An environment (`project/name`) that previews begin as clones of, and with which of its data."""

    environment: str
    data: Data = "masked"


class SourceConfig(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One repository's previews.

    `forge`: its target, such as `github/main`. `blueprint` (`name` or `name@version`) or `clone_from`: what a preview
    is made of. `inputs` may say `${pr.number}`, `${pr.sha}` and `${pr.branch}` (as lower-case letters, digits and
    hyphens). `repository_inputs`: the inputs that `.twin/preview.yaml` may set, bounded by the blueprint's schema.
    `component`: gets `source: {git, ref}` with the pull request's commit. `prefix`: of the environments' names.
    `ttl` and `idle_ttl` (since the last push or command), and `reconcile_every`, in seconds. `paths`: a changed one
    must match; `within`, from the repository's file alone: and these too. `forks`: `allow` has previews of forks once
    a member has said `/twin allow` of the very commit.
    """

    forge: str
    repository: str
    project: str
    blueprint: str | None = None
    clone_from: CloneFrom | None = None
    inputs: dict[str, Any] = field(default_factory=dict)
    repository_inputs: tuple[str, ...] = ()
    component: str = "app"
    prefix: str = "pr"
    ttl: float | None = None
    idle_ttl: float | None = None
    paths: tuple[str, ...] = ()
    within: tuple[str, ...] = ()
    needed_labels: tuple[str, ...] = ()
    excluded_labels: tuple[str, ...] = ()
    drafts: bool = False
    max_live: int = 5
    forks: Literal["never", "allow"] = "never"
    reconcile_every: float = 300.0


def check_config(config: SourceConfig) -> None:
    """Raise `Invalid`, naming the field, if it cannot be right in itself."""
    _check_place(config)
    _check_origin(config)
    for name in (*config.inputs, *config.repository_inputs):
        if not name:
            raise Invalid("inputs: a name is empty", field="inputs", mend="Give the name of a blueprint's input.")
    rendered(config.inputs, number=1, sha="0" * 40, branch="x", where="inputs")
    for name in ("ttl", "idle_ttl", "reconcile_every"):
        seconds = getattr(config, name)
        if seconds is not None and not LEAST_TTL <= seconds <= LONGEST_TTL:
            raise Invalid(f"{name} is {seconds:g} s; it must be 1m to 3650d", field=name, mend='For example: "24h".')
    check_patterns(config.paths, "paths")
    if config.within:
        raise Invalid("within is what a repository's file adds", field="within", mend="Give paths.")
    check_names(config.needed_labels, "needed_labels")
    check_names(config.excluded_labels, "excluded_labels")
    if not 1 <= config.max_live <= MOST_LIVE:
        raise Invalid(
            f"max_live is {config.max_live}; it must be 1 to {MOST_LIVE}",
            field="max_live",
            mend="Give how many previews of the repository may live at once.",
        )


def check_names(labels: tuple[str, ...], where: str) -> None:
    """Labels of pull requests: at most 32, none empty or very long."""
    if len(labels) > MOST_LABELS:
        raise Invalid(f"{where}: {len(labels)} are given; the maximum is {MOST_LABELS}", field=where)
    for label in labels:
        if not label.strip() or len(label) > 100:
            raise Invalid(f"{where}: {label!r} is no label", field=where, mend="For example: preview.")


def rendered(value: Any, *, number: int, sha: str, branch: str, where: str) -> Any:
    """The value with what it says of the pull request put in. A text that is exactly `${pr.number}` is a number.

    Nothing else in it means anything. Raises `Invalid` for a `${pr.…}` that there is not.
    """
    known = {"number": number, "sha": sha, "branch": branch}

    def one(name: str) -> Any:
        if name not in known:
            raise Invalid(
                f"{where}: ${{pr.{name}}} is not known of a pull request",
                field=where,
                mend=suggestion(name, PULL_NAMES),
            )
        return known[name]

    match value:
        case str():
            whole = _OPENING.fullmatch(value)
            return one(whole[1]) if whole else _OPENING.sub(lambda found: str(one(found[1])), value)
        case dict():
            return {
                key: rendered(each, number=number, sha=sha, branch=branch, where=f"{where}.{key}")
                for key, each in value.items()
            }
        case list() | tuple():
            return [rendered(each, number=number, sha=sha, branch=branch, where=where) for each in value]
        case _:
            return value


def _check_place(config: SourceConfig) -> None:
    check_name(config.project, "project")
    check_component_name(config.component, "component")
    if not config.forge or len(config.forge) > 100:
        raise Invalid("forge is missing", field="forge", mend="Name a target of a forge, such as github/main.")
    parts = config.repository.split("/")
    if not _REPOSITORY.fullmatch(config.repository) or any(part in (".", "..") for part in parts):
        raise Invalid(
            f"repository is {config.repository!r}, which names no repository",
            field="repository",
            mend="Write it as owner/name.",
        )
    if not _PREFIX.fullmatch(config.prefix) or len(config.prefix) > _LONGEST_PREFIX:
        raise Invalid(
            f"prefix is {config.prefix!r}; it begins with a letter and has lower case letters, digits and single "
            f"hyphens, at most {_LONGEST_PREFIX}",
            field="prefix",
            mend="For example: pr, web-pr.",
        )


def _check_origin(config: SourceConfig) -> None:
    if (config.blueprint is None) == (config.clone_from is None):
        raise Invalid(
            "a preview is made of a blueprint or of an environment: exactly one of blueprint and clone_from",
            field="blueprint",
            mend="Give blueprint: guestbook, or clone_from: {environment: shop/staging, data: masked}.",
        )
    if config.clone_from is not None:
        project, slash, name = config.clone_from.environment.partition("/")
        if not slash:
            raise Invalid(
                f"clone_from.environment is {config.clone_from.environment!r}; it must be project/name",
                field="clone_from.environment",
                mend=f"For example: {config.project}/staging.",
            )
        check_name(name, "clone_from.environment")
        if project != config.project:
            raise Invalid(
                f"clone_from.environment is of project {project!r}; a clone is of its source's project, here "
                f"{config.project!r}",
                field="clone_from.environment",
                mend=f"Name an environment of {config.project}, or set project: {project}.",
            )
    elif not config.blueprint:
        raise Invalid("blueprint is empty", field="blueprint", mend="For example: guestbook, or guestbook@1.0.0.")
