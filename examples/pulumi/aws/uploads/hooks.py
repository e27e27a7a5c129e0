"""What the twin asks beside Pulumi: what a cut create has left, and whether a credential still opens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from botocore.exceptions import ClientError

from uploads import queue, user
from uploads.aws import absence, client, code

REFUSED = ("InvalidClientTokenId", "InvalidAccessKeyId", "SignatureDoesNotMatch")


def lookup(type: str, name: str, inputs: Mapping[str, Any]) -> str | None:  # noqa: A002 - the twin's name for it
    """The id of what stands in AWS under these inputs; None if nothing does.

    Of an access key the answer is none: without the secret, which only the lost reply told, it is of no use, and the
    next create revokes it. A user takes its keys along when it goes.
    """
    kind = type.rpartition(":")[2]
    return _FINDERS[kind](inputs)


def _bucket(inputs: Mapping[str, Any]) -> str | None:
    with absence("NoSuchBucket", "404"):
        client("s3").head_bucket(Bucket=inputs["bucket"])
        return str(inputs["bucket"])
    return None


def _queue(inputs: Mapping[str, Any]) -> str | None:
    with absence(*queue.ABSENT):
        return str(client("sqs").get_queue_url(QueueName=inputs["queue"])["QueueUrl"])
    return None


def _user(inputs: Mapping[str, Any]) -> str | None:
    with absence(user.ABSENT):
        return str(client("iam").get_user(UserName=inputs["user"])["User"]["UserName"])
    return None


def _policy(inputs: Mapping[str, Any]) -> str | None:
    with absence(user.ABSENT):
        client("iam").get_user_policy(UserName=inputs["user"], PolicyName=inputs["policy"])
        return f"{inputs['user']}:{inputs['policy']}"
    return None


_FINDERS = {
    "Bucket": _bucket,
    "Queue": _queue,
    "User": _user,
    "Policy": _policy,
    "AccessKey": lambda inputs: None,
}


def check(credential: Mapping[str, str]) -> bool:
    """Whether AWS still takes this key. Every user may ask who it is, so a refusal means the key."""
    sts = client(
        "sts",
        aws_access_key_id=credential["access_key_id"],
        aws_secret_access_key=credential["secret_access_key"],
    )
    try:
        sts.get_caller_identity()
    except ClientError as error:
        if code(error) in REFUSED:
            return False
        raise
    return True
