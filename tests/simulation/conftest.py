"""What simulations have measured stands at the end of the report, also when all is well."""

from __future__ import annotations

from collections.abc import Callable

import pytest

_MEASURED = pytest.StashKey[list[str]]()


@pytest.fixture
def measured(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Takes a line for the end of the report."""
    lines = request.config.stash.setdefault(_MEASURED, [])
    return lines.append


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what was measured."""
    for line in terminalreporter.config.stash.get(_MEASURED, []):
        terminalreporter.write_line(f"simulation: {line}")
