"""GitHub by the suite of forges, on a server of its documented ways; as a token's user and as an app."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from typing import Any, ClassVar

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from msgspec.structs import replace

from providers.github import KIND
from providers.github.forge import STATES
from tests.providers.github_server import APP_ID, INSTALLATION_ID, SLUG, GitHub
from tests.providers.github_world import GitHubWorld
from twin.domain.errors import Blocked, Invalid, Transient
from twin.domain.targets import Target
from twin.ports.forge import Report
from twin.testing.conformance.forge import ForgeConformance
from twin.testing.conformance.forge_hooks import MARKER, PENDING
from twin.testing.loopback import Answer
from twin.testing.meddling import Meddler, after, instead


class TestWithToken(ForgeConformance):
    """As the user of a personal access token."""

    kind = KIND
    page_size = 100
    has_deployments = True
    conditional = True
    states: ClassVar = STATES

    @property
    def limits(self) -> Mapping[str, tuple[Answer, float]]:  # type: ignore[override]
        def said(status: int, text: str, **headers: str) -> Answer:
            given = {name.replace("_", "-"): value for name, value in headers.items()}
            return Answer(status=status, headers=given, body=f'{{"message": "{text}"}}'.encode())

        soon = str(int(time.time()) + 90)
        primary = "API rate limit exceeded for user ID 1."
        secondary = "You have exceeded a secondary rate limit. Please wait a few minutes."
        return {
            "primary": (said(403, primary, x_ratelimit_remaining="0", x_ratelimit_reset=soon), 90),
            "primary as 429": (said(429, primary, x_ratelimit_remaining="0", x_ratelimit_reset=soon), 90),
            "secondary": (said(403, secondary, retry_after="30"), 30),
            "secondary without a time": (said(403, secondary), 60),
            "without any word": (said(429, "", retry_after="40"), 40),
            "a clock that is wrong": (said(403, primary, x_ratelimit_remaining="0", x_ratelimit_reset="9" * 10), 7200),
        }

    @pytest.fixture
    async def github(self) -> AsyncIterator[GitHub]:
        async with GitHub() as server:
            yield server

    @pytest.fixture
    def world(self, github: GitHub) -> GitHubWorld:
        self.upstream = github.url
        self.credentials = {"token": github.token("twin-bot"), "webhook_secret": "a-secret-of-some-length"}
        return GitHubWorld(github, "twin-bot")

    def config(self, origin: str) -> Mapping[str, Any]:
        return {"url": "https://github.example", "api_url": origin}

    def refused(self) -> Mapping[str, str]:
        return {"token": "ghp_0123456789"}

    async def test_unchanged_listing_costs_nothing_of_the_rate(
        self, github: GitHub, world: GitHubWorld, between: Meddler
    ) -> None:
        forge = self.open(between.url)
        for _ in range(100):
            await world.open_pull()
        listing = await forge.open_pulls(world.repository)
        # One page is full: a next one might follow.
        pages = [call.query["page"] for call in between.seen if self.is_listing(call)]
        assert pages == ["1", "2", "1"]
        listed = len(github.record)
        left = github.record[-1].answered.headers["x-ratelimit-remaining"]
        assert (await forge.open_pulls(world.repository, listing.mark)).pulls is None
        again = github.sent("GET", "/repos/shop/guestbook/pulls", since=listed)
        assert [each.status for each in again] == [304, 304]
        assert github.record[listed:] == again, "nothing else was asked"
        assert {each.answered.headers["x-ratelimit-remaining"] for each in again} == {left}
        number = await world.open_pull()
        await world.close(number)
        await world.push(1, {"a": "b"})
        changed = await forge.open_pulls(world.repository, listing.mark)
        assert changed.pulls is not None
        assert len(changed.pulls) == 100
        await forge.close()

    async def test_all_that_is_sent_is_known_and_is_what_github_documents(
        self, github: GitHub, world: GitHubWorld, between: Meddler
    ) -> None:
        forge = self.open(between.url)
        number = await world.open_pull()
        sha = await world.head(number)
        ready = Report(context="twin/preview", outcome="success", summary="ready", url="http://pr-1.localhost/")
        await forge.pull(world.repository, number)
        await forge.put_comment(world.repository, number, MARKER, "hello")
        await forge.report(world.repository, sha, ready)
        await forge.deploy(world.repository, sha, "pr-1", ready)
        await forge.close()
        (made,) = github.sent("POST", "/repos/shop/guestbook/deployments")
        deployment = json.loads(made.answered.body)["id"]
        home = "/repos/shop/guestbook"
        written = [(each.call.method, each.path, json.loads(each.call.body)) for each in github.record if each.is_write]
        assert written == [
            ("POST", f"{home}/issues/{number}/comments", {"body": f"{MARKER}\nhello"}),
            (
                "POST",
                f"{home}/statuses/{sha}",
                {
                    "state": "success",
                    "context": "twin/preview",
                    "description": "ready",
                    "target_url": "http://pr-1.localhost/",
                },
            ),
            (
                "POST",
                f"{home}/deployments",
                {
                    "ref": sha,
                    "environment": "pr-1",
                    "auto_merge": False,
                    "required_contexts": [],
                    "transient_environment": False,
                    "production_environment": False,
                },
            ),
            (
                "POST",
                f"{home}/deployments/{deployment}/statuses",
                {
                    "state": "success",
                    "description": "ready",
                    "environment_url": "http://pr-1.localhost/",
                    "auto_inactive": True,
                },
            ),
        ]
        assert len(github.record) == len(between.seen)
        for each in github.record:
            assert each.call.headers["user-agent"] == "twin"
            assert each.status in (200, 201)
        for each in github.sent(path="/repos/.*"):
            assert each.call.headers["x-github-api-version"] == "2026-03-10"

    async def test_next_page_elsewhere_is_blocked(self, world: GitHubWorld, between: Meddler) -> None:
        forge = self.open(between.url)
        stolen = {"link": '<http://127.0.0.2:9/pulls?page=2>; rel="next"'}
        between.rule = after(lambda answer: replace(answer, headers=answer.headers | stolen), when=self.is_listing)
        with pytest.raises(Blocked) as refused:
            await forge.open_pulls(world.repository)
        assert refused.value.key == "github/test/elsewhere"
        await forge.close()

    async def test_more_files_than_github_tells(self, world: GitHubWorld, between: Meddler) -> None:
        forge = self.open(between.url)
        number = await world.open_pull(files={f"{n:05}": "" for n in range(3001)})
        assert await forge.changed_paths(world.repository, number) is None
        number = await world.open_pull(files={f"{n:05}": "" for n in range(3000)})
        assert len(await forge.changed_paths(world.repository, number) or ()) == 3000
        await forge.close()

    async def test_earlier_commit_of_the_environment_is_inactive_when_the_next_succeeds(
        self, world: GitHubWorld, between: Meddler
    ) -> None:
        forge = self.open(between.url)
        number = await world.open_pull()
        first = await world.head(number)
        ready = Report(context="twin", outcome="success", summary="ready")
        await forge.deploy(world.repository, first, "pr-1", ready)
        second = await world.push(number, {"a": "b"})
        await forge.deploy(world.repository, second, "pr-1", PENDING)
        for _ in range(2):
            await forge.deploy(world.repository, second, "pr-1", ready)
        assert world.said_of_deployments(second) == ["in_progress", "success"], "each is said once"
        states = [[each and each.state for each in await world.deployments(sha, "pr-1")] for sha in (first, second)]
        assert states == [["inactive"], ["success"]]
        await forge.close()

    async def test_write_that_is_404_is_a_missing_right(self, world: GitHubWorld, between: Meddler) -> None:
        forge = self.open(between.url)
        number = await world.open_pull()
        sha = await world.head(number)
        between.rule = instead(
            Answer(status=404, body=b'{"message": "Not Found"}'),
            when=lambda call: call.method == "POST" and call.path.startswith("/repos/"),
        )
        for call in (
            forge.put_comment(world.repository, number, MARKER, "hello"),
            forge.report(world.repository, sha, PENDING),
            forge.deploy(world.repository, sha, "pr-1", PENDING),
        ):
            with pytest.raises(Blocked) as refused:
                await call
            assert refused.value.key == f"github/test/permission/{world.repository}"
        await forge.close()

    async def test_doubled_deployment_goes(self, world: GitHubWorld, between: Meddler) -> None:
        forges = [self.open(between.url) for _ in range(2)]
        sha = await world.head(await world.open_pull())
        between.rule = instead(
            Answer(body=b"[]"),
            when=lambda call: call.method == "GET" and call.path.endswith("/deployments") and len(between.seen) <= 4,
        )
        for forge in forges:
            try:
                await forge.deploy(world.repository, sha, "pr-1", PENDING)
            except Transient:  # what it made is not shown yet
                await forge.deploy(world.repository, sha, "pr-1", PENDING)
            await forge.close()
        assert [each and each.state for each in await world.deployments(sha, "pr-1")] == ["in_progress"]


class TestAsApp(TestWithToken):
    """As the installation of an app: a JWT by its key, and for it a token of an hour."""

    @pytest.fixture
    def world(self, github: GitHub) -> GitHubWorld:
        self.upstream = github.url
        self.credentials = {"private_key": github.private_key}
        return GitHubWorld(github, f"{SLUG}[bot]")

    def config(self, origin: str) -> Mapping[str, Any]:
        app = {"app_id": APP_ID, "installation_id": INSTALLATION_ID}
        return {"url": "https://github.example", "api_url": origin, "app": app}

    def refused(self) -> Mapping[str, str]:
        other = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
        return {"private_key": other.private_bytes(encoding, form, serialization.NoEncryption()).decode()}

    async def test_token_of_the_installation_is_used_until_it_ends(
        self, github: GitHub, world: GitHubWorld, between: Meddler
    ) -> None:
        forge = self.open(between.url)
        number = await world.open_pull()
        for _ in range(3):
            await forge.pull(world.repository, number)
        assert len(github.installed) == 1
        (token,) = github.installed
        github.installed[token] = datetime.now(UTC)  # withdrawn
        await forge.put_comment(world.repository, number, MARKER, "hello")
        assert len(github.installed) == 2
        assert await world.comments(number) == [(f"{SLUG}[bot]", f"{MARKER}\nhello")]
        await forge.close()

    async def test_installation_that_is_gone_is_blocked(self, world: GitHubWorld, between: Meddler) -> None:
        forge = self.open(between.url)
        for status in (403, 404):
            between.rule = instead(
                Answer(status=status, body=b'{"message": "This installation has been suspended"}'),
                when=lambda call: call.path.endswith("/access_tokens"),
            )
            with pytest.raises(Blocked) as gone:
                await forge.pull(world.repository, 1)
            assert gone.value.key == "github/test/installation"
        await forge.close()


RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
PEM = RSA.private_bytes(
    serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
).decode()
APP = {"app": {"app_id": 1, "installation_id": 2}}


@pytest.mark.parametrize(
    ("config", "credentials", "field"),
    [
        ({}, {}, "credentials.token"),
        (APP, {}, "credentials.private_key"),
        (APP, {"token": "ghp_x", "private_key": PEM}, "credentials.token"),
        ({}, {"token": "ghp_x", "private_key": PEM}, "credentials.private_key"),
        (APP, {"private_key": "no key at all"}, "credentials.private_key"),
        ({"app": {"app_id": 0, "installation_id": 2}}, {"private_key": PEM}, "config.app.app_id"),
        ({"url": "https://u:p@github.example"}, {"token": "ghp_x"}, "config.url"),
        ({}, {"token": "two\nlines"}, "credentials.token"),
    ],
)
def test_wrong_configuration_names_the_field(config: Any, credentials: Any, field: str) -> None:
    with pytest.raises(Invalid) as wrong:
        KIND.check(Target(name="github/main", provider="github", config=config), credentials)
    assert wrong.value.field == field
    assert not any(value in str(wrong.value) for value in credentials.values())


def test_api_is_where_each_kind_of_github_has_it() -> None:
    from providers.github.spec import configured

    assert configured({}, {"token": "t"})[0].api == "https://api.github.com"
    assert configured({"url": "https://git.example/"}, {"token": "t"})[0].api == "https://git.example/api/v3"
    KIND.check(Target(name="github/main", provider="github", config=APP), {"private_key": PEM})
