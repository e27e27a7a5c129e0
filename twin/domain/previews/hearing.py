"""What a pull request has heard already: deliveries and comments, each remembered apart.

A delivery that is forgotten and comes again costs a look. A command that was forgotten would be carried out again, so
none ever is, in so little space: forges number their comments upwards, of those that were taken the highest are
remembered, and what is below all of them counts as taken. It may have come too late; then somebody comments again.
"""

from __future__ import annotations

from twin.domain.previews.pull_request import MOST_HEARD, PullRequest

_COMMENT = "comment:"
"""Before a comment's id, and in no delivery's: that has no colon."""


def was_heard(state: PullRequest, comment: str) -> bool:
    """Whether a comment was taken, or is older than all that are remembered."""
    known = _comments(state.heard)
    if f"{_COMMENT}{comment}" in known:
        return True
    return len(known) >= MOST_HEARD and _order(f"{_COMMENT}{comment}") < _order(known[0])


def with_comment(state: PullRequest, comment: str) -> tuple[str, ...]:
    """`heard` with one more comment, without the lowest if they are too many."""
    heard = (*state.heard, f"{_COMMENT}{comment}")
    forgotten = _comments(heard)[:-MOST_HEARD]
    return tuple(each for each in heard if each not in forgotten)


def with_delivery(state: PullRequest, delivery: str) -> tuple[str, ...]:
    """`heard` with one more delivery, without the oldest if they are too many."""
    heard = (*state.heard, delivery)
    forgotten = [each for each in heard if not each.startswith(_COMMENT)][:-MOST_HEARD]
    return tuple(each for each in heard if each not in forgotten)


def _comments(heard: tuple[str, ...]) -> list[str]:
    """From the lowest to the highest."""
    return sorted((each for each in heard if each.startswith(_COMMENT)), key=_order)


def _order(comment: str) -> tuple[int, str]:
    """The order of numbers, which the ids of all known forges are: of two texts of digits the longer is the higher."""
    return len(comment), comment
