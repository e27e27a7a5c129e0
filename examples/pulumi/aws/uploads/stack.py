"""The program: what stands in AWS, and what it gives to others."""

from __future__ import annotations

import json

import pulumi

from uploads.access_key import AccessKey
from uploads.bucket import Bucket
from uploads.naming import physical
from uploads.queue import Queue
from uploads.user import Policy, User


def main() -> None:
    """Declare everything. Names follow from the stack's, so what a crash cut off is found again by its name."""
    config, stack = pulumi.Config(), pulumi.get_stack()
    tags = {"twin:stack": stack, **(config.get_object("tags") or {})}

    bucket = Bucket(
        "uploads",
        bucket=physical(stack, "uploads"),
        versioning=config.get_bool("versioning") or False,
        tags=tags,
    )
    queue = Queue(
        "jobs",
        queue=physical(stack, "jobs"),
        visibility_timeout=config.get_int("visibility_timeout") or 30,
        tags=tags,
    )
    user = User("app", user=physical(stack, "app"), tags=tags)
    policy = Policy(
        "app",
        user=user.user,
        policy="uploads",
        document=pulumi.Output.all(bucket.arn, queue.arn).apply(
            lambda arns: _document(*arns, read_only=config.get_bool("read_only") or False)
        ),
    )

    # One key for each live credential, the older first. A key that opens nothing yet is of no use: after the policy.
    keys: dict[int, AccessKey] = {}
    for version in sorted(json.loads(pulumi.Config("twin").get("credentials") or "[1]")):
        before = pulumi.ResourceOptions(depends_on=[policy, *keys.values()])
        keys[version] = AccessKey(f"app-{version}", user=user.user, version=version, opts=before)

    pulumi.export("bucket", bucket.bucket)
    pulumi.export("queue_url", queue.url)
    pulumi.export("user", user.user)
    fields = ("access_key_id", "secret_access_key")
    credentials = {str(version): {name: getattr(key, name) for name in fields} for version, key in keys.items()}
    pulumi.export("credentials", pulumi.Output.secret(credentials))


def _document(bucket: str, queue: str, *, read_only: bool) -> str:
    """What the user may do: with the objects of the bucket and the messages of the queue, and nothing else."""
    objects = ["s3:GetObject"] if read_only else ["s3:GetObject", "s3:PutObject", "s3:DeleteObject"]
    messages = ["sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes"]
    allowed = [
        (["s3:ListBucket"], bucket),
        (objects, f"{bucket}/*"),
        (messages if read_only else [*messages, "sqs:SendMessage"], queue),
    ]
    statements = [{"Effect": "Allow", "Action": actions, "Resource": resource} for actions, resource in allowed]
    return json.dumps({"Version": "2012-10-17", "Statement": statements}, sort_keys=True)
