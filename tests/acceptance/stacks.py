"""Environments that are a Pulumi stack: a twin with nothing else, and what the world and the state hold."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any, Protocol

from ruamel.yaml import YAML

from tests.acceptance.service import Service
from tests.aws import Aws

EXAMPLES = Path(__file__).parents[2] / "examples" / "pulumi"
PASSPHRASE = "correct-horse-battery-staple"

Json = dict[str, Any]


class StackService(Service):
    """A twin whose only target is `pulumi/local`, with its state in files."""

    def __init__(self, directory: Path, aws: Aws) -> None:
        self.pulumi = directory / "pulumi"
        target = {
            "name": "pulumi/local",
            "config": {"directory": str(self.pulumi), "env": aws.variables},
            "credentials": {"passphrase": PASSPHRASE, **aws.credentials},
        }
        path = directory.with_suffix(".yaml")
        with path.open("w") as file:
            YAML(typ="safe").dump({"targets": [target]}, file)
        path.chmod(0o600)
        super().__init__(directory, local="off", targets_file=path)

    def state(self, stack: str) -> Json | None:
        """What the state says of a stack: `ids` by name, and `pending` operations; None if there is no such stack."""
        path = self.pulumi / "state" / ".pulumi" / "stacks" / "twin" / f"{stack}.json"
        if not path.exists():
            return None
        latest = json.loads(path.read_text())["checkpoint"]["latest"]
        mine = [each for each in latest.get("resources", ()) if "::pulumi-python:dynamic/" in each["urn"]]
        ids = [(each["type"].rpartition(":")[2] + " " + each["urn"].rpartition("::")[2], each["id"]) for each in mine]
        assert len(dict(ids)) == len(ids), f"a resource stands twice in the state: {ids}"
        return {"ids": dict(ids), "pending": latest.get("pending_operations", [])}

    def secrets(self, environment: str, component: str) -> Json:
        """A component's secrets, as whoever may reveal them gets them."""
        answer = self.post(f"/v1/environments/{environment}/credentials/reveal", {"reason": "a test"})
        before = f"{component}_".upper()
        return {name.removeprefix(before).lower(): value for name, value in answer["variables"].items()}

    def check(self, world: World, environment: str, *, updated: bool) -> None:
        """The twin, the state and the world say the same, and each resource is there once."""
        (component,) = self.environment(environment)["components"]
        assert component["state"] == "applied"
        stack = component["external_id"]
        state = self.state(stack)
        assert state is not None
        assert state["pending"] == []
        world.check(stack, state, self.secrets(environment, component["name"]), updated=updated)

    def locks(self) -> list[Path]:
        """Locks that are held in the backend."""
        return list((self.pulumi / "state" / ".pulumi" / "locks").rglob("*.json"))


class World(Protocol):
    """What an example makes, asked of the place itself."""

    folder: Path
    blueprint: str
    component: str
    create: Json
    update: Json

    def check(self, stack: str, state: Json, secrets: Json, *, updated: bool) -> None:
        """Each resource is there exactly once, is what was asked for, and is the one that the state means."""
        ...

    def check_gone(self, stack: str) -> None:
        """Nothing is left."""
        ...


class AwsWorld:
    """examples/pulumi/aws."""

    folder = EXAMPLES / "aws"
    blueprint = "uploads"
    component = "cloud"
    create: Json = {}  # noqa: RUF012 - never changed
    update: Json = {"visibility_timeout": 45, "versioning": True, "read_only": True}  # noqa: RUF012

    def __init__(self, aws: Aws) -> None:
        self.aws = aws

    def check(self, stack: str, state: Json, secrets: Json, *, updated: bool) -> None:
        prefix = prefix_of(stack)
        found = self.aws.all(prefix)
        assert {kind: list(each) for kind, each in found.items()} == {
            "buckets": [f"{prefix}uploads"],
            "queues": [f"{prefix}jobs"],
            "users": [f"{prefix}app"],
        }
        assert found["buckets"][f"{prefix}uploads"]["versioning"] == ("Enabled" if updated else "Suspended")
        assert found["queues"][f"{prefix}jobs"]["visibility_timeout"] == (45 if updated else 30)
        user = found["users"][f"{prefix}app"]
        assert user["policies"] == ["uploads"]
        policy = self.aws.client("iam").get_user_policy(UserName=f"{prefix}app", PolicyName="uploads")
        assert ("s3:PutObject" in json.dumps(policy["PolicyDocument"])) is not updated
        assert user["keys"] == [secrets["access_key_id"]], "one key, and it is the one that the twin gives out"
        assert self.aws.accepts(secrets["access_key_id"], secrets["secret_access_key"])
        assert {name: each.rpartition("/")[2] for name, each in state["ids"].items()} == {
            "Bucket uploads": f"{prefix}uploads",
            "Queue jobs": f"{prefix}jobs",
            "User app": f"{prefix}app",
            "Policy app": f"{prefix}app:uploads",
            "AccessKey app-1": secrets["access_key_id"],
        }

    def check_gone(self, stack: str) -> None:
        assert self.aws.all(prefix_of(stack)) == {}


class SlowWorld:
    """examples/pulumi/slow, in a directory."""

    folder = EXAMPLES / "slow"
    blueprint = "slow"
    component = "parts"
    update: Json = {"label": "second"}  # noqa: RUF012 - never changed

    def __init__(self, cloud: Path, seconds: float) -> None:
        self.cloud = cloud
        self.create = {"cloud": str(cloud), "seconds": seconds}

    def check(self, stack: str, state: Json, secrets: Json, *, updated: bool) -> None:
        things = self._things(stack)
        assert {f"Part {each['name']}": id_ for id_, each in things.items()} == state["ids"]
        assert len(things) == 12, f"each part once, and no other: {things}"
        assert {each["label"] for each in things.values()} == {"second" if updated else ""}
        assert set(self._created(things).values()) == {1}, "none was made twice, not even to be removed again"
        needed = {id_ for each in things.values() for id_ in each["needs"]}
        assert needed < things.keys(), "what a part needs is there"

    def check_gone(self, stack: str) -> None:
        assert self._things(stack) == {}

    def _things(self, stack: str) -> dict[str, Json]:
        found = {path.stem: json.loads(path.read_text()) for path in self.cloud.glob("part-*.json")}
        return {id_: each for id_, each in found.items() if each["stack"] == stack}

    def _created(self, things: dict[str, Json]) -> Counter[str]:
        journal = [json.loads(line) for line in (self.cloud / "journal").read_text().splitlines()]
        stack = next(iter(things.values()))["stack"]
        return Counter(each["name"] for each in journal if each["what"] == "create" and each["stack"] == stack)


def stack_of(environment: str, component: str) -> str:
    """The name of a component's first stack."""
    return f"tw_{environment.removeprefix('env_').lower()}_{component}_1"


def prefix_of(stack: str) -> str:
    """How names in AWS begin."""
    return stack.replace("_", "-") + "-"
