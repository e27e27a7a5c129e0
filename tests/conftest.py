"""What all tests share."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from providers.local import LocalServers

if TYPE_CHECKING:
    from tests.aws import Aws
    from tests.providers.gitea_world import Gitea


@pytest.fixture(scope="session")
def local_servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalServers]:
    """Servers for the whole run: `start` the kinds that the test needs, it costs something once."""
    servers = LocalServers(tmp_path_factory.mktemp("servers"))
    yield servers
    servers.remove()


@pytest.fixture(scope="session")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Aws]:
    """An AWS account for the whole run."""
    from tests.aws import running  # boto3 takes its time, and few need it

    with running(tmp_path_factory.mktemp("aws")) as account:
        yield account


@pytest.fixture(scope="session")
def gitea(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gitea]:
    """A Gitea for the whole run: make users and repositories of your own on it."""
    from tests.providers.gitea_world import running

    with running(tmp_path_factory.mktemp("gitea")) as server:
        yield server
