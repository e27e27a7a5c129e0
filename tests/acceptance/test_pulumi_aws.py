"""The life of examples/pulumi/aws as its owner sees it: on the command line, with the real CLI, in an AWS that checks
every key."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.stacks import AwsWorld, Json, SlowWorld, StackService, prefix_of
from tests.aws import Aws

ENVIRONMENT = "shop/uploads"


class Owner:
    """Who has the environment, and what they see of it."""

    def __init__(self, service: StackService, aws: Aws) -> None:
        self.service = service
        self.aws = aws
        self.world = AwsWorld(aws)

    def twin(self, *arguments: str) -> Json:
        """What a command answers as JSON."""
        answer: Json = json.loads(self.service.twin(*arguments, "--output", "json"))
        return answer

    @property
    def view(self) -> Json:
        return self.twin("show", ENVIRONMENT)

    @property
    def component(self) -> Json:
        (component,) = self.view["components"]
        return component

    @property
    def stack(self) -> str:
        return str(self.component["external_id"])

    def check(self, *, updated: bool) -> None:
        self.service.check(self.world, self.view["id"], updated=updated)


@pytest.fixture
def owner(tmp_path: Path, aws: Aws) -> Iterator[Owner]:
    service = StackService(tmp_path / "twin", aws)
    service.serve()
    yield Owner(service, aws)
    service.close()


def test_the_life_of_a_stack(owner: Owner) -> None:
    owner.service.twin("up", str(owner.world.folder), "--name", "uploads", "--project", "shop")
    owner.service.environments.append(owner.view["id"])
    assert owner.view["status"] == "ready"
    owner.check(updated=False)
    outputs = owner.component["outputs"]
    assert (outputs["bucket"], outputs["user"]) == (f"{prefix_of(owner.stack)}uploads", f"{prefix_of(owner.stack)}app")

    inputs = [f"--input={name}={json.dumps(value)}" for name, value in owner.world.update.items()]
    (step,) = owner.twin("plan", ENVIRONMENT, "update", *inputs)["steps"]
    changes = {each["resource"]: each for each in step["preview"]["changes"]}
    assert {each["kind"] for each in changes.values()} <= {"update", "replace"}, changes
    assert any("visibility_timeout" in each["fields"] for each in changes.values()), changes
    owner.check(updated=False)
    owner.service.twin("update", ENVIRONMENT, *inputs)
    owner.check(updated=True)

    drift_is_found_and_mended(owner)
    its_end_is_proven(owner)


def test_how_far_it_is_is_told_resource_by_resource(owner: Owner, tmp_path: Path) -> None:
    world = SlowWorld(tmp_path / "cloud", 3.0)  # so that it takes longer than a terminal's lines are apart
    inputs = [f"--input={name}={json.dumps(value)}" for name, value in world.create.items()]
    said = owner.service.watch("up", str(world.folder), "--name", "slow", "--project", "shop", *inputs)
    owner.service.environments.append(owner.twin("show", "shop/slow")["id"])
    told = re.findall(r"parts: apply: (\d+) of 12, waiting for (\S+)", said)
    counts = [int(count) for count, _ in told]
    assert len(set(counts)) > 1, said
    assert counts == sorted(counts), said
    owner.service.twin("destroy", "shop/slow", "--yes")


def drift_is_found_and_mended(owner: Owner) -> None:
    """Somebody changes the queue and takes the user's policy away, by hand."""
    sqs, prefix = owner.aws.client("sqs"), prefix_of(owner.stack)
    sqs.set_queue_attributes(QueueUrl=owner.component["outputs"]["queue_url"], Attributes={"VisibilityTimeout": "7"})
    owner.aws.client("iam").delete_user_policy(UserName=f"{prefix}app", PolicyName="uploads")
    seen = len(owner.service.events(owner.view["id"]))
    owner.service.twin("detect-drift", ENVIRONMENT)
    news = owner.service.events(owner.view["id"])[seen:]
    (observed,) = [event for event in news if event["type"] == "component_observed"]
    assert "visibility_timeout is 7 instead of 45" in observed["data"]["drift"]["jobs"]
    assert "is gone" in observed["data"]["drift"]["app"]
    owner.service.reaches(owner.view["id"], "ready")
    owner.check(updated=True)


def its_end_is_proven(owner: Owner) -> None:
    """The certificate names the stack; AWS itself has nothing left, nor has the backend."""
    stack, environment = owner.stack, owner.view["id"]
    owner.service.twin("destroy", ENVIRONMENT, "--yes")
    gone = owner.service.environment(environment)
    assert gone["status"] == "destroyed"
    assert [proof["external_id"] for proof in gone["certificate"]["resources"]] == [stack]
    assert {each["placement"]["target"] for each in gone["certificate"]["inventories"]} == {"pulumi/local"}
    owner.world.check_gone(stack)
    assert owner.service.state(stack) is None
    assert owner.service.locks() == []
