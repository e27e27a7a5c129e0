"""Which pull request people mean: `42`, `acme/guestbook#42`, or its number and the name of its preview source."""

from __future__ import annotations

import re
from collections.abc import Sequence

from twin.domain.errors import Invalid, NotFound
from twin.domain.near import near_misses
from twin.domain.previews.names import pull_id
from twin.domain.previews.pull_request import PullRequest
from twin.domain.previews.pulls import PULL_REQUEST
from twin.domain.previews.source import PREVIEW_SOURCE
from twin.ports.store import EntityRow, Store
from twin.service.paging import every
from twin.service.principals import Principal

_NAMED = re.compile(r"(?:(?P<repository>[^#\s]+)#|#)?(?P<number>[1-9][0-9]{0,17})")


async def pull_named(
    store: Store, text: str, by: Principal, *, source: str | None = None, project: str | None = None
) -> PullRequest:
    """The one that is meant, of those that the principal may see. Raises `Invalid` if it is no pull request's name or
    means several, and then says which; `NotFound` if there is none."""
    found = _NAMED.fullmatch(text.strip())
    if found is None:
        raise Invalid(
            f"{text!r} names no pull request", field="pr", mend="Give a number, or OWNER/NAME#NUMBER: acme/guestbook#42"
        )
    number, repository = int(found["number"]), found["repository"]
    sources = await _sources(store, by, source=source, project=project)
    rows = [await store.entity(PULL_REQUEST.kind, pull_id(each, number)) for each in sources]
    known: list[PullRequest] = [row.state for row in rows if row is not None and by.may("viewer", row.project)]
    pulls = [each for each in known if repository in (None, each.origin.repository) or _same(each, repository)]
    if len(pulls) == 1:
        return pulls[0]
    if not pulls:
        near = [_name(each) for each in known]  # of another repository, with that number
        raise NotFound(
            f"no preview source that you may see knows pull request {text}",
            field="pr",
            near=near,
            mend=None if near else "See which sources there are: twin preview ls",
        )
    which = ", ".join(f"{_name(each)} of source {each.origin.source}" for each in pulls)
    one = pulls[0].origin
    raise Invalid(
        f"{text} is more than one pull request: {which}",
        field="pr",
        mend=f"Name its repository, its source or both: --pr {one.repository}#{one.number} --source {one.source}",
        details={"near": [_name(each) for each in pulls]},
    )


async def _sources(store: Store, by: Principal, *, source: str | None, project: str | None) -> Sequence[str]:
    """Names of those that there are or were: their pull requests' history outlives them."""
    rows = every(store, PREVIEW_SOURCE.kind, project=project, live=False)
    seen: list[EntityRow] = [row async for row in rows if by.may("viewer", row.project)]
    names = [row.name for row in seen]
    if source is None or source in names:
        return names if source is None else [source]
    near = near_misses(source, names)
    raise NotFound(
        f"there is no preview source {source!r}",
        field="source",
        near=near,
        mend=None if near else "See which there are: twin preview ls",
    )


def _same(pull: PullRequest, repository: str | None) -> bool:
    """Names of repositories are the same in capitals, on all forges."""
    return repository is not None and pull.origin.repository.casefold() == repository.casefold()


def _name(pull: PullRequest) -> str:
    return f"{pull.origin.repository}#{pull.origin.number}"
