"""What all tests share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from providers.local import LocalServers


@pytest.fixture(scope="session")
def local_servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalServers]:
    """Servers for the whole run: `start` the kinds that the test needs, it costs something once."""
    servers = LocalServers(tmp_path_factory.mktemp("servers"))
    yield servers
    servers.remove()
