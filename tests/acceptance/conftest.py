"""Twins that run as processes, beside real servers; each test has a data directory of its own."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from ruamel.yaml import YAML

from providers.local import LocalServers
from tests.acceptance.catalogues import Opened, postgres
from tests.acceptance.clocks import SetClock, clock_of
from tests.acceptance.service import Service

if TYPE_CHECKING:
    from tests.providers.github_hub import Hub

Start = Callable[..., Service]
MakeDatabase = Callable[[], str]


_told: list[str] = []


@pytest.fixture
def tell(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Has the summary of the run say what was measured: a figure is told, and no test fails by it."""
    return lambda line: _told.append(f"{request.node.name}: {line}")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What was measured."""
    for line in _told:
        terminalreporter.write_line(line)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All that stands here is slow, and part of every run all the same."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.acceptance)


@pytest.fixture
def opened(local_servers: LocalServers) -> tuple[Opened, ...]:
    """The targets of the servers that all tests share."""
    local_servers.start()
    return local_servers.targets()


@pytest.fixture
def make_service(tmp_path: Path, opened: tuple[Opened, ...]) -> Iterator[Start]:
    """Makes twins whose targets are the shared servers; settings by name, as `lease="2s"`."""
    made: list[Service] = []

    def make(**settings: object) -> Service:
        directory = tmp_path / f"twin-{len(made) + 1}"
        targets_file = write_targets(tmp_path / f"targets-{len(made) + 1}.yaml", opened, directory / "processes")
        made.append(Service(directory, **{"local": "off", "targets_file": targets_file, **settings}))
        return made[-1]

    yield make
    for service in made:
        service.close()


@pytest.fixture
def make_database(opened: tuple[Opened, ...]) -> Iterator[MakeDatabase]:
    """Makes empty databases for the twin's own state; gives their URLs."""
    with ExitStack() as stack:
        yield lambda: stack.enter_context(
            fresh_database(next(each for each in opened if each[0].provider == "postgres"))
        )


@pytest.fixture
def database(make_database: MakeDatabase) -> str:
    """The URL of an empty database for the twin's own state."""
    return make_database()


@pytest.fixture
def set_clock(database: str) -> Iterator[SetClock]:
    """Sets the clock of that database."""
    with clock_of(database) as set_to:
        yield set_to


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    """A GitHub with its pull requests, git and webhooks."""
    from tests.providers.github_hub import running  # githubkit's models take their time, and few need them

    with running(tmp_path / "github") as made:
        yield made


def write_targets(path: Path, opened: tuple[Opened, ...], processes: Path) -> Path:
    """A file of targets for TWIN_TARGETS_FILE: these servers, and processes below a directory."""
    entries = [
        {"name": target.name, "config": target.config, "credentials": credentials} for target, credentials in opened
    ]
    entries.append({"name": "process/local", "config": {"directory": str(processes)}, "credentials": {}})
    with path.open("w") as file:
        YAML(typ="safe").dump({"targets": entries}, file)
    path.chmod(0o600)
    return path


@contextmanager
def fresh_database(server: Opened) -> Iterator[str]:
    """An empty database on a server, with the target's role as its owner; its URL."""
    name = f"state_{uuid.uuid4().hex[:8]}"
    config = server[0].config
    with postgres(server) as connection:
        connection.execute(f'CREATE DATABASE "{name}"'.encode())
    yield f"postgresql://{config['user']}:{server[1]['password']}@{config['host']}:{config['port']}/{name}"
    with postgres(server) as connection:
        connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)'.encode())
