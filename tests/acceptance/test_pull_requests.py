"""A preview for every pull request, with a real Gitea: opened, pushed to, commanded, closed while it is updated."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import httpx
import pytest
from ruamel.yaml import YAML

from tests.acceptance.blueprints import folder
from tests.acceptance.conftest import Start
from tests.acceptance.previewing import PAGE, SECRET, Scene, live_a_life
from tests.acceptance.service import Service
from tests.providers.gitea_world import Gitea, Repository
from tests.waiting import eventually

GUESTBOOK = Path(__file__).parents[2] / "examples" / "guestbook"
UP = tuple(f"{backend} <strong>answers</strong>" for backend in ("PostgreSQL", "Redis", "NATS"))


class OnGitea(Scene):
    """See `Scene`."""

    def __init__(self, service: Service, repository: Repository, credentials: dict[str, str]) -> None:
        super().__init__(service)
        self.repository = repository
        self.credentials = credentials

    def pull(self, files: Mapping[str, str], *, title: str = "A change") -> tuple[int, str]:
        sha = self.repository.commit("feature", files)
        return self.repository.pull("feature", title=title), sha

    def push(self, number: int, files: Mapping[str, str]) -> str:
        return self.repository.commit("feature", files)

    def say(self, number: int, text: str) -> None:
        self.repository.comment(number, text)

    def close(self, number: int) -> None:
        self.repository.edit(number, state="closed")

    def comments(self, number: int) -> list[str]:
        return [str(each["body"]) for each in self.repository.comments(number)]

    def status(self, sha: str) -> tuple[str, str]:
        found = [each for each in self.repository.statuses(sha) if each["context"] == "twin/preview/page"]
        return (str(found[0]["status"]), str(found[0]["description"])) if found else ("", "")


@pytest.fixture
def scene(make_service: Start, gitea: Gitea, tmp_path: Path) -> Iterator[OnGitea]:
    service = make_service()
    service.serve()
    bot, owner = gitea.add("twin-bot"), gitea.add("ada")
    repository = gitea.repository(owner, f"page-{tmp_path.name.replace('_', '-')[-20:]}", private=True)
    repository.let_in(bot, "admin")
    repository.commit("main", {"app.py": PAGE, "page.txt": "main"})
    token = gitea.token("twin-bot", "read:user", "write:repository", "write:issue")
    target = {
        "name": "gitea/main",
        "provider": "gitea",
        "config": {"url": gitea.url},
        "credentials": {"token": token, "webhook_secret": SECRET},
    }
    service.post("/v1/targets", target)
    (processes,) = (each for each in service.get("/v1/targets")["items"] if each["name"] == "process/local")
    reading = gitea.token(bot.login, "read:repository")  # the repository is private
    fetching = {"name": "process/local", "provider": "process", "config": processes["config"]}
    service.post("/v1/targets", {**fetching, "credentials": {f"{gitea.url}/{owner.login}": reading}})
    scene = OnGitea(service, repository, {"the forge's": token, "git's": reading})
    scene.publish(tmp_path / "page")
    scene.follow("gitea/main", repository.full_name)
    events = ("pull_request", "pull_request_sync", "pull_request_comment", "issue_comment")
    repository.webhook(f"{service.url}/webhooks/gitea/main", SECRET, *events)
    yield scene
    repository.remove()


def test_a_pull_request_has_a_preview_until_it_is_closed(scene: OnGitea) -> None:
    life = live_a_life(scene)
    scene.keeps_secret(scene.credentials)
    scene.is_told(life.number, scene.repository.full_name)


def test_the_guestbook_of_the_commit_lives_under_its_link(scene: OnGitea, tmp_path: Path) -> None:
    """With its database, cache and queue; what was signed stays from one commit to the next."""
    blueprint = YAML(typ="safe").load(GUESTBOOK / "blueprint.yaml")
    host = f"${{env.name}}--{scene.label}"
    web = {"type": "caddy.route", "inputs": {"host": host, "to": "${app.outputs.urls}"}}
    parts = {"components": {**blueprint["components"], "web": web}, "inputs": blueprint["inputs"]}
    scene.service.publish(folder(tmp_path / "guestbook", name="guestbook", **parts))
    scene.follow("gitea/main", scene.repository.full_name, blueprint="guestbook")
    files = {name: (GUESTBOOK / name).read_text() for name in ("app.py", "backends.py", "page.html")}

    def titled(title: str) -> str:
        return files["page.html"].replace("<title>Guestbook</title>", f"<title>{title}</title>")

    def shows(*texts: str) -> bool:
        page = scene.page(number) or ""
        return all(text in page for text in texts)

    number, first = scene.pull({**files, "page.html": titled("The first")})
    eventually(lambda: shows("<title>The first</title>", *UP), within=120, why=scene.why)
    eventually(lambda: scene.status(first)[0] == "success", within=60, why=scene.why)
    view = scene.environment(number)
    assert view is not None
    scene.service.environments.append(view["id"])
    link = httpx.URL(view["url"])
    signed = httpx.post(
        link.copy_with(host="127.0.0.1", path="/sign"),
        headers={"Host": link.netloc.decode()},
        data={"name": "Ada", "message": "It stays"},
        trust_env=False,
    )
    assert signed.is_redirect, signed.text
    second = scene.push(number, {"page.html": titled("The second")})
    eventually(lambda: shows("<title>The second</title>", "It stays", *UP), within=120, why=scene.why)
    eventually(lambda: scene.status(second)[0] == "success", within=60, why=scene.why)
    scene.close(number)
    assert scene.ends(number, second)["id"] == view["id"]
    scene.has_no_debts()


def test_a_repository_that_is_renamed_keeps_its_previews(scene: OnGitea, gitea: Gitea) -> None:
    """Although another one takes its name at once."""
    number, first = scene.pull({"page.txt": "first"})
    view = scene.lives(number, first, "first")
    owner, name = scene.repository.owner, scene.repository.full_name.split("/")[1]
    scene.repository.rename(f"{name}-renamed")
    usurper = gitea.repository(owner, name, private=True)
    second = scene.push(number, {"page.txt": "second"})
    assert scene.lives(number, second, "second")["id"] == view["id"]
    scene.follow("gitea/main", scene.repository.full_name)
    scene.close(number)
    assert scene.ends(number, second)["id"] == view["id"]
    scene.has_no_debts()
    usurper.remove()
