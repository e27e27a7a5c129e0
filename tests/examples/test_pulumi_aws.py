"""examples/pulumi/aws: bucket, queue, user, policy and keys by dynamic providers, on moto, which checks access."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from botocore.exceptions import ClientError

from tests.aws import Aws
from tests.examples.conftest import Bare, Json, Refused

PREFIX = "tw-01-aws-1-"


@pytest.fixture
def stack(aws: Aws, make_bare: Callable[..., Bare]) -> Bare:
    return make_bare("aws", "uploads.stack:main", **aws.variables, **aws.credentials)


def key_of(outputs: Json, version: int = 1) -> tuple[str, str]:
    key = outputs["credentials"][str(version)]
    return key["access_key_id"], key["secret_access_key"]


def test_the_life_of_a_stack(aws: Aws, stack: Bare) -> None:
    assert stack.run("preview")["changes"] == {"create": 6}
    assert aws.all(PREFIX) == {}, "a preview changes nothing"

    made = stack.run("up")
    assert made["secrets"] == ["credentials"]
    first = key_of(made["outputs"])
    mark = {"twin:stack": stack.stack}
    assert aws.buckets(PREFIX) == {f"{PREFIX}uploads": {"versioning": "Suspended", "tags": mark}}
    assert aws.queues(PREFIX) == {f"{PREFIX}jobs": {"visibility_timeout": 30, "tags": mark}}
    user = aws.users(PREFIX)[f"{PREFIX}app"]
    assert (user["policies"], user["keys"]) == (["uploads"], [first[0]])
    the_user_may_do_what_it_is_for(aws, made["outputs"])

    settings = {"versioning": "true", "visibility_timeout": "45", "read_only": "true"}
    changed = stack.run("up", **settings)
    assert changed["changes"] == {"same": 3, "update": 3}, "bucket, queue and policy, and none of them anew"
    assert key_of(changed["outputs"]) == first
    assert aws.buckets(PREFIX)[f"{PREFIX}uploads"]["versioning"] == "Enabled"
    assert aws.queues(PREFIX)[f"{PREFIX}jobs"]["visibility_timeout"] == 45
    with pytest.raises(ClientError, match="AccessDenied"):
        aws.client("s3", *first).put_object(Bucket=f"{PREFIX}uploads", Key="other", Body=b"")

    drift_is_found_and_mended(aws, stack, settings)

    with pytest.raises(Refused, match="99999 s is not between 0 and 43200"):
        stack.run("up", visibility_timeout="99999")

    stack.run("destroy")
    assert aws.all(PREFIX) == {}, "the bucket as well, with each version of what was in it"
    assert not aws.accepts(*first)


def the_user_may_do_what_it_is_for(aws: Aws, outputs: Json) -> None:
    s3, sqs = aws.client("s3", *key_of(outputs)), aws.client("sqs", *key_of(outputs))
    s3.put_object(Bucket=outputs["bucket"], Key="cat", Body=b"miaow")
    sqs.send_message(QueueUrl=outputs["queue_url"], MessageBody="cat")
    assert s3.get_object(Bucket=outputs["bucket"], Key="cat")["Body"].read() == b"miaow"
    with pytest.raises(ClientError, match="AccessDenied"):
        aws.client("iam", *key_of(outputs)).list_users()


def drift_is_found_and_mended(aws: Aws, stack: Bare, settings: dict[str, str]) -> None:
    sqs = aws.client("sqs")
    url = sqs.get_queue_url(QueueName=f"{PREFIX}jobs")["QueueUrl"]
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"VisibilityTimeout": "7"})
    aws.client("iam").delete_user_policy(UserName=f"{PREFIX}app", PolicyName="uploads")
    assert stack.run("refresh", **settings)["changes"] == {"same": 4, "update": 1, "delete": 1}
    assert stack.run("up", **settings)["changes"] == {"same": 4, "update": 1, "create": 1}
    assert aws.queues(PREFIX)[f"{PREFIX}jobs"]["visibility_timeout"] == 45
    assert aws.users(PREFIX)[f"{PREFIX}app"]["policies"] == ["uploads"]


def test_two_keys_live_side_by_side_and_one_is_retired(aws: Aws, stack: Bare) -> None:
    old = key_of(stack.run("up", **{"twin:credentials": "[1]"})["outputs"])
    both = stack.run("up", **{"twin:credentials": "[1, 2]"})["outputs"]
    assert key_of(both) == old
    new = key_of(both, 2)
    assert new != old
    assert aws.users(PREFIX)[f"{PREFIX}app"]["keys"] == sorted([old[0], new[0]])
    assert aws.accepts(*old)
    assert aws.accepts(*new)

    retired = stack.run("up", **{"twin:credentials": "[2]"})
    assert key_of(retired["outputs"], 2) == new, "who stays is not touched"
    assert not aws.accepts(*old)
    assert aws.accepts(*new)

    # As a crash leaves it that comes after IAM has issued the third, and before anybody has heard of it.
    lost = aws.client("iam").create_access_key(UserName=f"{PREFIX}app")["AccessKey"]
    third = key_of(stack.run("up", **{"twin:credentials": "[2, 3]"})["outputs"], 3)
    assert aws.users(PREFIX)[f"{PREFIX}app"]["keys"] == sorted([new[0], third[0]]), "never three"
    assert not aws.accepts(lost["AccessKeyId"], lost["SecretAccessKey"]), "who nobody knows is revoked"

    aws.client("iam").delete_access_key(UserName=f"{PREFIX}app", AccessKeyId=new[0])
    lost = aws.client("iam").create_access_key(UserName=f"{PREFIX}app")["AccessKey"]
    stack.run("destroy")
    assert aws.all(PREFIX) == {}
    assert not aws.accepts(lost["AccessKeyId"], lost["SecretAccessKey"]), "nor does it outlive its user"


def test_what_belongs_to_another_is_not_touched(aws: Aws, stack: Bare) -> None:
    sqs = aws.client("sqs")
    url = sqs.create_queue(QueueName=f"{PREFIX}jobs", tags={"twin:stack": "another"})["QueueUrl"]
    with pytest.raises(Refused, match=f"{PREFIX}jobs belongs to another"):
        stack.run("up")
    assert aws.queues(PREFIX)[f"{PREFIX}jobs"]["tags"] == {"twin:stack": "another"}
    stack.run("destroy")
    assert aws.all(PREFIX).keys() == {"queues"}
    sqs.delete_queue(QueueUrl=url)
