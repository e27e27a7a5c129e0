"""An S3 bucket. Its removal empties it: who removes an environment has said that its data may go."""

from __future__ import annotations

from typing import Any

import pulumi
from botocore.exceptions import ClientError
from pulumi.dynamic import CreateResult, DiffResult, ReadResult, Resource, ResourceProvider, UpdateResult

from uploads.aws import Properties, absence, changes, client, code, gone, mapping, pairs, refuse_strangers


class BucketProvider(ResourceProvider):
    """What happens in S3."""

    serialize_as_secret_always = False

    def diff(self, _id: str, _olds: Properties, _news: Properties) -> DiffResult:
        return changes(_olds, _news, fixed=["bucket"], free=["versioning", "tags"])

    def create(self, props: Properties) -> CreateResult:
        s3, name = client("s3"), props["bucket"]
        where = {"LocationConstraint": s3.meta.region_name}
        elsewhere = {} if s3.meta.region_name == "us-east-1" else {"CreateBucketConfiguration": where}
        try:
            s3.create_bucket(Bucket=name, **elsewhere)
        except ClientError as error:
            if code(error) != "BucketAlreadyOwnedByYou":
                raise
        refuse_strangers(f"the bucket {name}", self._tags(s3, name), props["tags"])
        return CreateResult(name, self._settle(s3, props))

    def update(self, _id: str, _olds: Properties, _news: Properties) -> UpdateResult:
        return UpdateResult(self._settle(client("s3"), _news))

    def read(self, id_: str, props: Properties) -> ReadResult:
        s3 = client("s3")
        with absence("NoSuchBucket", "404"):
            s3.head_bucket(Bucket=id_)
            versioning = s3.get_bucket_versioning(Bucket=id_).get("Status") == "Enabled"
            seen = {"bucket": id_, "versioning": versioning, "tags": self._tags(s3, id_)}
            return ReadResult(id_, {**props, **seen, "arn": f"arn:aws:s3:::{id_}"})
        return gone()

    def delete(self, _id: str, _props: Properties) -> None:
        s3 = client("s3")
        with absence("NoSuchBucket"):
            for page in s3.get_paginator("list_object_versions").paginate(Bucket=_id):
                found = [*page.get("Versions", ()), *page.get("DeleteMarkers", ())]
                if found:
                    objects = [{"Key": each["Key"], "VersionId": each["VersionId"]} for each in found]
                    s3.delete_objects(Bucket=_id, Delete={"Objects": objects, "Quiet": True})
            s3.delete_bucket(Bucket=_id)

    def _settle(self, s3: Any, props: Properties) -> Properties:
        """All but its name, whatever it was before."""
        name = props["bucket"]
        s3.put_bucket_tagging(Bucket=name, Tagging={"TagSet": pairs(props["tags"])})
        status = "Enabled" if props["versioning"] else "Suspended"
        s3.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": status})
        return {**props, "arn": f"arn:aws:s3:::{name}"}

    def _tags(self, s3: Any, name: str) -> dict[str, str]:
        with absence("NoSuchTagSet"):
            return mapping(s3.get_bucket_tagging(Bucket=name)["TagSet"])
        return {}


class Bucket(Resource, module="aws", name="Bucket"):
    """A bucket and its settings."""

    bucket: pulumi.Output[str]
    arn: pulumi.Output[str]

    def __init__(self, name: str, *, opts: Any = None, **props: Any) -> None:
        super().__init__(BucketProvider(), name, {**props, "arn": None}, opts)
