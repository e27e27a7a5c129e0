"""Whether a pull request should have a preview, and what it would be made of."""

from __future__ import annotations

from typing import Any

from msgspec import Struct, field
from msgspec.structs import replace

from twin.domain.digest import digest
from twin.domain.errors import Blocked, Problem, StepFailure
from twin.domain.previews.config import CloneFrom, SourceConfig, rendered
from twin.domain.previews.names import environment_name, slug
from twin.domain.previews.narrowing import FILE, narrowed
from twin.domain.previews.paths import any_matches
from twin.domain.pulls import Pull


class Recipe(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """All that the environment of one commit is made of. `repository`: where the commit is fetched from.

    `fork`: its code is a stranger's, so that it needs a sandbox, and gets none of the data of what it would be a clone
    of.
    """

    project: str
    name: str
    repository: str
    component: str
    blueprint: str | None = None
    clone_from: CloneFrom | None = None
    inputs: dict[str, Any] = field(default_factory=dict)
    ttl: float | None = None
    fork: bool = False

    @property
    def digest(self) -> str:
        """Names it."""
        return digest(self)


class Verdict(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the source's configuration says of a pull request. `unwanted`: why it gets no preview. `problem`: what is
    wrong with its configuration; then nothing is changed until it is mended. `most`: how many may live at once."""

    recipe: Recipe | None = None
    unwanted: str | None = None
    problem: str | None = None
    mend: str | None = None
    idle_ttl: float | None = None
    most: int | None = None


def judge(
    config: SourceConfig | None,
    pull: Pull,
    *,
    paths: tuple[str, ...] | None,
    sandbox: bool,
    document: Any = None,
) -> Verdict:
    """The verdict on a pull request that is open.

    `config` None: the source was removed. `paths`: what it changes, None if more than the forge tells, which then
    counts as a match. `sandbox`: whether all that runs its code keeps it from the rest. `document`: what its commit's
    `.twin/preview.yaml` says, None if there is none; an exception (`Invalid`) if that cannot be read.
    """
    if config is None:
        return Verdict(unwanted="the repository has no previews any more")
    try:
        if isinstance(document, Problem):
            raise document
        config = narrowed(config, document) if document is not None else config
        return _judged(config, pull, paths, sandbox=sandbox)
    except Problem as problem:
        where = problem.field or FILE
        return Verdict(problem=f"{FILE}: {problem.message}", mend=problem.mend or f"Correct {where}, and push.")


def unread(failure: StepFailure) -> Verdict:
    """The verdict where the forge does not give what the commit has in it, and will not by itself."""
    waits = f" Waits for {failure.owner}." if isinstance(failure, Blocked) else ""
    problem = f"{FILE} and what is changed cannot be had: {failure.message.rstrip('.')}.{waits}"
    return Verdict(problem=problem, mend=getattr(failure, "mend", None))


def _judged(config: SourceConfig, pull: Pull, paths: tuple[str, ...] | None, *, sandbox: bool) -> Verdict:
    if (why := _unwanted(config, pull, paths, sandbox=sandbox)) is not None:
        return Verdict(unwanted=why)
    inputs = rendered(
        config.inputs, number=pull.number, sha=pull.head_sha, branch=slug(pull.head_branch), where="inputs"
    )
    clone = config.clone_from
    if clone is not None and pull.is_fork:
        clone = replace(clone, data="none")
    recipe = Recipe(
        project=config.project,
        name=environment_name(config.prefix, pull.number),
        repository=pull.head_repository or pull.repository,
        component=config.component,
        blueprint=config.blueprint,
        clone_from=clone,
        inputs=inputs,
        ttl=config.ttl,
        fork=pull.is_fork,
    )
    return Verdict(recipe=recipe, idle_ttl=config.idle_ttl, most=config.max_live)


def _unwanted(config: SourceConfig, pull: Pull, paths: tuple[str, ...] | None, *, sandbox: bool) -> str | None:
    labels = set(pull.labels)
    if pull.is_fork and config.forks == "never":
        return "it comes from a fork, and this repository has no previews of forks"
    if pull.is_fork and not sandbox:
        return "it comes from a fork, and what would run its code has no sandbox"
    if pull.draft and not config.drafts:
        return "it is a draft"
    if excluded := sorted(labels.intersection(config.excluded_labels)):
        return f"it has the label {excluded[0]}"
    if missing := sorted(set(config.needed_labels) - labels):
        return f"it lacks the label {missing[0]}"
    if paths is not None and not _touches(config, paths):
        return "it changes nothing that a preview would show"
    return None


def _touches(config: SourceConfig, paths: tuple[str, ...]) -> bool:
    for patterns in (config.paths, config.within):
        if patterns:
            paths = tuple(path for path in paths if any_matches((path,), patterns))
    return bool(paths) or not (config.paths or config.within)
