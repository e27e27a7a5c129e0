"""An IAM user, and what it may do."""

from __future__ import annotations

import json
from typing import Any

import pulumi
from botocore.exceptions import ClientError
from pulumi.dynamic import CreateResult, DiffResult, ReadResult, Resource, ResourceProvider, UpdateResult

from uploads.aws import Properties, absence, changes, client, code, gone, mapping, pairs, refuse_strangers

ABSENT = "NoSuchEntity"
KEY = "twin:key:"
"""Tags of this beginning say which access key is which version's (`uploads/access_key.py`); they are not ours."""


class UserProvider(ResourceProvider):
    """What happens to the user."""

    serialize_as_secret_always = False

    def diff(self, _id: str, _olds: Properties, _news: Properties) -> DiffResult:
        return changes(_olds, _news, fixed=["user"], free=["tags"])

    def create(self, props: Properties) -> CreateResult:
        iam, name = client("iam"), props["user"]
        try:
            iam.create_user(UserName=name, Tags=pairs(props["tags"]))
        except ClientError as error:
            if code(error) != "EntityAlreadyExists":
                raise
            refuse_strangers(f"the user {name}", tags_of(iam, name), props["tags"])
        return CreateResult(name, self._settle(iam, props))

    def update(self, _id: str, _olds: Properties, _news: Properties) -> UpdateResult:
        return UpdateResult(self._settle(client("iam"), _news))

    def read(self, id_: str, props: Properties) -> ReadResult:
        iam = client("iam")
        with absence(ABSENT):
            found = iam.get_user(UserName=id_)["User"]
            tags = {key: value for key, value in tags_of(iam, id_).items() if not key.startswith(KEY)}
            return ReadResult(id_, {**props, "user": id_, "tags": tags, "arn": found["Arn"]})
        return gone()

    def delete(self, _id: str, _props: Properties) -> None:
        """With all keys and policies that it still has: also those that a crash left, of which nobody knows."""
        iam = client("iam")
        with absence(ABSENT):
            for page in iam.get_paginator("list_access_keys").paginate(UserName=_id):
                for key in page["AccessKeyMetadata"]:
                    iam.delete_access_key(UserName=_id, AccessKeyId=key["AccessKeyId"])
            for page in iam.get_paginator("list_user_policies").paginate(UserName=_id):
                for name in page["PolicyNames"]:
                    iam.delete_user_policy(UserName=_id, PolicyName=name)
            iam.delete_user(UserName=_id)

    def _settle(self, iam: Any, props: Properties) -> Properties:
        name = props["user"]
        iam.tag_user(UserName=name, Tags=pairs(props["tags"]))
        stale = [key for key in tags_of(iam, name) if key not in props["tags"] and not key.startswith(KEY)]
        if stale:
            iam.untag_user(UserName=name, TagKeys=stale)
        return {**props, "arn": iam.get_user(UserName=name)["User"]["Arn"]}


class PolicyProvider(ResourceProvider):
    """What happens to its policy. To put one is idempotent."""

    serialize_as_secret_always = False

    def diff(self, _id: str, _olds: Properties, _news: Properties) -> DiffResult:
        return changes(_olds, _news, fixed=["user", "policy"], free=["document"])

    def create(self, props: Properties) -> CreateResult:
        self._put(props)
        return CreateResult(f"{props['user']}:{props['policy']}", props)

    def update(self, _id: str, _olds: Properties, _news: Properties) -> UpdateResult:
        self._put(_news)
        return UpdateResult(_news)

    def read(self, id_: str, props: Properties) -> ReadResult:
        user, _, policy = id_.rpartition(":")
        with absence(ABSENT):
            found = client("iam").get_user_policy(UserName=user, PolicyName=policy)["PolicyDocument"]
            document = json.dumps(found if isinstance(found, dict) else json.loads(found), sort_keys=True)
            return ReadResult(id_, {**props, "user": user, "policy": policy, "document": document})
        return gone()

    def delete(self, _id: str, _props: Properties) -> None:
        with absence(ABSENT):
            client("iam").delete_user_policy(UserName=_props["user"], PolicyName=_props["policy"])

    def _put(self, props: Properties) -> None:
        client("iam").put_user_policy(
            UserName=props["user"], PolicyName=props["policy"], PolicyDocument=props["document"]
        )


def tags_of(iam: Any, user: str) -> dict[str, str]:
    """All tags of a user."""
    pages = iam.get_paginator("list_user_tags").paginate(UserName=user)
    return mapping(tag for page in pages for tag in page["Tags"])


class User(Resource, module="aws", name="User"):
    """A user."""

    user: pulumi.Output[str]
    arn: pulumi.Output[str]

    def __init__(self, name: str, *, opts: Any = None, **props: Any) -> None:
        super().__init__(UserProvider(), name, {**props, "arn": None}, opts)


class Policy(Resource, module="aws", name="Policy"):
    """What a user may do, as an inline policy."""

    def __init__(self, name: str, *, opts: Any = None, **props: Any) -> None:
        super().__init__(PolicyProvider(), name, dict(props), opts)
