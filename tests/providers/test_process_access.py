"""Credentials of git servers: sent to the server that they name, for what is below their path, and seen by nobody."""

from __future__ import annotations

import contextlib
import logging
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from providers.process import KIND
from providers.process.access import address_of, credentials, fitting
from tests.providers.git_server import GitServer, git_server
from tests.providers.process_world import step
from tests.providers.test_process_git import Repo
from twin.domain.errors import Blocked, Invalid, StepFailure, Terminal
from twin.domain.targets import Target
from twin.testing.steps import make_ref

TOKEN = f"planted-{secrets.token_hex(16)}"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[GitServer]:
    with git_server(tmp_path / "served") as server:
        server.password = TOKEN
        yield server


@pytest.fixture
def repo(server: GitServer) -> Repo:
    repo = Repo(server, "acme/app")
    repo.commit(app__py="x")
    return repo


async def applied(directory: Path, url: str, held: Mapping[str, str], ref: str = "main") -> StepFailure:
    """How it ends: the files are no app, so that it always fails; on `build` once they are there."""
    target = Target(name="process/main", provider="process", config={"directory": str(directory)})
    component = make_ref("app", type="process.service")
    inputs = {"source": {"git": url, "ref": ref}, "build": ["false"]}
    provider = KIND.open(target, held)
    with pytest.raises(StepFailure) as caught:
        await provider.apply(component, step(inputs))
    await provider.remove(component, step({"stop_grace": 0}))
    return caught.value


def command_lines() -> list[str]:
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            found.append(" ".join(process.cmdline()))
    return found


def is_fetched(failure: StepFailure) -> bool:
    return isinstance(failure, Terminal) and failure.field == "build"


@pytest.mark.parametrize("value", [TOKEN, f"ada:{TOKEN}", f"{TOKEN}\n"])
@pytest.mark.parametrize("below", ["", "/acme", "/acme/app/"])
async def test_a_private_repository_is_fetched_with_the_targets_credential(
    repo: Repo, server: GitServer, tmp_path: Path, value: str, below: str
) -> None:
    failure = await applied(tmp_path / "target", repo.url, {f"{server.url}{below}": value})
    assert is_fetched(failure), failure
    assert server.given == {f"ada:{TOKEN}" if value.startswith("ada:") else f"x-access-token:{TOKEN}"}


