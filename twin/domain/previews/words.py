"""What is said of a preview under its pull request and on its commit: all of it follows from the state.

Nothing that strangers can choose (titles, branches, messages of programs) reaches a page as anything but plain text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime

from msgspec import Struct
from msgspec.structs import replace

from twin.domain.digest import digest
from twin.domain.previews.pull_request import PullRequest, Sink
from twin.domain.previews.standing import carried_out, is_up, standing, stands, waits_for_room, wish
from twin.domain.pulls import Outcome

LONGEST_SUMMARY = 140
"""Characters of a status; GitHub takes no more."""

_LONGEST_TEXT = 500
_MOST_STEPS = 8
_MOST_QUOTED_LINES = 20
_MOST_LOG_LINES = 60
_MOST_LOG_CHARACTERS = 20_000

_COMMANDS = "`/twin status`, `redeploy`, `extend 2d`, `protect`, `unprotect`, `destroy`, `logs app`"

_MARKUP = re.compile(r"[\\`*_{}\[\]()#+\-.!|~$^]")
_URL = re.compile(r"https?://[A-Za-z0-9._~:/?#@!$&*+,;=%-]{1,500}", re.ASCII)

_OUTCOMES: dict[str, Outcome] = {
    "queued": "pending",
    "starting": "pending",
    "awaiting": "pending",
    "creating": "pending",
    "updating": "pending",
    "waits for leave": "pending",
    "ready": "success",
    "suspended": "success",
    "failed": "failure",
    "blocked": "failure",
    "invalid": "failure",
}
"""What is not named here is inactive."""

_SENTENCES = {
    "queued": "All previews that may live at once do; this one waits for its turn.",
    "starting": "The preview of this commit is about to begin.",
    "awaiting": "The former preview is on its way out; then this one begins.",
    "creating": "The preview is being made.",
    "updating": "The preview is being brought to this commit.",
    "ready": "The preview shows this commit.",
    "suspended": "The preview is suspended.",
    "failed": "The preview failed.",
    "blocked": "The preview waits for somebody.",
    "invalid": "The repository's preview file is wrong or cannot be read; nothing was changed.",
    "waits for leave": "This commit comes from a fork: somebody with write permission must allow it to run.",
    "closing": "It looks closed; that is asked once more before anything is taken away.",
    "leaving": "It looks as if it were to have no preview; that is asked once more before anything is taken away.",
    "destroying": "The preview is being destroyed.",
    "destroyed": "The preview is destroyed.",
    "ended": "The preview is destroyed.",
    "unwanted": "No preview.",
    "looking": "The forge is being asked.",
    "closed": "Closed, without a preview.",
}

_ENDS = {
    "gone": "Its time was over, or it was destroyed from elsewhere.",
    "idle": "Nobody pushed or commanded anything for too long.",
    "destroyed": "It was destroyed by a command.",
}


class Publication(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a sink is to be told. `sha`: the commit that it is about. `body` is a comment's; `logs`: the component whose
    last lines whoever publishes puts below it (`with_logs`), `asked`: the comment that asked for them."""

    sink: Sink
    sha: str
    outcome: Outcome
    summary: str
    url: str | None = None
    environment: str | None = None
    body: str = ""
    logs: str | None = None
    asked: str | None = None

    @property
    def digest(self) -> str:
        """Names it: what is published already is not published again. Lines of logs that were shown stay until there
        is something else to say, and are not read anew for it."""
        return digest(replace(self, logs=None))


def context(source: str) -> str:
    """Under this name a commit's status is reported: a repository may have several sources, each with its own."""
    return f"twin/preview/{source}"


def marker(entity: str) -> str:
    """By this text, which no page shows, the one comment is found again."""
    return f"<!-- twin:pr:{entity} -->"


def phase(state: PullRequest) -> str:
    """Where it is, in a word."""
    env = state.environment
    match standing(state):
        case "over":
            if stands(state):
                return "destroying" if state.sure or state.ended is not None else "closing"
            return "destroyed" if env is not None else "closed"
        case "unknown":
            return "looking"
        case "ended":
            return "destroying" if stands(state) else "ended"
        case "problem":
            return "invalid"
        case "unwanted":
            if stands(state):
                return "destroying" if state.sure else "leaving"
            return "unwanted"
        case "waits for leave":
            return "waits for leave"
        case "wanted":
            return _wanted(state)


