"""Publishing: the latest of what is to be said of a pull request, told to its forge."""

from __future__ import annotations

from twin.domain.decider import Cause
from twin.domain.errors import Problem
from twin.domain.identity import TWIN
from twin.domain.previews.inputs import Published
from twin.domain.previews.inputs import Publishing as Announced
from twin.domain.previews.pull_request import SINKS, PullRequest
from twin.domain.previews.pulls import PULL_REQUEST
from twin.domain.previews.tasks import LOOK, PUBLISH
from twin.domain.previews.words import Publication, context, marker, publication, with_logs
from twin.ports.forge import OpenForges, Report
from twin.ports.store import Claimed, Store, Tx
from twin.service.component_logs import ComponentLogs
from twin.service.previews.belonging import REPLACED, Replaced
from twin.service.principals import Principal

LINES = 60
"""Of a component's log, for whoever asked."""


class Publishing:
    """Runs the errands `publish:…`."""

    def __init__(self, store: Store, forges: OpenForges, logs: ComponentLogs) -> None:
        self._store = store
        self._forges = forges
        self._logs = logs

    async def publish(self, task: Claimed) -> Published | None:
        """Tell the sink. Repeated, it says the same in the same place."""
        pull = task.entity

        def announce(tx: Tx) -> tuple[PullRequest, Publication] | None:
            state: PullRequest = tx.state(PULL_REQUEST.kind, pull)
            said = next((publication(state, sink) for sink in SINKS if task.key == PUBLISH + sink), None)
            if said is None:
                return None
            # Until it is answered, nobody knows what the sink shows: what is said meanwhile is said once more.
            return _announced(tx, pull, said), said

        found = await self._store.transact(announce)
        if found is None:
            return None
        state, said = found
        telling = state.tellings[said.sink]
        try:
            await self._tell(pull, state, said)
        finally:
            await self._told(pull, said, telling)
        return Published(sink=said.sink, digest=said.digest, telling=telling, asked=said.asked)

    async def _told(self, pull: str, said: Publication, telling: int) -> None:
        """A worker that stood still, and was given up, has told what was to be said long ago: perhaps over what
        another has told since. So it has to be told once more."""
        row = await self._store.entity(PULL_REQUEST.kind, pull)
        if row is not None and row.state.tellings.get(said.sink, 0) != telling:
            await self._store.transact(lambda tx: _announced(tx, pull, said))

    async def _tell(self, pull: str, state: PullRequest, said: Publication) -> None:
        origin = state.origin
        look = state.troubles.get(LOOK)
        if look is not None and look.about == REPLACED:
            raise Replaced(look.message, mend=look.mend)  # it is nothing to those who look at another repository
        forge = await self._forges.forge(origin.forge, origin.project)
        repository = state.pull.repository if state.pull is not None else origin.repository
        report = Report(context=context(origin.source), outcome=said.outcome, summary=said.summary, url=said.url)
        match said.sink:
            case "comment":
                body = said.body if said.logs is None else await self._with_logs(state, said)
                await forge.put_comment(repository, origin.number, marker(pull), body)
            case "status":
                await forge.report(repository, said.sha, report)
            case "deployment":
                await forge.deploy(repository, said.sha, said.environment or origin.source, report)

    async def _with_logs(self, state: PullRequest, said: Publication) -> str:
        assert said.logs is not None
        if state.environment is None or not state.environment.alive:
            return with_logs(said.body, said.logs, "There is no environment.")
        reader = Principal(f"{state.origin.repository}#{state.origin.number}", ((state.origin.project, "viewer"),))
        try:
            lines = await self._logs.read(state.environment.id, said.logs, reader, lines=LINES)
            text = "\n".join([line.text async for line in lines])
        except Problem as problem:  # what is wrong is an answer too
            text = problem.message
        return with_logs(said.body, said.logs, text)


def _announced(tx: Tx, pull: str, said: Publication) -> PullRequest:
    """The pull request, once it knows that the sink is being told."""
    about = Announced(sink=said.sink, digest=said.digest)
    after: PullRequest = tx.transition(PULL_REQUEST.kind, pull, about, Cause(TWIN, pull)).after
    return after
