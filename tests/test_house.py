"""Habits that no linter knows of: what the tree may hold, and that pages and code say the same."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from twin.domain import errors

PROJECT = Path(__file__).parent.parent
PACKAGES = ("twin", "api", "providers")

LONGEST = 400
LONG = {
    "twin/ports/store.py": "the one port to the store; it is read as a whole by who writes another",
}
"""Files with more lines, each with the reason why two files would be worse."""

VAGUE = {"utils", "util", "helpers", "helper", "common", "manager", "managers", "misc", "base_classes", "lib"}


def sources(*tops: str) -> list[Path]:
    return [
        path
        for top in tops
        for path in sorted((PROJECT / top).rglob("*.py"))
        if not {"__pycache__", ".venv"} & set(path.parts)
    ]


def shown(path: Path) -> str:
    return path.relative_to(PROJECT).as_posix()


def test_no_file_is_too_long() -> None:
    lines = {shown(path): len(path.read_text().splitlines()) for path in sources(*PACKAGES)}
    long = {name: count for name, count in lines.items() if count > LONGEST}
    assert long.keys() <= LONG.keys(), f"a file is one idea; say in LONG why it is more, or part it: {long}"


def test_no_name_is_vague() -> None:
    parts = {part for path in sources(*PACKAGES) for part in (path.stem, *path.relative_to(PROJECT).parts[:-1])}
    assert not parts & VAGUE, "a name says the thing"


def test_tests_and_migrations_are_no_packages() -> None:
    found = [shown(path) for path in sources("tests", "alembic") if path.name == "__init__.py"]
    assert not found, "a package alembic would shadow the installed one; importlib mode needs none in tests"


def test_every_module_says_what_it_is_for() -> None:
    silent = [
        shown(path)
        for path in sources(*PACKAGES)
        if path.name != "__init__.py" and ast.get_docstring(ast.parse(path.read_text())) is None
    ]
    assert not silent


def tracked() -> Iterator[tuple[str, str]]:
    """Every file of text that belongs to the project: its name and content."""
    command = ["git", "ls-files", "--cached", "-z"]
    listed = subprocess.run(command, cwd=PROJECT, check=False, capture_output=True, text=True)
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    for name in listed.stdout.split("\0"):
        path = PROJECT / name
        if name and path.is_file():
            try:
                yield name, path.read_text()
            except UnicodeDecodeError:
                continue


def test_no_package_registry_is_named() -> None:
    # Where packages come from is the machine's setting; a host in the project would override or break it.
    registries = ("pypi" + ".org", "files.pythonhosted" + ".org", "registry.npmjs" + ".org", "crates" + ".io")
    flags = ("--index" + "-url", "--extra-index" + "-url")
    found = [
        (name, word)
        for name, text in tracked()
        for word in (*registries, *flags)
        if word in text.replace("--no-emit-index-url", "")
    ]
    assert not found


def raised_codes() -> set[str]:
    """Every `code` that a problem can carry: of the classes, and where one is made."""
    codes = set()
    for path in sources(*PACKAGES):
        tree = ast.parse(path.read_text())
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                given = [word.value for word in node.keywords if word.arg == "code"]
                codes |= {c.value for c in given if isinstance(c, ast.Constant) and isinstance(c.value, str)}
            elif isinstance(node, ast.ClassDef):
                for line in node.body:
                    if (
                        isinstance(line, ast.Assign)
                        and isinstance(line.targets[0], ast.Name)
                        and line.targets[0].id == "code"
                        and isinstance(line.value, ast.Constant)
                    ):
                        codes.add(str(line.value.value))
    return codes


def test_every_error_code_is_explained() -> None:
    explained = set(re.findall(r"^\| `(\w+)` \|", (PROJECT / "docs/errors.md").read_text(), re.MULTILINE))
    assert raised_codes() - explained == set(), "docs/errors.md says what each code means and what mends it"
    statuses = {
        each.code: each.status
        for each in vars(errors).values()
        if isinstance(each, type) and issubclass(each, errors.Problem)
    }
    page = (PROJECT / "docs/errors.md").read_text()
    wrong = [
        code for code, status in statuses.items() if not re.search(rf"^\| `{code}` \| {status} \|", page, re.MULTILINE)
    ]
    assert not wrong, "the page gives the status that is sent"


def pages() -> list[Path]:
    """What people read."""
    tops = [PROJECT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")]
    return [*tops, *sorted((PROJECT / "docs").rglob("*.md"))]


def commands() -> Iterator[tuple[str, str]]:
    """What the pages tell people to type: `make x` and `twin x`, in code."""
    for page in pages():
        text = page.read_text()
        blocks = re.findall(r"^```[a-z]*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
        code = "\n".join([*blocks, *re.findall(r"`([^`\n]+)`", text)])
        for program, word in re.findall(r"^(?:\$ )?(?:\.venv/bin/)?(make|twin) ([a-z-]+)", code, re.MULTILINE):
            yield f"{shown(page)}: {program} {word}", word


def test_what_pages_tell_to_type_is_there() -> None:
    import typer

    from api.cli.main import app

    group = typer.main.get_command(app)
    known = {"make": set(re.findall(r"^([a-z]+):", (PROJECT / "Makefile").read_text(), re.MULTILINE))}
    known["twin"] = set(getattr(group, "commands", {}))
    told = list(commands())
    assert told
    unknown = [where for where, word in told if word not in known[where.split()[1]]]
    assert not unknown
    in_readme = {where for where, _ in told if where.startswith("README.md")}
    assert "README.md: make run" in in_readme


def quoted() -> Iterator[tuple[str, str]]:
    """Commands with options, as pages and the program's own messages quote them: each up to its end, where it is."""
    for path in [*pages(), *sorted((PROJECT / "providers").rglob("README.md")), *sources(*PACKAGES)]:
        text = path.read_text().replace("\\\n", " ")
        for line in re.findall(r"(?<![\w=])twin [a-z][^\n`\"|;]* --[a-z][^\n`\"|;]*", text):
            for command in re.split(r"(?<![\w=])twin ", line.partition(" -- ")[0]):
                yield shown(path), command


def test_options_of_quoted_commands_are_there() -> None:
    import typer

    from api.cli.main import app

    unknown, seen = list[str](), set[str]()
    for where, command in quoted():
        group: Any = typer.main.get_command(app)
        for word in command.split():
            group = getattr(group, "commands", {}).get(word, group)
        if group.context_settings.get("ignore_unknown_options"):
            continue  # it takes the options of others, too
        known = {"--help", *(name for each in group.params for name in (*each.opts, *each.secondary_opts))}
        told = set(re.findall(r"(?<!\S)--[a-z][a-z-]*", command))
        unknown += [f"{where}: twin {command}: {name}" for name in told - known]
        seen |= told
    assert "--credential" in seen
    assert not unknown


def test_pages_point_at_what_exists() -> None:
    broken = []
    for page in pages():
        text = page.read_text()
        links = [link for link in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text) if "://" not in link]
        names = re.findall(r"`((?:twin|api|providers|tests|docs|tools|examples|alembic)/[\w./-]+)`", text)
        broken += [f"{shown(page)}: {link}" for link in links if not (page.parent / link).exists()]
        broken += [f"{shown(page)}: {name}" for name in names if not (PROJECT / name).exists()]
    assert not broken
