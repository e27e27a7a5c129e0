"""What every forge must do when the forge, or what stands before it, does not answer as it should."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Awaitable, Callable
from datetime import timedelta

import pytest
from msgspec.structs import replace

from twin.domain.errors import Blocked, StepFailure, Transient
from twin.ports.forge import Forge
from twin.testing.conformance.forge_hooks import NOWHERE, USES, ForgeHooks, ForgeWorld, Use, uses
from twin.testing.loopback import Answer, Call, Loopback
from twin.testing.meddling import Forward, Meddler, after, instead

_ADDRESS = re.compile(rb"https?://[^/\"\\\s]+")


@pytest.mark.asyncio
class ForgeTrouble(ForgeHooks):
    """Part of `ForgeConformance`."""

    async def test_cut_listing_is_not_given(self, world: ForgeWorld, forge: Forge, between: Meddler) -> None:
        for _ in range(self.page_size + 1):
            await world.open_pull()

        def second(call: Call) -> bool:
            return self.is_listing(call) and call.query.get("page") == "2"

        def emptied(answer: Answer) -> Answer:
            return replace(answer, body=b"[]")

        def halved(answer: Answer) -> Answer:
            return replace(answer, body=answer.body[: len(answer.body) // 2])

        def shortened(answer: Answer) -> Answer:
            return replace(answer, body=json.dumps(json.loads(answer.body)[1:]).encode())

        bad = {
            "the second page is empty": after(emptied, when=second),
            "the second page fails": instead(Answer(status=502, body=b"<html>"), when=second),
            "the second page is of a proxy": instead(Answer(body=b"<html>Please log in</html>"), when=second),
            "the connection breaks": after(lambda answer: replace(answer, cut=True), when=second),
            "the text is cut": after(halved, when=second),
            "it is null": instead(Answer(body=b"null"), when=self.is_listing),
            "the second page repeats the first": self._repeating(),
            "it changes while it is read": self._changing(shortened),
        }
        for why, between.rule in bad.items():
            with pytest.raises(Transient):
                pytest.fail(f"{why}: {await forge.open_pulls(world.repository)}")

    def _repeating(self) -> Callable[[Call, Forward], Awaitable[Answer]]:
        first: list[Answer] = []

        async def rule(call: Call, forward: Forward) -> Answer:
            if not self.is_listing(call):
                return await forward()
            if call.query.get("page") == "1":
                first[:] = [await forward()]
            return first[0]

        return rule

    def _changing(self, change: Callable[[Answer], Answer]) -> Callable[[Call, Forward], Awaitable[Answer]]:
        """The first page is another one each second time."""
        count = 0

        async def rule(call: Call, forward: Forward) -> Answer:
            nonlocal count
            answer = await forward()
            if self.is_listing(call) and call.query.get("page") == "1":
                count += 1
                return answer if count % 2 else change(answer)
            return answer

        return rule

    @uses
    async def test_refused_credential_is_blocked(self, world: ForgeWorld, between: Meddler, use: Use) -> None:
        if not self.has_deployments and use is USES["deploy"]:
            return
        forge = self.open(between.url, self.refused())
        try:
            with pytest.raises(Blocked) as refused:
                await use(forge, world.repository, 1, NOWHERE)
        finally:
            await forge.close()
        assert refused.value.key == f"{self.kind.name}/test/token"
        assert not any(secret in str(vars(refused.value)) for secret in self.refused().values())

    async def test_limit_is_told_and_until_then_nothing_is_sent(self, world: ForgeWorld, between: Meddler) -> None:
        for why, (answer, seconds) in self.limits.items():
            forge = self.open(between.url)
            between.rule = instead(answer)
            between.seen.clear()
            for use in (USES["pull"], USES["open_pulls"], USES["put_comment"]):
                with pytest.raises(Transient) as limited:
                    await use(forge, world.repository, 1, NOWHERE)
                wait = limited.value.retry_after
                assert wait is not None, why
                assert timedelta() < wait <= timedelta(seconds=seconds), why
            await forge.close()
            assert len(between.seen) == 1, why

    @uses
    async def test_trouble_of_the_forge_passes(
        self, world: ForgeWorld, forge: Forge, between: Meddler, use: Use
    ) -> None:
        if not self.has_deployments and use is USES["deploy"]:
            return
        trouble = {
            "500": instead(Answer(status=500, body=b'{"message": "oops"}')),
            "502 of a proxy": instead(Answer(status=502, body=b"<html>")),
            "cut": after(lambda answer: replace(answer, cut=True)),
            "no JSON": instead(Answer(body=b"<html>Please log in</html>")),
            "another JSON": instead(Answer(body=b'{"ok": true}')),
            "503, and then nothing is asked for a while": instead(Answer(status=503, headers={"retry-after": "7"})),
        }
        for why, between.rule in trouble.items():
            with pytest.raises(Transient) as failed:
                pytest.fail(f"{why}: {await use(forge, world.repository, 1, NOWHERE)!r}")
            self.assert_hidden(failed.value)
        assert isinstance(failed.value, Transient)

    async def test_silence_and_absence_pass(self, world: ForgeWorld, between: Meddler) -> None:
        forge = self.open(between.url, timeout=0.3)
        between.rule = instead(Answer(silent=True))
        with pytest.raises(Transient):
            await forge.pull(world.repository, 1)
        await forge.close()
        async with Loopback(lambda call: between.rule(call, _nobody)) as gone:
            nowhere = gone.url
        forge = self.open(nowhere)
        with pytest.raises(Transient) as failed:
            await forge.pull(world.repository, 1)
        self.assert_hidden(failed.value)
        await forge.close()

    @uses
    async def test_redirect_to_another_host_is_refused(
        self, world: ForgeWorld, forge: Forge, between: Meddler, use: Use
    ) -> None:
        if not self.has_deployments and use is USES["deploy"]:
            return
        heard: list[Call] = []

        async def hear(call: Call) -> Answer:
            heard.append(call)
            return Answer(body=b"{}")

        async with Loopback(hear) as elsewhere:
            for status in (301, 302, 307, 308):
                between.rule = instead(Answer(status=status, headers={"location": f"{elsewhere.url}/stolen"}))
                with pytest.raises(Blocked) as refused:
                    await use(forge, world.repository, 1, NOWHERE)
                assert refused.value.key == f"{self.kind.name}/test/elsewhere"
                self.assert_hidden(refused.value)
            between.rule = after(
                lambda answer: replace(
                    answer, headers=answer.headers | {"link": f'<{elsewhere.url}/pulls?page=2>; rel="next"'}
                )
            )
            try:
                await use(forge, world.repository, 1, NOWHERE)
            except StepFailure as failure:
                self.assert_hidden(failure)
        assert heard == []

    async def test_addresses_within_answers_are_not_called(
        self, world: ForgeWorld, forge: Forge, between: Meddler
    ) -> None:
        """Whoever opens a pull request has a say in what stands in them."""
        heard: list[Call] = []

        async def hear(call: Call) -> Answer:
            heard.append(call)
            return Answer(body=b"{}")

        number = await world.open_pull(files={"a.txt": "a"})
        head = await world.head(number)
        async with Loopback(hear) as elsewhere:
            others = elsewhere.url.encode()
            between.rule = after(lambda answer: replace(answer, body=_ADDRESS.sub(others, answer.body)))
            pull = await forge.pull(world.repository, number)
            assert pull is not None
            assert pull.url.startswith(elsewhere.url), "the answer had another address"
            for use in USES.values():
                await use(forge, world.repository, number, head)
                await use(forge, world.repository, number, head)  # what is there already is read, and edited
        assert heard == []
        assert elsewhere.url not in forge.clone_url(world.repository)

    async def test_endless_answer_is_not_read(self, world: ForgeWorld, forge: Forge, between: Meddler) -> None:
        endless = b" " * (33 << 20)
        zipped = Answer(headers={"content-encoding": "gzip"}, body=gzip.compress(endless))
        for answer in (Answer(body=endless), zipped):
            between.rule = instead(answer)
            with pytest.raises(Transient, match="more than"):
                await forge.pull(world.repository, 1)

    async def test_circle_of_redirects_ends(self, world: ForgeWorld, forge: Forge, between: Meddler) -> None:
        between.rule = instead(Answer(status=302, headers={"location": "/again"}))
        with pytest.raises(Transient):
            await forge.pull(world.repository, 1)
        assert len(between.seen) < 10


async def _nobody() -> Answer:
    raise AssertionError("nobody is called")