def _wanted(state: PullRequest) -> str:
    env, wished, trouble = state.environment, wish(state), state.troubles.get("deploy")
    if state.slot != "held":
        return "queued" if state.slot == "queued" else "starting"
    if waits_for_room(state):
        return "queued"
    if trouble is not None and trouble.kind == "blocked":
        return "blocked"
    if trouble is not None and trouble.kind == "terminal" and wished is not None and trouble.about == wished.digest:
        return "failed"
    if env is None or not is_up(state) or wished is None:
        return "awaiting" if env is not None and env.going else "starting"
    if env.status in ("ready", "suspended") and (not carried_out(state, wished) or env.sha != wished.sha):
        return "updating"
    return env.status


def publication(state: PullRequest, sink: Sink) -> Publication | None:
    """What the sink is to be told now; None: nothing. A pull request that never had a preview and never waited for one
    is left in peace."""
    pull, now = state.pull, phase(state)
    if pull is None or state.gone or now == "looking":
        return None
    told = sink in state.published
    quiet = now in ("unwanted", "closed")
    if quiet and not told and (sink != "comment" or state.answer is None):
        return None
    if sink == "deployment" and not told and not (state.slot == "held" and is_up(state)):
        return None
    env = state.environment
    url = _link(env.url) if env is not None and env.url is not None and now in ("ready", "updating") else None
    answer = state.answer if sink == "comment" else None
    return Publication(
        sink=sink,
        sha=pull.head_sha,
        outcome=_OUTCOMES.get(now, "inactive"),
        summary=_summary(state, now),
        url=url,
        environment=_name(state),
        body=comment(state) if sink == "comment" else "",
        logs=answer.logs if answer is not None else None,
        asked=answer.comment if answer is not None and answer.ok and answer.command == "logs" else None,
    )


def _name(state: PullRequest) -> str | None:
    """Of the environment, with its project: as it is to be called, or, once none is wanted, as it was."""
    recipe, env = state.verdict.recipe if state.verdict is not None else None, state.environment
    name = recipe.name if recipe is not None else env.name if env is not None else ""
    return f"{state.origin.project}/{name}" if name else None


def comment(state: PullRequest) -> str:
    """The one comment, as Markdown."""
    return marker(state.id) + "\n" + "\n\n".join(_paragraphs(state)) + "\n"


def with_logs(body: str, component: str, text: str) -> str:
    """The comment with a component's last lines, as they are and no more than that."""
    shown = _fenced(text, _MOST_LOG_LINES)
    return f"{body}\n<details><summary>{plain(component)}</summary>\n\n{shown}\n\n</details>\n"


def plain(text: str, most: int = _LONGEST_TEXT) -> str:
    """A text that means nothing but itself in Markdown and HTML, in one line, and calls nobody."""
    line = " ".join("".join(each if each.isprintable() else " " for each in text).split())
    line = line if len(line) <= most else line[: most - 1] + "…"
    line = line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    # A zero-width space: neither a mention nor a link is made of what it stands in.
    line = line.replace("@", "@\u200b").replace("://", ":\u200b//")
    return _MARKUP.sub(lambda found: "\\" + found[0], line)


def reason(state: PullRequest) -> str | None:
    """Why it is not ready: what went wrong, or what is waited for. None if there is nothing to tell."""
    now, verdict = phase(state), state.verdict
    if now == "queued" and state.slot == "queued":
        return f"{state.ahead or 'None'} waited before it as it came."
    if now == "queued":
        return f"No room: {state.troubles['deploy'].message}. It begins by itself once there is some."
    if now == "invalid" and verdict is not None:
        return verdict.problem
    told = _trouble(state, now)
    return told.message if told is not None else None


class _Told(Struct, frozen=True):
    message: str
    waits_for: str | None
    mend: str | None


def _trouble(state: PullRequest, now: str) -> _Told | None:
    trouble, env = state.troubles.get("deploy"), state.environment
    if trouble is not None and trouble.kind != "transient" and now in ("failed", "blocked", "destroying"):
        return _Told(trouble.message, trouble.owner, trouble.mend)
    if env is not None and env.alive and env.problem:
        return _Told(env.problem, env.waits_for, env.mend)
    return None


