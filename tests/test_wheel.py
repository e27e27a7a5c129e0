"""The wheel holds what runs and nothing else, and what it holds runs."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from twin.store import migrations

PROJECT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built by the pinned backend, without network."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    subprocess.run(command, cwd=PROJECT, check=True, capture_output=True)
    return next(folder.glob("twin-*.whl"))


def test_the_wheel_has_the_three_packages_and_the_migrations(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.partition("/")[0] for name in names if ".dist-info/" not in name}
    assert tops == {"twin", "api", "providers"}, "anything else would land in everybody's site-packages"

    migrations = {name for name in names if name.startswith("twin/_migrations/")}
    expected = {
        f"twin/_migrations/{path.relative_to(PROJECT / 'alembic').as_posix()}"
        for path in (PROJECT / "alembic").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert migrations == expected, "an installed twin upgrades its database from what the wheel carries"
    assert "twin/_migrations/__init__.py" not in names, "it must not shadow the package alembic"


def test_the_wheel_has_every_module_of_the_source_and_no_test(wheel: Path) -> None:
    names = {name for name in zipfile.ZipFile(wheel).namelist() if name.endswith(".py")}
    source = {
        path.relative_to(PROJECT).as_posix()
        for top in ("twin", "api", "providers")
        for path in (PROJECT / top).rglob("*.py")
    }
    assert source <= names
    assert not [name for name in names if name.rpartition("/")[2].startswith(("test_", "conftest"))]
    licenses = [name for name in zipfile.ZipFile(wheel).namelist() if name.endswith("/LICENSE")]
    assert len(licenses) == 1


def test_an_installed_twin_answers_and_finds_its_migrations(wheel: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    zipfile.ZipFile(wheel).extractall(site)
    # The dependencies come from this environment; the project itself is not on the path but as the wheel has it.
    libraries = sysconfig.get_path("purelib")
    start = (
        f"import sys; sys.path[:] = [{str(site)!r}, {libraries!r}, *[p for p in sys.path if {str(PROJECT)!r} != p]]; "
    )

    def run(code: str) -> str:
        command = [sys.executable, "-I", "-S", "-c", start + code]
        done = subprocess.run(command, cwd=tmp_path, check=False, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    entry = next(name for name in zipfile.ZipFile(wheel).namelist() if name.endswith("entry_points.txt"))
    assert "twin = api.cli.main:main" in zipfile.ZipFile(wheel).read(entry).decode()
    assert "twin up" in run("sys.argv = ['twin', '--help']; from api.cli.main import main; main()")
    found = run("from twin.store import migrations; print(migrations.script_location(), migrations.head())").split()
    assert found[0] == str(site / "twin" / "_migrations")
    assert found[1] == migrations.head(), "the head that the code asks for is in the wheel"
