"""What GitHub really sends is taken and understood: every collected payload of the two events that we use, and of all
others."""

from __future__ import annotations

import zlib
from collections import Counter

from api.webhooks.forms import FORMS
from tests.api.http.world import World
from tests.api.webhooks.examples import examples
from tests.api.webhooks.hooks import GITHUB, bytes_of, comment, from_github
from twin.ports.deliveries import News, Nothing

USED = ("pull_request", "issue_comment")
JSON = {"content-type": "application/json"}


async def test_all_are_taken_with_the_right_signature_and_kept_as_they_came(world: World) -> None:
    sent = [(event, bytes_of(payload)) for _, event, payload in examples(*USED)]
    assert Counter(event for event, _ in sent) == {"pull_request": 46, "issue_comment": 20}
    async with world.client(None) as http:
        for number, (event, body) in enumerate(sent):
            headers = from_github(body, event=event, guid=f"guid-{number}")
            answer = await http.post(f"/webhooks/{GITHUB}", content=body, headers=headers)
            assert answer.status_code == 202, answer.text
            assert answer.json()["new"]
            refused = await http.post(f"/webhooks/{GITHUB}", content=body + b" ", headers=headers)
            assert refused.status_code == 401
    kept = await world.store.undone(GITHUB, limit=1000)
    assert [(each.event, zlib.decompress(each.body or b"")) for each in kept] == sent


def test_each_pull_request_event_is_news_of_its_pull_request() -> None:
    for server, event, payload in examples("pull_request"):
        told = FORMS["github"].translate(event, JSON, bytes_of(payload))
        assert isinstance(told, News), (server, payload["action"], told)
        assert told.what == f"pull_request.{payload['action']}"
        assert told.number == payload["number"] == payload["pull_request"]["number"]
        assert told.repository == payload["repository"]["full_name"]
        assert told.hosts == ("github.com",) if server == "api.github.com" else told.hosts
        assert told.comment is None


def test_each_comment_event_is_read_to_its_end_and_would_command_if_it_were_a_command() -> None:
    """None of those collected is on a pull request; made to be, with a command, the new ones command."""
    seen: Counter[str] = Counter()
    for server, event, payload in examples("issue_comment"):
        told = FORMS["github"].translate(event, JSON, bytes_of(payload))
        assert told == Nothing("a comment on an issue"), (server, told)
        payload["issue"]["pull_request"] = comment("")["issue"]["pull_request"] | {
            "html_url": payload["issue"]["html_url"]
        }
        payload["comment"]["body"] = "/twin status\r\nplease"
        told = FORMS["github"].translate(event, JSON, bytes_of(payload))
        seen[payload["action"]] += 1
        if payload["action"] == "created":
            assert isinstance(told, News), (server, told)
            assert told.comment is not None
            assert told.comment.text == "/twin status"
            assert told.comment.id == str(payload["comment"]["id"])
            assert told.comment.author == payload["comment"]["user"]["login"]
            assert (told.repository, told.number) == (payload["repository"]["full_name"], payload["issue"]["number"])
        else:
            assert told == Nothing(f"a comment was {payload['action']}; only new ones command")
    assert min(seen[action] for action in ("created", "edited", "deleted")) > 0


def test_every_other_event_of_github_is_of_no_use_and_does_no_harm() -> None:
    others = [each for each in examples() if each[1] not in USED]
    assert len({event for _, event, _ in others}) > 40
    for _, event, payload in others:
        told = FORMS["github"].translate(event, JSON, bytes_of(payload))
        assert told == Nothing(f"the event {event} is of no use here")
