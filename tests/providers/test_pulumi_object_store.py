"""The state of a pulumi.stack in an object store, for workers that share no disk: S3, as moto's server speaks it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from providers.pulumi.provider import PulumiProvider
from tests import aws
from tests.providers.pulumi_world import Shelf, cut_off, open_provider, step
from twin.domain.errors import Blocked
from twin.testing.steps import make_ref


class Bucket:
    """One bucket, and targets whose states are in it."""

    def __init__(self, account: aws.Aws, directory: Path) -> None:
        self._s3 = account.client("s3")
        self._s3.create_bucket(Bucket="states", CreateBucketConfiguration={"LocationConstraint": aws.REGION})
        self._account, self._directory = account, directory

    def target(self, name: str, **credentials: str) -> PulumiProvider:
        """As a worker of that name sees it."""
        where = f"endpoint={self._account.url}&s3ForcePathStyle=true&region={aws.REGION}"
        given = {**self._account.credentials, **credentials}
        return open_provider(self._directory / name, given, backend=f"s3://states?{where}")

    def objects(self, part: str) -> list[str]:
        """The names of all objects in which this stands."""
        listed: list[dict[str, Any]] = self._s3.list_objects_v2(Bucket="states").get("Contents", [])
        return [each["Key"] for each in listed if part in each["Key"]]


@pytest.fixture
def bucket(tmp_path: Path) -> Iterator[Bucket]:
    with aws.running(tmp_path) as account:
        yield Bucket(account, tmp_path)


async def test_a_state_in_s3_its_lock_and_its_recovery(bucket: Bucket, tmp_path: Path) -> None:
    shelf, ref = Shelf(tmp_path / "shelf"), make_ref("books", type="pulumi.stack")
    here, there = bucket.target("a"), bucket.target("b")
    placement = await here.identify()
    assert placement == await there.identify(), "one backend, whoever asks"
    assert placement.endpoint == "s3://states"

    await cut_off(here, ref, shelf, shelf.inputs(delay=4, count=2), "CLI")
    assert bucket.objects(f"locks/organization/twin/{ref.name}"), "the dead one's lock"
    await there.apply(ref, step(shelf.inputs(delay=0, count=2)))
    done = Counter(line for line in shelf.log() if line.startswith("created"))
    assert done == {f"created {ref.name}-book-{n}": 1 for n in range(2)}, "found in the world, and not made again"
    assert bucket.objects(f"locks/organization/twin/{ref.name}") == []

    observed = await here.observe(ref, shelf.inputs(delay=0, count=2))
    assert observed is not None
    assert observed.drift == {}
    await here.remove(ref, step(shelf.inputs()))
    assert shelf.books(ref.name) == {}
    assert [each async for each in there.owned(ref.environment)] == []
    assert bucket.objects(f"stacks/twin/{ref.name}.json") == [], "nor is there a copy of what was"
    await asyncio.gather(here.close(), there.close())


async def test_a_store_that_refuses_the_key_waits_for_a_human(bucket: Bucket) -> None:
    refused = bucket.target("a", AWS_ACCESS_KEY_ID="AKIAIOSFODNN7EXAMPLE")
    with pytest.raises(Blocked) as told:
        await refused.identify()
    assert told.value.key == "pulumi/test/credentials"
    await refused.close()
