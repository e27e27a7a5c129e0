"""What every forge must do, proven against its real server or one that behaves as documented.

A forge's author subclasses it, gives a fixture `world` (a `ForgeWorld`) and fills in the hooks. All calls go through a
`Meddler`, which lets the forge be slow, limited, cut or elsewhere when a test wants it to be.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import replace

from twin.domain.errors import Blocked, Terminal, Transient
from twin.domain.pulls import Outcome, Permission
from twin.ports.forge import Forge, Report
from twin.testing.conformance.forge_hooks import CONTEXT, MARKER, NOWHERE, PENDING, USES, ForgeWorld, Said, Use, uses
from twin.testing.conformance.forge_trouble import ForgeTrouble
from twin.testing.meddling import Meddler, after


@pytest.mark.asyncio
class ForgeConformance(ForgeTrouble):
    """Subclass it as `TestForge`."""

    # what is there

    async def test_pull_is_told_as_it_is_now(self, world: ForgeWorld, forge: Forge) -> None:
        number = await world.open_pull(title="Add a page", labels=("preview", "a b"), files={"pages/new.html": "hi"})
        pull = await forge.pull(world.repository, number)
        assert pull is not None
        assert (pull.repository, pull.number, pull.title) == (world.repository, number, "Add a page")
        assert (pull.state, pull.draft, pull.is_over, pull.is_fork) == ("open", False, False, False)
        assert pull.head_sha == await world.head(number)
        assert pull.head_branch
        assert pull.head_branch != pull.base_branch == "main"
        assert pull.labels == ("a b", "preview")
        assert pull.url.startswith("http")
        assert pull.updated_at.utcoffset() == timedelta()
        pushed = await world.push(number, {"pages/new.html": "ho"})
        again = await forge.pull(world.repository, number)
        assert again is not None
        assert again.head_sha == pushed != pull.head_sha

    async def test_closed_merged_and_reopened_are_told_apart(self, world: ForgeWorld, forge: Forge) -> None:
        closed, merged = await world.open_pull(), await world.open_pull()
        await world.close(closed)
        await world.close(merged, merge=True)
        for number, state in ((closed, "closed"), (merged, "merged")):
            pull = await forge.pull(world.repository, number)
            assert pull is not None
            assert pull.is_over
            assert pull.state == state
        await world.reopen(closed)
        pull = await forge.pull(world.repository, closed)
        assert pull is not None
        assert not pull.is_over

    async def test_draft_is_told(self, world: ForgeWorld, forge: Forge) -> None:
        pull = await forge.pull(world.repository, await world.open_pull(draft=True))
        assert pull is not None
        assert pull.draft

    async def test_fork_is_told_also_when_it_is_gone(self, world: ForgeWorld, forge: Forge) -> None:
        number = await world.open_pull(fork=True)
        pull = await forge.pull(world.repository, number)
        assert pull is not None
        assert pull.is_fork
        assert pull.head_repository not in (None, world.repository)
        assert pull.author == (pull.head_repository or "").split("/")[0]
        assert pull in ((await forge.open_pulls(world.repository)).pulls or ())
        await world.remove_fork(number)
        pull = await forge.pull(world.repository, number)
        assert pull is not None
        assert pull.head_repository is None
        assert pull.is_fork
        assert pull.head_sha == await world.head(number)

    async def test_missing_is_a_positive_answer(self, world: ForgeWorld, forge: Forge) -> None:
        assert await forge.pull(world.repository, 9999) is None

    @uses
    async def test_hidden_or_missing_repository_is_never_an_absence(
        self, world: ForgeWorld, forge: Forge, use: Use
    ) -> None:
        for repository in (world.hidden, f"{world.repository.split('/')[0]}/is-not-there", "nobody-at-all/nothing"):
            if not self.has_deployments and use is USES["deploy"]:
                continue
            with pytest.raises(Blocked) as refused:
                await use(forge, repository, 1, NOWHERE)
            assert refused.value.key == f"{self.kind.name}/test/repository/{repository}"

    async def test_renamed_repository_answers_under_its_old_name_and_tells_the_new_one(
        self, world: ForgeWorld, forge: Forge
    ) -> None:
        number = await world.open_pull()
        before = await forge.repository(world.repository)
        old = await world.rename()
        assert before.name == old != world.repository
        pull = await forge.pull(old, number)
        assert pull is not None
        assert (pull.repository, pull.head_repository) == (world.repository, world.repository)
        now = await forge.repository(old)
        assert (now.id, now.name) == (before.id, world.repository)
        assert now == pull.home == await forge.repository(world.repository)
        assert (await forge.open_pulls(old)).pulls == (pull,)
        await forge.put_comment(old, number, MARKER, "moved")
        assert [body for _, body in await world.comments(number)] == [f"{MARKER}\nmoved"]

    # listings

    async def test_all_open_pulls_over_all_pages(self, world: ForgeWorld, forge: Forge, between: Meddler) -> None:
        assert (await forge.open_pulls(world.repository)).pulls == ()
        numbers = [await world.open_pull() for _ in range(self.page_size + 1)]
        closed = await world.open_pull()
        await world.close(closed)
        listing = await forge.open_pulls(world.repository)
        assert listing.pulls is not None
        assert sorted(pull.number for pull in listing.pulls) == numbers
        single = await forge.pull(world.repository, numbers[0])
        assert single in listing.pulls, "a listing tells the same as a single answer"

        between.seen.clear()
        assert (await forge.open_pulls(world.repository, listing.mark)).pulls is None
        conditional = ["if-none-match" in call.headers for call in between.seen]
        assert conditional == ([True, True] if self.conditional else [False] * len(conditional))

        await world.close(numbers[0])
        changed = await forge.open_pulls(world.repository, listing.mark)
        assert changed.pulls is not None
        assert sorted(pull.number for pull in changed.pulls) == numbers[1:]
        assert (await forge.open_pulls(world.repository, "of another version")).pulls is not None

    async def test_mark_tells_a_push(self, world: ForgeWorld, forge: Forge) -> None:
        number = await world.open_pull()
        listing = await forge.open_pulls(world.repository)
        sha = await world.push(number, {"a": "b"})
        changed = await forge.open_pulls(world.repository, listing.mark)
        assert changed.pulls is not None
        assert [pull.head_sha for pull in changed.pulls] == [sha]

    async def test_changed_paths(self, world: ForgeWorld, forge: Forge, between: Meddler) -> None:
        files = {f"docs/{n} ä.md": str(n) for n in range(self.page_size + 1)}
        number = await world.open_pull(files=files)
        assert await forge.changed_paths(world.repository, number) == tuple(sorted(files))
        between.rule = after(
            lambda answer: replace(answer, body=b"[]"),
            when=lambda call: call.path.endswith("/files") and call.query.get("page") == "2",
        )
        with pytest.raises(Transient):
            await forge.changed_paths(world.repository, number)
        with pytest.raises(Transient):
            await forge.changed_paths(world.repository, 9999)

    # who and what

    async def test_comment_is_told_as_it_stands_there(self, world: ForgeWorld, forge: Forge) -> None:
        number, other = await world.open_pull(), await world.open_pull()
        before = datetime.now(UTC) - timedelta(minutes=5)
        written = await world.comment(number, "/twin status\n\nplease, ä")
        ours = await world.comment(number, "and we", ours=True)
        (visitor, _), _ = await world.comments(number)
        told = await forge.comment(world.repository, number, written)
        assert told is not None
        assert (told.author, told.body) == (visitor, "/twin status\n\nplease, ä")
        assert told.at.utcoffset() == timedelta()
        assert before < told.at < before + timedelta(minutes=30)
        by_us = await forge.comment(world.repository, number, ours)
        assert by_us is not None
        assert (by_us.author, by_us.body) == (world.us, "and we")

        assert await forge.comment(world.repository, other, written) is None, "it is of another pull request"
        elsewhere = await world.comment_elsewhere("/twin destroy")
        assert await forge.comment(world.repository, number, elsewhere) is None, "it is of another repository"
        assert await forge.comment(world.repository, number, 2**52) is None

        await world.edit_comment(written, "never mind")
        edited = await forge.comment(world.repository, number, written)
        assert edited is not None
        assert (edited.author, edited.body, edited.at) == (visitor, "never mind", told.at)
        await world.delete_comment(written)
        assert await forge.comment(world.repository, number, written) is None

    async def test_permissions(self, world: ForgeWorld, forge: Forge) -> None:
        levels: tuple[Permission, ...] = ("read", "write", "admin")
        assert set(world.people) >= set(levels)
        for permission, login in world.people.items():
            assert await forge.permission(world.repository, login) == permission
        for nobody in ("is-not-there", "../../users", "a/b", "", "x" * 300, "a\nb"):
            assert await forge.permission(world.repository, nobody) == "none"

    async def test_content_of_a_commit(self, world: ForgeWorld, forge: Forge) -> None:
        files = {
            ".twin/preview.yaml": "drafts: false\n",
            "a b/ä?#%.txt": "ünicode",
            "empty": "",
            "large": "x" * 300_000,
        }
        number = await world.open_pull(files=files)
        sha = await world.head(number)
        for path in (".twin/preview.yaml", "a b/ä?#%.txt", "empty"):
            assert await forge.content(world.repository, path, sha) == files[path].encode()
        assert await forge.content(world.repository, ".twin/other.yaml", sha) is None
        assert await forge.content(world.repository, ".twin", sha) is None, "a directory is no file"
        later = await world.push(number, {".twin/preview.yaml": "drafts: true\n"})
        assert await forge.content(world.repository, ".twin/preview.yaml", sha) == b"drafts: false\n"
        assert await forge.content(world.repository, ".twin/preview.yaml", later) == b"drafts: true\n"
        with pytest.raises(Terminal):
            await forge.content(world.repository, "large", sha)
        with pytest.raises(Transient):
            await forge.content(world.repository, "README.md", NOWHERE)

    async def test_names_that_lead_elsewhere_are_refused(
        self, world: ForgeWorld, forge: Forge, between: Meddler
    ) -> None:
        bad = [
            forge.content(world.repository, path, NOWHERE) for path in ("../x", "/etc/passwd", "a//b", "", "a/../../b")
        ]
        bad += [forge.content(world.repository, "a", ref) for ref in ("main", "HEAD", "0" * 39, "../" + "0" * 40)]
        bad += [forge.content(name, "a", NOWHERE) for name in ("a", "a/b/c", "../b", "a/..", "a/b?c", "a/b%2f", "")]
        for call in bad:
            with pytest.raises(Terminal):
                await call
        assert between.seen == []

    async def test_clone_url_has_no_credential(self, world: ForgeWorld, forge: Forge) -> None:
        url = forge.clone_url(world.repository)
        assert url.endswith(f"/{world.repository}.git")
        assert "@" not in url

    # what is said

    async def test_comment_is_one(self, world: ForgeWorld, forge: Forge) -> None:
        number = await world.open_pull()
        await world.comment(number, "nice")
        urls = {await forge.put_comment(world.repository, number, MARKER, f"state {n}") for n in range(3)}
        assert len(urls) == 1
        assert urls.pop().startswith("http")
        assert (await world.comments(number))[1:] == [(world.us, f"{MARKER}\nstate 2")]

    async def test_comment_of_others_is_left_alone(self, world: ForgeWorld, forge: Forge) -> None:
        number = await world.open_pull()
        forged = f"{MARKER}\nclick here"
        await world.comment(number, forged)
        await world.comment(number, f"we quote {MARKER}", ours=True)
        await forge.put_comment(world.repository, number, MARKER, "hello")
        await forge.put_comment(world.repository, number, MARKER, "again")
        bodies = [body for _, body in await world.comments(number)]
        assert bodies == [forged, f"we quote {MARKER}", f"{MARKER}\nagain"]

    async def test_doubles_go_and_the_oldest_stays(self, world: ForgeWorld, forge: Forge) -> None:
        number = await world.open_pull()
        for n in range(3):
            await world.comment(number, f"{MARKER}\n{n}", ours=True)
            await world.comment(number, f"between {n}")
        await forge.put_comment(world.repository, number, MARKER, "one")
        bodies = [body for _, body in await world.comments(number)]
        assert bodies == [f"{MARKER}\none", "between 0", "between 1", "between 2"]

    async def test_comment_is_one_also_if_the_answer_is_lost(
        self, world: ForgeWorld, forge: Forge, between: Meddler
    ) -> None:
        number = await world.open_pull()
        between.rule = after(
            lambda answer: replace(answer, cut=True), when=lambda call: call.method == "POST" and self.is_comments(call)
        )
        with pytest.raises(Transient):
            await forge.put_comment(world.repository, number, MARKER, "hello")
        await forge.put_comment(world.repository, number, MARKER, "hello")
        assert len(await world.comments(number)) == 1

    async def test_comment_is_one_also_if_several_write(self, world: ForgeWorld, between: Meddler) -> None:
        number = await world.open_pull()
        forges = [self.open(between.url) for _ in range(4)]

        async def written(forge: Forge, body: str) -> str:
            """As a task does it: a forge to which four write at once may put off one of them."""
            while True:
                with suppress(Transient):
                    return await forge.put_comment(world.repository, number, MARKER, body)

        try:
            async with asyncio.timeout(60):
                urls = await asyncio.gather(*(written(each, str(n)) for n, each in enumerate(forges)))
        finally:
            for each in forges:
                await each.close()
        comments = await world.comments(number)
        assert len(comments) == 1
        assert comments[0][1] in {f"{MARKER}\n{n}" for n in range(4)}
        assert urls[-1]

    async def test_status_takes_the_place_of_the_one_before(self, world: ForgeWorld, forge: Forge) -> None:
        sha = await world.head(await world.open_pull())
        other = replace(PENDING, context="twin/other")
        await forge.report(world.repository, sha, other)
        outcomes: tuple[Outcome, ...] = ("pending", "failure", "success", "inactive")
        for outcome in outcomes:
            said = Report(context=CONTEXT, outcome=outcome, summary=f"it is\n{outcome}", url="http://pr-1.localhost/")
            for _ in range(2):
                await forge.report(world.repository, sha, said)
        statuses = await world.statuses(sha)
        assert set(statuses) == {CONTEXT, "twin/other"}
        assert statuses[CONTEXT] == [
            Said(state=self.states[outcome], summary=f"it is {outcome}", url="http://pr-1.localhost/")
            for outcome in reversed(outcomes)
        ], "each is said once"
        await forge.report(world.repository, sha, replace(PENDING, summary="long " * 100))
        assert len((await world.statuses(sha))[CONTEXT][0].summary) <= 140
        with pytest.raises(Transient):
            await forge.report(world.repository, NOWHERE, PENDING)

    async def test_deployment_is_one(self, world: ForgeWorld, forge: Forge, between: Meddler) -> None:
        if not self.has_deployments:
            await forge.deploy(world.repository, NOWHERE, "preview/pr-1", PENDING)
            assert between.seen == []
            return
        sha = await world.head(await world.open_pull())
        await forge.deploy(world.repository, sha, "preview/pr-1", replace(PENDING, outcome="inactive"))
        assert await world.deployments(sha, "preview/pr-1") == [], "none is made only to be inactive"
        between.rule = after(
            lambda answer: replace(answer, cut=True),
            when=lambda call: call.method == "POST" and call.path.endswith("/deployments"),
        )
        with pytest.raises(Transient):
            await forge.deploy(world.repository, sha, "preview/pr-1", PENDING)
        for report in (
            PENDING,
            Report(context=CONTEXT, outcome="success", summary="ready", url="http://pr-1.localhost/"),
            Report(context=CONTEXT, outcome="success", summary="ready", url="http://pr-1.localhost/"),
        ):
            await forge.deploy(world.repository, sha, "preview/pr-1", report)
        said = Said(state="success", summary="ready", url="http://pr-1.localhost/")
        assert await world.deployments(sha, "preview/pr-1") == [said]
        await forge.deploy(world.repository, sha, "preview/pr-1", replace(PENDING, outcome="inactive"))
        assert [each and each.state for each in await world.deployments(sha, "preview/pr-1")] == ["inactive"]

    async def test_with_the_last_deployment_all_of_its_environment_are_inactive(
        self, world: ForgeWorld, forge: Forge
    ) -> None:
        if not self.has_deployments:
            return
        number = await world.open_pull()
        shas = [await world.head(number)]
        ready, inactive = replace(PENDING, outcome="success"), replace(PENDING, outcome="inactive")
        await forge.deploy(world.repository, shas[0], "preview/other", ready)
        for report in (PENDING, ready, PENDING):
            await forge.deploy(world.repository, shas[-1], "preview/pr-1", report)
            shas.append(await world.push(number, {"a": str(len(shas))}))
        await forge.deploy(world.repository, shas[-1], "preview/pr-1", inactive)

        async def states(sha: str, environment: str) -> list[str]:
            return [each.state for each in await world.deployments(sha, environment) if each is not None]

        assert [await states(sha, "preview/pr-1") for sha in shas] == [*[["inactive"]] * 3, []]
        assert await states(shas[0], "preview/other") == ["success"], "others are left alone"
