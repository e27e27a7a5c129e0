"""Running the command line as a person does, but in this process."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec import Struct

from api.cli import main


class Ran(Struct, frozen=True):
    """What one command came to."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """stdout, which must be JSON and nothing else."""
        return msgspec.json.decode(self.out)


Twin = Callable[..., Ran]


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """The settings of the command line; nobody listens at the address."""
    return {"TWIN_URL": "http://127.0.0.1:9", "TWIN_DATA_DIR": str(tmp_path / "data"), "TWIN_LOCAL": "off"}


@pytest.fixture
def twin(environ: Mapping[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Twin:
    """`twin("scale", "shop", …)` runs that command."""
    for name, value in environ.items():
        monkeypatch.setenv(name, value)

    def run(*words: str) -> Ran:
        monkeypatch.setattr(sys, "argv", ["twin", *words])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main.main()
        captured = capsys.readouterr()
        code = ended.value.code
        return Ran(code if isinstance(code, int) else 0, captured.out, captured.err)

    return run
