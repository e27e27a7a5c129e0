"""What the tests of faults share."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest

from tests.acceptance.catalogues import Opened, postgres


@pytest.fixture
def database(opened: tuple[Opened, ...]) -> Iterator[str]:
    """The URL of an empty database for the twin's own state."""
    server = next(each for each in opened if each[0].provider == "postgres")
    name = f"state_{uuid.uuid4().hex[:8]}"
    config = server[0].config
    with postgres(server) as connection:
        connection.execute(f'CREATE DATABASE "{name}"'.encode())
        yield f"postgresql://{config['user']}:{server[1]['password']}@{config['host']}:{config['port']}/{name}"
        connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)'.encode())