async def test_nobody_sees_it(
    repo: Repo, server: GitServer, tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    directory = tmp_path / "target"
    held = {server.url: f"ada:{TOKEN}"}
    commands: set[str] = set()
    server.on_ask = lambda: commands.update(command_lines())  # git is at work then
    assert is_fetched(await applied(directory, repo.url, held))
    server.elsewhere = f"http://127.0.0.1:1/{TOKEN}"  # a server that tells it to whoever listens
    moved = await applied(directory, repo.url, held)
    server.elsewhere = None
    server.password = "another"
    refused = await applied(directory, repo.url, held)
    said = caplog.text + "".join(capfd.readouterr()) + repr(moved) + str(refused)
    kept = [path.read_bytes() for path in directory.rglob("*") if path.is_file()]
    assert TOKEN not in said
    assert not [each for each in kept if TOKEN.encode() in each]
    assert not [each for each in commands if TOKEN in each]
    assert [each for each in commands if "git" in each and server.url in each], "it was looked at the right time"
    assert TOKEN not in repr(credentials(held))


async def test_it_goes_to_no_other_server(repo: Repo, server: GitServer, tmp_path: Path) -> None:
    with git_server(tmp_path / "other") as other:
        other.password = TOKEN
        public = Repo(other, "acme/app")
        public.commit(app__py="x")
        held = {server.url: TOKEN}
        refused = await applied(tmp_path / "target", public.url, held)
        assert isinstance(refused, Terminal)
        assert "--credential" in (refused.mend or "")
        server.elsewhere = other.url
        assert "redirect" in (await applied(tmp_path / "target", repo.url, held)).message
        assert other.given == set()
        assert other.asked != []


@pytest.mark.parametrize(
    "place",
    [
        "127.0.0.1",  # https is meant
        "https://127.0.0.1:{port}",
        "http://localhost:{port}",
        "http://127.0.0.1",
        "http://127.0.0.1:{port}/acm",
        "http://127.0.0.1:{port}/acme/app/more/.git/x",
        "http://127.0.0.1:{port}/Acme",
        "http://127.0.0.1:{port}/other",
    ],
)
async def test_it_is_for_its_place_alone(repo: Repo, server: GitServer, tmp_path: Path, place: str) -> None:
    failure = await applied(tmp_path / "target", repo.url, {place.format(port=server.port): TOKEN})
    assert isinstance(failure, Terminal)
    assert failure.field == "source.git"
    assert server.given == set()


async def test_a_path_that_can_be_read_in_several_ways_gets_none(repo: Repo, server: GitServer, tmp_path: Path) -> None:
    held = {f"{server.url}/other": TOKEN}
    for path in (
        "/other/../acme/app/.git",
        "/other/%2e%2e/acme/app/.git",
        "/other/..%2facme/app/.git",
        "/other//../acme",
    ):
        failure = await applied(tmp_path / "target", server.url + path, held)
        assert not is_fetched(failure)
    assert server.given == set()


async def test_a_credential_that_is_refused_waits_for_whoever_gave_it(
    repo: Repo, server: GitServer, tmp_path: Path
) -> None:
    server.password = "expired"
    failure = await applied(tmp_path / "target", repo.url, {server.url: TOKEN})
    assert isinstance(failure, Blocked)
    assert failure.key == "process/main/git/127.0.0.1"
    assert server.url in failure.mend


async def test_a_url_with_its_own_comes_first(repo: Repo, server: GitServer, tmp_path: Path) -> None:
    mine = repo.url.replace("://", f"://bo:{TOKEN}@")
    assert is_fetched(await applied(tmp_path / "target", mine, {server.url: "ada:other-token"}))
    assert server.given == {f"bo:{TOKEN}"}
    server.asked.clear()
    assert is_fetched(await applied(tmp_path / "target", repo.url.replace("://", f"://{TOKEN}@"), {}))
    assert server.given == {f"x-access-token:{TOKEN}"}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("", TOKEN),
        ("git example.com", TOKEN),
        ("ssh://git.example.com", TOKEN),
        ("https://ada@git.example.com", TOKEN),
        ("git.example.com/a/../b", TOKEN),
        ("git.example.com?x", TOKEN),
        ("git.example.com", ""),
        ("git.example.com", "ada:"),
        ("git.example.com", f":{TOKEN}"),
        ("git.example.com", f"ada:{TOKEN}\nhost=evil"),
    ],
)
def test_what_is_no_credential_is_refused_when_the_target_is_added(tmp_path: Path, name: str, value: str) -> None:
    target = Target(name="process/main", provider="process", config={"directory": str(tmp_path)})
    with pytest.raises(Invalid) as refused:
        KIND.check(target, {name: value})
    assert refused.value.field == f"credentials.{name}"
    assert TOKEN not in str(refused.value)


def test_the_longest_path_counts() -> None:
    held = credentials({"git.test": "a:all", "git.test/acme": "b:acme", "https://git.test:443/acme/app": "c:app"})

    def which(url: str) -> str | None:
        address = address_of(url)
        found = fitting(held, address) if address is not None else None
        return found.user if found is not None else None

    assert which("https://GIT.test/acme/app") == which("https://git.test:443/acme/app/x") == "c"
    assert which("https://git.test/acme/application.git") == which("https://git.test/acme") == "b"
    assert which("https://git.test/acmeapp") == which("https://git.test") == "a"
    assert (
        which("http://git.test/acme") == which("https://git.test.evil/acme") == which("https://agit.test/acme") is None
    )
    assert which("https://git.test\\@evil.test/acme") == which("https://git.test:443@evil.test/acme") is None


@example("evil.test?@git.test/acme")
@example("evil.test#@git.test/acme")
@example("[::1]:80/x")
@example("[:]/x")
@example("[a@1")
@example("git.test:65536/x")
@given(st.text(alphabet="htps:/@.git-teval\\%2e#?[]18 ", min_size=1, max_size=40))
def test_an_address_is_read_as_others_read_it_or_not_at_all(text: str) -> None:
    url = f"https://{text}"
    address = address_of(url)
    if address is not None:
        parts = urlsplit(url)
        assert address.host.strip("[]") == parts.hostname
        assert address.port == (443 if parts.port is None else parts.port)
