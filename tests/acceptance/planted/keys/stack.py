"""Makes secrets, and can be told to tell all of them."""

from __future__ import annotations

import base64
import json
import os
import sys
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import pulumi
from keys.cloud import DoorProvider, KeyProvider
from pulumi.dynamic import Resource


class Door(Resource, module="planted", name="Door"):
    password: pulumi.Output[str]

    def __init__(self, name: str, props: dict[str, Any]) -> None:
        opts = pulumi.ResourceOptions(additional_secret_outputs=["password"])
        super().__init__(DoorProvider(), name, {**props, "password": None}, opts)


class Key(Resource, module="planted", name="Key"):
    secret_key: pulumi.Output[str]

    def __init__(self, name: str, props: dict[str, Any]) -> None:
        opts = pulumi.ResourceOptions(additional_secret_outputs=["secret_key"])
        super().__init__(KeyProvider(), name, {**props, "secret_key": None}, opts)


def main() -> None:
    """A door with its password, and a key for each live credential."""
    config = pulumi.Config()
    door = Door("door", {**_place("door"), "text": config.require("text")})
    keys = {}
    for version in pulumi.Config("twin").require_object("credentials"):
        keys[str(version)] = Key(f"key-{version}", _place(f"key-{version}"))
    pulumi.export("endpoint", door.id)
    pulumi.export("password", door.password)
    credentials = {version: {"secret_key": key.secret_key} for version, key in keys.items()}
    pulumi.export("credentials", pulumi.Output.secret(credentials))
    if config.get_bool("tell"):
        pulumi.Output.all(door.password, *(key.secret_key for key in keys.values())).apply(_tell)


def opens(credential: Mapping[str, str]) -> bool:
    """Whether a key still opens: whether the cloud has one with that secret."""
    for each in os.scandir(os.environ["CLOUD"]):
        if each.name.endswith(".json"):
            with open(each.path, encoding="utf-8") as file:
                if json.load(file).get("secret_key") == credential["secret_key"]:
                    return True
    return False


def _place(name: str) -> dict[str, Any]:
    config = pulumi.Config()
    title = f"{pulumi.get_stack()}-{name}"
    return {"directory": os.environ["CLOUD"], "title": title, "delay": config.get_float("delay") or 0.0}


def _tell(known: list[str]) -> None:
    """Say all of it, in every way that libraries have of quoting, and fail."""
    for secret in known:
        for text in disguised(secret):
            pulumi.log.info(f"have {text}")
            print("have", text)
            print("have", text, file=sys.stderr)
    raise ValueError(f"cannot use {known!r}, that is {[disguised(secret) for secret in known]}")


def disguised(secret: str) -> list[str]:
    encoded = base64.b64encode(f"user:{secret}".encode()).decode()
    return [secret, repr(secret), json.dumps(secret), quote(secret, safe=""), quote(secret), encoded]
