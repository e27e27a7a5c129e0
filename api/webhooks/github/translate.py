"""What GitHub delivers, as news: `pull_request` and comments on pull requests; all else is nothing to us.

https://docs.github.com/en/webhooks/webhook-events-and-payloads
"""

from __future__ import annotations

from collections.abc import Mapping

from api.webhooks.reading import CommentEvent, PullRequestEvent, Unreadable, of_comment, of_pull_request, read
from twin.ports.deliveries import News, Nothing


def translate(event: str, headers: Mapping[str, str], body: bytes) -> News | Nothing:
    """See `twin.ports.deliveries.Translates`."""
    try:
        match event:
            case "pull_request":
                return of_pull_request(read(headers, body, PullRequestEvent))
            case "issue_comment":
                told = read(headers, body, CommentEvent)
                return of_comment(told) if told.issue.pull_request is not None else Nothing("a comment on an issue")
            case _:
                return Nothing(f"the event {event} is of no use here")
    except Unreadable as problem:
        return Nothing(str(problem))
