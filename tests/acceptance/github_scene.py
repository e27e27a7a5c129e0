"""A service that is an app of a GitHub, whose pull requests have previews."""

from __future__ import annotations

from collections.abc import Mapping

from tests.acceptance.previewing import PAGE, SECRET, Scene
from tests.acceptance.service import Json, Service
from tests.providers.github_hub import Hub
from tests.providers.github_server import APP_ID, INSTALLATION_ID, Exchange
from tests.waiting import eventually

FORGE = "github/main"
REPOSITORY = "shop/page"


class OnGitHub(Scene):
    """See `Scene`. It knows the GitHub, and has no preview source yet."""

    def __init__(self, service: Service, hub: Hub) -> None:
        super().__init__(service)
        self.hub = hub
        self.repository = hub.repository(REPOSITORY, ada="admin", bo="write", eve="read")
        self.repository.commit("main", {"app.py": PAGE, "page.txt": "main"})
        target = {
            "name": FORGE,
            "provider": "github",
            "config": {"url": hub.url, "app": {"app_id": APP_ID, "installation_id": INSTALLATION_ID}},
            "credentials": {"private_key": hub.github.private_key, "webhook_secret": SECRET},
        }
        service.post("/v1/targets", target)
        self._branches = 0

    @property
    def door(self) -> str:
        """Where webhooks are delivered to."""
        return f"{self.service.url}/webhooks/{FORGE}"

    def pull(self, files: Mapping[str, str], *, title: str = "A change") -> tuple[int, str]:
        self._branches += 1
        branch = f"feature-{self._branches}"
        sha = self.repository.commit(branch, files)
        return self.repository.pull(branch, sha, title=title), sha

    def push(self, number: int, files: Mapping[str, str]) -> str:
        return self.repository.push(number, files)

    def say(self, number: int, text: str) -> None:
        self.repository.comment(number, text)

    def close(self, number: int) -> None:
        self.repository.close(number)

    def comments(self, number: int) -> list[str]:
        return self.repository.comments(number)

    def status(self, sha: str) -> tuple[str, str]:
        found = [each for each in self.repository.statuses(sha) if each["context"] == "twin/preview/page"]
        return (str(found[0]["state"]), str(found[0]["description"])) if found else ("", "")

    def deployment(self, sha: str) -> list[str]:
        """All that was said of the one deployment of a commit, oldest first; nothing if there is none."""
        found = self.repository.deployments(sha)
        assert len(found) <= 1, "one deployment for a commit"
        return [str(said["state"]) for each in found for said in each["said"]]

    def lives(self, number: int, sha: str, said: str) -> Json:
        """And the deployment says so too, and nothing more is to be said."""
        view = super().lives(number, sha, said)
        eventually(lambda: self.deployment(sha)[-1:] == ["success"], within=60, why=self.why)
        eventually(self.is_all_said, within=60, why=self.why)
        return view

    def is_all_said(self) -> bool:
        """Whether every sink of every pull request was told the last that it was to be told."""
        begun, published = (
            {(each["environment"], each["data"]["sink"]): each["data"]["digest"] for each in self.history(type=kind)}
            for kind in ("publishing_begun", "preview_published")
        )
        return begun == published

    # the record

    def written_of(self, sha: str) -> list[int]:
        """Where in the record something was said of a commit: a status, a deployment or its state."""
        made = [each["id"] for each in self.repository.deployments(sha)]
        home = self.repository.path
        paths = (f"{home}/statuses/{sha}", *(f"{home}/deployments/{each}/statuses" for each in made))

        def is_of(each: Exchange) -> bool:
            deployed = each.path == f"{home}/deployments" and sha.encode() in each.call.body
            return each.call.method == "POST" and (each.path in paths or deployed)

        return self.hub.do(lambda: [at for at, each in enumerate(self.hub.github.record) if is_of(each)])

    # the history

    def history(self, **query: str) -> list[Json]:
        """The audit of everything, oldest first."""
        found: list[Json] = []
        after: dict[str, str] = {}
        while True:
            page = self.service.get("/v1/audit", limit=1000, **query, **after)
            found += page["items"]
            if len(page["items"]) < 1000:
                return found
            after = {"after": page["next"]}

    def handled(self, delivery: str) -> Json:
        """What the history says came of a delivery; None until it is handled."""
        found = [each for each in self.history(type="delivery_handled") if each["data"]["delivery"] == delivery]
        assert len(found) <= 1, "once"
        return found[0]["data"] if found else {}
