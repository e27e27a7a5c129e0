"""AWS for tests: moto's server in a process of its own, which asks for credentials and checks them as AWS does."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
import httpx
from botocore.exceptions import ClientError

from tests.waiting import eventually

REGION = "eu-west-1"
_FIRST = {"aws_access_key_id": "first", "aws_secret_access_key": "first"}
_EVERYTHING = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}

Json = dict[str, Any]


class Aws:
    """An account with one administrator."""

    def __init__(self, url: str) -> None:
        self.url = url
        iam = self._client("iam", _FIRST)
        iam.create_user(UserName="administrator")
        iam.put_user_policy(UserName="administrator", PolicyName="all", PolicyDocument=json.dumps(_EVERYTHING))
        key = iam.create_access_key(UserName="administrator")["AccessKey"]
        self._key = {"aws_access_key_id": key["AccessKeyId"], "aws_secret_access_key": key["SecretAccessKey"]}
        # From here on whoever has no valid key is refused, and who has one may do what policies say.
        httpx.post(f"{url}/moto-api/reset-auth", content=b"0", trust_env=False).raise_for_status()

    @property
    def credentials(self) -> dict[str, str]:
        """The administrator's key, as variables."""
        return {name.upper(): value for name, value in self._key.items()}

    @property
    def variables(self) -> dict[str, str]:
        """Where it is, as variables that boto3 reads."""
        return {"AWS_ENDPOINT_URL": self.url, "AWS_DEFAULT_REGION": REGION, "AWS_EC2_METADATA_DISABLED": "true"}

    def client(self, service: str, access_key_id: str | None = None, secret_access_key: str | None = None) -> Any:
        """A client for the administrator, or for who has this key."""
        other = {"aws_access_key_id": access_key_id, "aws_secret_access_key": secret_access_key}
        return self._client(service, other if access_key_id else self._key)

    def buckets(self, prefix: str) -> Json:
        """The buckets whose names begin so: versioning and tags of each."""
        s3 = self.client("s3")
        return {
            name: {
                "versioning": s3.get_bucket_versioning(Bucket=name).get("Status", ""),
                "tags": _mapping(s3.get_bucket_tagging(Bucket=name)["TagSet"]),
            }
            for name in (each["Name"] for each in s3.list_buckets()["Buckets"])
            if name.startswith(prefix)
        }

    def queues(self, prefix: str) -> Json:
        """The queues whose names begin so: seconds of invisibility and tags of each."""
        sqs = self.client("sqs")
        return {
            url.rpartition("/")[2]: {
                "visibility_timeout": int(
                    sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]["VisibilityTimeout"]
                ),
                "tags": sqs.list_queue_tags(QueueUrl=url).get("Tags", {}),
            }
            for url in sqs.list_queues(QueueNamePrefix=prefix).get("QueueUrls", ())
        }

    def users(self, prefix: str) -> Json:
        """The users whose names begin so: policies, keys and tags of each."""
        iam = self.client("iam")
        return {
            name: {
                "policies": iam.list_user_policies(UserName=name)["PolicyNames"],
                "keys": sorted(key["AccessKeyId"] for key in iam.list_access_keys(UserName=name)["AccessKeyMetadata"]),
                "tags": _mapping(iam.list_user_tags(UserName=name)["Tags"]),
            }
            for name in (each["UserName"] for each in iam.list_users()["Users"])
            if name.startswith(prefix)
        }

    def all(self, prefix: str) -> Json:
        """Everything whose name begins so, by kind; kinds of which nothing stands are not in it."""
        kinds = {"buckets": self.buckets(prefix), "queues": self.queues(prefix), "users": self.users(prefix)}
        return {kind: found for kind, found in kinds.items() if found}

    def accepts(self, access_key_id: str, secret_access_key: str) -> bool:
        """Whether this key opens."""
        try:
            self.client("sts", access_key_id, secret_access_key).get_caller_identity()
        except ClientError as error:
            if error.response["Error"]["Code"] != "InvalidClientTokenId":
                raise
            return False
        return True

    def _client(self, service: str, credential: dict[str, Any]) -> Any:
        return boto3.session.Session(region_name=REGION, **credential).client(service, endpoint_url=self.url)


def _mapping(tags: list[dict[str, str]]) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in tags}


@contextmanager
def running(directory: Path) -> Iterator[Aws]:
    """An empty account until the end; the server's log goes into the directory."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    environ = os.environ | {"INITIAL_NO_AUTH_ACTION_COUNT": "inf"}
    with (directory / "moto.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )

    def answers() -> bool:
        assert process.poll() is None, (directory / "moto.log").read_text()
        with contextlib.suppress(httpx.TransportError):
            return httpx.get(f"{url}/moto-api/data.json", trust_env=False).is_success
        return False

    try:
        eventually(answers, within=60)
        yield Aws(url)
    finally:
        process.kill()
        process.wait()
