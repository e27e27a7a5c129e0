"""An access key: one version of the user's credential.

IAM issues a key anew at every call and tells its secret once. So a key whose reply was lost is of no use to anybody: it
is revoked and issued anew. Which keys are lost, the user's tags tell: `twin:key:<version>` names the key of a version,
and a key that no other version claims is nobody's.
"""

from __future__ import annotations

from typing import Any

import pulumi
from pulumi.dynamic import CreateResult, DiffResult, ReadResult, Resource, ResourceProvider

from uploads.aws import Properties, absence, changes, client, gone, pairs
from uploads.user import ABSENT, KEY, tags_of


class AccessKeyProvider(ResourceProvider):
    """What happens to one key."""

    serialize_as_secret_always = False

    def diff(self, _id: str, _olds: Properties, _news: Properties) -> DiffResult:
        return changes(_olds, _news, fixed=["user", "version"])

    def create(self, props: Properties) -> CreateResult:
        iam, user, mine = client("iam"), props["user"], tag_of(props)
        claimed = {key for tag, key in tags_of(iam, user).items() if tag.startswith(KEY) and tag != mine}
        for key in iam.list_access_keys(UserName=user)["AccessKeyMetadata"]:
            if key["AccessKeyId"] not in claimed:
                iam.delete_access_key(UserName=user, AccessKeyId=key["AccessKeyId"])
        issued = iam.create_access_key(UserName=user)["AccessKey"]
        iam.tag_user(UserName=user, Tags=pairs({mine: issued["AccessKeyId"]}))
        secrets = {"access_key_id": issued["AccessKeyId"], "secret_access_key": issued["SecretAccessKey"]}
        return CreateResult(issued["AccessKeyId"], {**props, **secrets})

    def read(self, id_: str, props: Properties) -> ReadResult:
        """Whether it stands and is active. Its secret nobody tells: without it, it might as well not be there."""
        with absence(ABSENT):
            found = client("iam").list_access_keys(UserName=props["user"])["AccessKeyMetadata"]
            active = {key["AccessKeyId"] for key in found if key["Status"] == "Active"}
            if id_ in active and props.get("secret_access_key"):
                return ReadResult(id_, props)
        return gone()

    def delete(self, _id: str, _props: Properties) -> None:
        iam, user = client("iam"), _props["user"]
        with absence(ABSENT):
            iam.delete_access_key(UserName=user, AccessKeyId=_id)
        with absence(ABSENT):
            mine = tag_of(_props)
            if tags_of(iam, user).get(mine) == _id:
                iam.untag_user(UserName=user, TagKeys=[mine])


def tag_of(props: Properties) -> str:
    """The tag that names the key of this version. (Pulumi brings numbers as floats.)"""
    return f"{KEY}{props['version']:.0f}"


class AccessKey(Resource, module="aws", name="AccessKey"):
    """The key of one version of the user's credential."""

    access_key_id: pulumi.Output[str]
    secret_access_key: pulumi.Output[str]

    def __init__(self, name: str, *, opts: pulumi.ResourceOptions, **props: Any) -> None:
        unknown = {"access_key_id": None, "secret_access_key": None}
        opts.additional_secret_outputs = ["secret_access_key"]
        super().__init__(AccessKeyProvider(), name, {**props, **unknown}, opts)
