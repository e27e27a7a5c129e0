"""An SQS queue."""

from __future__ import annotations

from typing import Any

import pulumi
from pulumi.dynamic import (
    CheckFailure,
    CheckResult,
    CreateResult,
    DiffResult,
    ReadResult,
    Resource,
    ResourceProvider,
    UpdateResult,
)

from uploads.aws import Properties, absence, changes, client, gone, refuse_strangers

ABSENT = ("AWS.SimpleQueueService.NonExistentQueue", "QueueDoesNotExist")
LONGEST = 43_200  # seconds: SQS hides a message no longer


class QueueProvider(ResourceProvider):
    """What happens in SQS."""

    serialize_as_secret_always = False

    def check(self, _olds: Properties, news: Properties) -> CheckResult:
        seconds = news["visibility_timeout"]
        failures = []
        if isinstance(seconds, int | float) and not 0 <= seconds <= LONGEST:
            failures.append(CheckFailure("visibility_timeout", f"{seconds:g} s is not between 0 and {LONGEST}"))
        return CheckResult(news, failures)

    def diff(self, _id: str, _olds: Properties, _news: Properties) -> DiffResult:
        return changes(_olds, _news, fixed=["queue"], free=["visibility_timeout", "tags"])

    def create(self, props: Properties) -> CreateResult:
        # Asked for without its settings, a queue that is there already is no conflict, whatever its settings are.
        sqs = client("sqs")
        url = sqs.create_queue(QueueName=props["queue"])["QueueUrl"]
        refuse_strangers(f"the queue {props['queue']}", self._tags(sqs, url), props["tags"])
        return CreateResult(url, self._settle(sqs, url, props))

    def update(self, _id: str, _olds: Properties, _news: Properties) -> UpdateResult:
        return UpdateResult(self._settle(client("sqs"), _id, _news))

    def read(self, id_: str, props: Properties) -> ReadResult:
        sqs = client("sqs")
        with absence(*ABSENT):
            found = self._attributes(sqs, id_)
            seen = {
                "queue": found["QueueArn"].rpartition(":")[2],
                "visibility_timeout": int(found["VisibilityTimeout"]),
                "tags": self._tags(sqs, id_),
            }
            return ReadResult(id_, {**props, **seen, "url": id_, "arn": found["QueueArn"]})
        return gone()

    def delete(self, _id: str, _props: Properties) -> None:
        with absence(*ABSENT):
            client("sqs").delete_queue(QueueUrl=_id)

    def _settle(self, sqs: Any, url: str, props: Properties) -> Properties:
        """All but its name, whatever it was before."""
        sqs.set_queue_attributes(QueueUrl=url, Attributes={"VisibilityTimeout": f"{props['visibility_timeout']:.0f}"})
        sqs.tag_queue(QueueUrl=url, Tags=props["tags"])
        if stale := sorted(self._tags(sqs, url).keys() - props["tags"].keys()):
            sqs.untag_queue(QueueUrl=url, TagKeys=stale)
        return {**props, "url": url, "arn": self._attributes(sqs, url)["QueueArn"]}

    def _attributes(self, sqs: Any, url: str) -> dict[str, str]:
        found: dict[str, str] = sqs.get_queue_attributes(
            QueueUrl=url, AttributeNames=["QueueArn", "VisibilityTimeout"]
        )["Attributes"]
        return found

    def _tags(self, sqs: Any, url: str) -> dict[str, str]:
        return dict(sqs.list_queue_tags(QueueUrl=url).get("Tags", {}))


class Queue(Resource, module="aws", name="Queue"):
    """A queue and its settings."""

    queue: pulumi.Output[str]
    url: pulumi.Output[str]
    arn: pulumi.Output[str]

    def __init__(self, name: str, *, opts: Any = None, **props: Any) -> None:
        super().__init__(QueueProvider(), name, {**props, "url": None, "arn": None}, opts)
