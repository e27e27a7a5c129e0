"""Rotation of an IAM key on an AWS that checks every key, with the service and Pulumi's CLI killed in the middle."""

from __future__ import annotations

import random
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import httpx
import psutil
import pytest

from tests.acceptance.leaks import Needles, command_lines, files_below, read
from tests.acceptance.stacks import AwsWorld, Json, StackService, prefix_of
from tests.aws import Aws
from tests.waiting import eventually

SEED = 60_125
GRACE = "3s"
NAMES = ("CLOUD_ACCESS_KEY_ID", "CLOUD_SECRET_ACCESS_KEY")


class Caller:
    """Somebody outside who asks for the key of the day before each call, and notes whether AWS has taken it."""

    def __init__(self, service: StackService, environment: str, aws: Aws) -> None:
        self.taken = 0
        self.refused: list[str] = []
        self._aws = aws
        self._path = f"/v1/environments/{environment}/credentials/reveal"
        headers = {"Authorization": f"Bearer {(service.directory / 'token').read_text().strip()}"}
        self._client = httpx.Client(base_url=service.url, headers=headers, trust_env=False, timeout=10)
        self._key: tuple[str, str] | None = None
        self._end = threading.Event()

    @contextmanager
    def calling(self) -> Iterator[None]:
        """Call all the time."""
        thread = threading.Thread(target=self._call, daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._end.set()
            thread.join(30)
            self._client.close()

    def _call(self) -> None:
        while not self._end.wait(0.02):
            with suppress(httpx.TransportError):  # the service is away: the key that was
                answer = self._client.post(self._path, json={"reason": "to call"})
                if answer.is_success:
                    first, second = (str(answer.json()["variables"][name]) for name in NAMES)
                    self._key = first, second
            if self._key is not None:
                if self._aws.accepts(*self._key):
                    self.taken += 1
                else:
                    self.refused.append(self._key[0])


@pytest.fixture
def service(tmp_path: Path, aws: Aws) -> Iterator[StackService]:
    service = StackService(tmp_path / "twin", aws)
    yield service
    service.close()


def test_nobody_is_refused_while_an_iam_key_is_rotated(service: StackService, aws: Aws) -> None:
    chance = random.Random(SEED)
    process, world = service.serve(), AwsWorld(aws)
    service.publish(world.folder)
    created = service.create("uploads", world.blueprint)
    service.succeeded(created)
    environment = created["environment_id"]
    (component,) = service.environment(environment)["components"]
    user = f"{prefix_of(component['external_id'])}app"
    old = service.secrets(environment, "cloud")

    caller = Caller(service, environment, aws)
    with command_lines() as commands, caller.calling():
        eventually(lambda: caller.taken > 5, within=30, why=service.last_lines)
        rotated = service.signal(environment, "rotate_credentials", component="cloud", grace=GRACE)
        for victim in ("service", "CLI", "service"):
            if victim == "CLI":
                eventually(partial(_kill_cli, process.pid), within=60, why=service.last_lines)
            else:
                with suppress(subprocess.TimeoutExpired):
                    process.wait(chance.uniform(0.5, 2.5))
                assert process.poll() is None
                service.kill(process)
                process = service.serve()
            assert len(_keys(aws, user)) in (1, 2), "never none, never three"
        service.succeeded(rotated)
        before = caller.taken
        eventually(lambda: caller.taken > before + 10, within=30, why=service.last_lines)

    assert caller.refused == [], "whoever used the key of the day was taken"
    new = service.secrets(environment, "cloud")
    assert _keys(aws, user) == [new["access_key_id"]] != [old["access_key_id"]]
    assert aws.accepts(new["access_key_id"], new["secret_access_key"])
    assert not aws.accepts(old["access_key_id"], old["secret_access_key"])
    listed = service.get(f"/v1/environments/{environment}/credentials")["items"]
    assert [(each["version"], each["state"]) for each in listed] == [(1, "retired"), (2, "current")]
    needles = Needles()
    needles.add({"the old key": old["secret_access_key"], "the new key": new["secret_access_key"]})
    places = [service.log, *files_below(service.directory)]
    assert not [path for path in places if needles.within(read(path))]
    assert not needles.within(b"\n".join(commands))
    assert any(b"pulumi" in command for command in commands)
    service.succeeded(service.signal(environment, "destroy"))
    world.check_gone(component["external_id"])


def _keys(aws: Aws, user: str) -> list[str]:
    keys: list[Json] = aws.client("iam").list_access_keys(UserName=user)["AccessKeyMetadata"]
    return sorted(str(key["AccessKeyId"]) for key in keys)


def _kill_cli(service: int) -> bool:
    """Whether there was one at work."""
    killed = False
    for each in psutil.Process(service).children(recursive=True):
        with suppress(psutil.Error):
            if each.name() == "pulumi":
                each.kill()
                killed = True
    return killed
