"""A cloud in a directory: a file is a thing, and `journal` keeps every secret that it ever gave out, a line each.

As with IAM, a key's secret is told once. Secrets hold what quoting, escaping and encoding change.
"""

from __future__ import annotations

import json
import os
import secrets
import time
from typing import Any

from pulumi.dynamic import CreateResult, DiffResult, ReadResult, ResourceProvider, UpdateResult

Properties = dict[str, Any]


def minted(directory: str) -> str:
    """A new secret, in the journal before anybody else has it."""
    secret = f"{secrets.token_hex(12)}/+\"'\\&%é{secrets.token_hex(12)}"
    with open(os.path.join(directory, "journal"), "a", encoding="utf-8") as journal:
        journal.write(json.dumps(secret) + "\n")
    return secret


def put(props: Properties, thing: Properties) -> None:
    """Have it stand there."""
    with open(path_of(props), "w", encoding="utf-8") as file:
        json.dump(thing, file)


def path_of(props: Properties) -> str:
    """Where it stands."""
    return os.path.join(props["directory"], props["title"] + ".json")


class ThingProvider(ResourceProvider):
    """What all things have in common. `kept` are the properties that the cloud tells again, `told` those it makes."""

    serialize_as_secret_always = False
    kept: tuple[str, ...] = ()
    told: tuple[str, ...] = ()

    def create(self, props: Properties) -> CreateResult:
        made = {name: minted(props["directory"]) for name in self.told}
        put(props, {**{name: props[name] for name in self.kept}, **made})
        time.sleep(props["delay"])  # between the effect and the answer: where a crash hurts
        return CreateResult(path_of(props), {**props, **made})

    def read(self, id_: str, props: Properties) -> ReadResult:
        if not os.path.exists(id_):
            return ReadResult("", {})
        with open(id_, encoding="utf-8") as file:
            return ReadResult(id_, {**props, **json.load(file)})

    def diff(self, _id: str, _olds: Properties, _news: Properties) -> DiffResult:
        changed = any(_olds.get(name) != _news.get(name) for name in self.kept)
        return DiffResult(changes=changed, replaces=[])

    def update(self, _id: str, _olds: Properties, _news: Properties) -> UpdateResult:
        secret = {name: _olds[name] for name in self.told}
        if _news.get("text") == "refuse":
            raise ValueError(f"no such text for {secret} or {[*secret.values()]}")
        put(_news, {**{name: _news[name] for name in self.kept}, **secret})
        return UpdateResult({**_news, **secret})

    def delete(self, _id: str, _props: Properties) -> None:
        if os.path.exists(_id):
            os.remove(_id)

    def lookup(self, props: Properties) -> str | None:
        """After a crash. What only the lost answer told is of no use: such a thing is made anew."""
        return path_of(props) if not self.told and os.path.exists(path_of(props)) else None


class DoorProvider(ThingProvider):
    """Has a text that may change, and a password that the cloud makes."""

    kept = ("text",)
    told = ("password",)


class KeyProvider(ThingProvider):
    """One version of a credential."""

    told = ("secret_key",)
