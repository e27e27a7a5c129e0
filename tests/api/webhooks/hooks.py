"""Deliveries as the forges send them, and a world that two of them deliver to."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping
from typing import Any

from tests.api.http.world import World
from twin.domain.platform import PLATFORM_ID
from twin.domain.targets import Target
from twin.ports.store import EventFilter, Recorded, Tx

SECRET = "It's a Secret to Everybody"
GITHUB, GITEA = "github/main", "gitea/main"
GUID = "72d3162e-cc78-11e3-81ab-4c9367dc0958"

Headers = dict[str, str]


def signature(body: bytes, secret: str = SECRET) -> str:
    return hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def from_github(body: bytes, *, event: str = "pull_request", guid: str = GUID, secret: str = SECRET) -> Headers:
    return {
        "Content-Type": "application/json",
        "User-Agent": "GitHub-Hookshot/044aadd",
        "X-GitHub-Delivery": guid,
        "X-GitHub-Event": event,
        "X-GitHub-Hook-ID": "292430182",
        "X-Hub-Signature": "sha1=0000000000000000000000000000000000000000",
        "X-Hub-Signature-256": f"sha256={signature(body, secret)}",
    }


def from_gitea(body: bytes, *, event: str = "pull_request", guid: str = GUID, secret: str = SECRET) -> Headers:
    """All that Gitea sends: also what GitHub does."""
    return from_github(body, event=event, guid=guid, secret=secret) | {
        "X-Gitea-Delivery": guid,
        "X-Gitea-Event": event,
        "X-Gitea-Event-Type": f"{event}_sync",
        "X-Gitea-Signature": signature(body, secret),
    }


def pull_request(
    number: int = 42, repository: str = "ada/shop", host: str = "github.com", repository_id: int = 7, **changes: Any
) -> dict[str, Any]:
    """Of what a forge sends the part that is read, and something besides."""
    home = {"id": repository_id, "full_name": repository, "html_url": f"https://{host}/{repository}", "private": False}
    return {
        "action": "opened",
        "number": number,
        "pull_request": {
            "html_url": f"https://{host}/{repository}/pull/{number}",
            "title": "Sell more",
            "base": {"ref": "main", "repo": home},
        },
        "repository": home,
        "sender": {"login": "ada"},
    } | changes


def comment(
    text: str,
    number: int = 42,
    author: str = "ada",
    repository: str = "ada/shop",
    host: str = "github.com",
    repository_id: int = 7,
    **changes: Any,
) -> dict[str, Any]:
    """A comment on a pull request, as both forges send it."""
    page = f"https://{host}/{repository}/pull/{number}"
    return {
        "action": "created",
        "issue": {"number": number, "html_url": page, "pull_request": {"html_url": page}},
        "comment": {"id": 99, "user": {"login": author}, "body": text, "html_url": f"{page}#issuecomment-99"},
        "repository": {"id": repository_id, "full_name": repository, "html_url": f"https://{host}/{repository}"},
        "is_pull": True,
    } | changes


def bytes_of(payload: Mapping[str, Any]) -> bytes:
    return json.dumps(payload).encode()


async def configure(world: World, *, secret: str = SECRET) -> None:
    """Both forges as targets, and one that takes no webhooks."""

    def keep(tx: Tx) -> None:
        for name in (GITHUB, GITEA):
            tx.put_target(Target(name=name, provider=name.partition("/")[0]))
            sealed = world.vault.seal(PLATFORM_ID, name, 1, "webhook_secret", secret)
            tx.put_secret(PLATFORM_ID, name, 1, "webhook_secret", sealed)
        tx.put_target(Target(name="github/deaf", provider="github"))

    await world.store.transact(keep)


async def refusals(world: World) -> list[Recorded]:
    """What was refused, as the history has it."""
    return list((await world.store.events(EventFilter(entity=PLATFORM_ID))).items)


async def inbox_events(world: World, target: str = GITHUB) -> list[Recorded]:
    return list((await world.store.events(EventFilter(entity=f"inbox_{target}"))).items)