def _fenced(text: str, most_lines: int) -> str:
    """The last lines as they are: nothing within a fence means anything."""
    lines = "".join(each if each.isprintable() or each in "\n\t" else " " for each in text[-_MOST_LOG_CHARACTERS:])
    shown = "\n".join(lines.splitlines()[-most_lines:]) or "(nothing yet)"
    longest = max((len(run) for run in re.findall(r"`+", shown)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{shown}\n{fence}"


def _summary(state: PullRequest, now: str) -> str:
    verdict, trouble = state.verdict, state.troubles.get("deploy")
    text = _SENTENCES[now]
    if now == "unwanted" and verdict is not None and verdict.unwanted is not None:
        text = f"No preview: {verdict.unwanted}."
    elif now in ("failed", "blocked"):
        why = trouble.message if trouble is not None else state.environment.problem if state.environment else None
        text = f"{text} {why}" if why else text
    elif now == "ended" and state.ended is not None:
        text = f"{text} {_ENDS[state.ended.why]}"
    line = " ".join(text.split())
    return line if len(line) <= LONGEST_SUMMARY else line[: LONGEST_SUMMARY - 1] + "…"


def _paragraphs(state: PullRequest) -> Iterator[str]:
    pull, env, now = state.pull, state.environment, phase(state)
    assert pull is not None, "nothing is said of what was never seen"
    yield f"### Preview: {now}"
    yield f"{_SENTENCES[now]} Commit `{_sha(pull.head_sha)}`."
    if env is not None and env.url is not None and now in ("ready", "updating"):
        link = _link(env.url)
        yield f"**[{plain(link)}]({link})**" if link is not None else plain(env.url)
    yield from _reasons(state, now)
    if env is not None and env.alive and env.plan and now not in ("ready", "queued"):
        steps = [f"- {plain(step, 120)}" for step in env.plan[:_MOST_STEPS]]
        if len(env.plan) > _MOST_STEPS:
            steps.append(f"- and {len(env.plan) - _MOST_STEPS} more")
        yield "Left to do:\n" + "\n".join(steps)
    if env is not None and env.alive and now in ("ready", "updating", "creating"):
        yield _lifetime(state)
    if env is not None and not env.alive and env.certified_at is not None and now in ("destroyed", "ended", "unwanted"):
        yield f"Proven gone on {_time(env.certified_at)}."
    if state.answer is not None:
        mark = "" if state.answer.ok else "Not done: "
        by, command = plain(state.answer.by, 60), plain(state.answer.command, 30)
        yield f"To {by}, who asked `/twin` {command}: {mark}{plain(state.answer.text)}"
    if now not in ("closed", "destroyed", "closing"):
        yield f"<sub>Commands: {_COMMANDS}</sub>"


def _reasons(state: PullRequest, now: str) -> Iterator[str]:
    verdict = state.verdict
    if now == "waits for leave" and state.pull is not None:
        yield f"Who has read the commit: `/twin allow {_whole_sha(state.pull.head_sha)}`"
    if now == "queued":
        yield plain(reason(state) or "")
    if now == "invalid" and verdict is not None and verdict.problem is not None:
        yield plain(verdict.problem) + (f" {plain(verdict.mend)}" if verdict.mend else "")
    if now == "unwanted" and verdict is not None and verdict.unwanted is not None:
        yield f"Because {plain(verdict.unwanted)}."
    if now in ("ended", "destroying") and state.ended is not None:
        by = f" By {plain(state.ended.by, 60)}." if state.ended.by else ""
        yield f"{_ENDS[state.ended.why]}{by} `/twin redeploy` brings it back."
    told = _trouble(state, now)
    if told is not None:
        first, _, others = told.message.strip().partition("\n")
        said = [plain(first if first.endswith((".", "!", "?", "…", ":")) else f"{first}.")]
        if others:  # what some program wrote
            yield said.pop()
            yield _fenced(others, _MOST_QUOTED_LINES)
        if told.waits_for:
            said.append(f"Waits for {plain(told.waits_for)}.")
        if told.mend:
            said.append(plain(told.mend))
        if said:
            yield " ".join(said)


def _lifetime(state: PullRequest) -> str:
    if state.protected:
        return "Protected: time does not end it, closing the pull request does."
    expires = state.environment.expires_at if state.environment is not None else None
    if expires is None:
        return "It lives until the pull request is closed."
    return f"It lives until {_time(expires)}, or until the pull request is closed."


def _time(at: datetime) -> str:
    return at.strftime("%Y-%m-%d %H:%M UTC")


def _sha(sha: str) -> str:
    return _whole_sha(sha)[:12]


def _whole_sha(sha: str) -> str:
    return re.sub(r"[^0-9a-zA-Z]", "", sha)


def _link(url: str) -> str | None:
    return url if _URL.fullmatch(url) else None
