"""From what Pulumi's CLI, its engine and its plugins say to the classes of failure: one table, one edge."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from twin.children.hiding import hide
from twin.domain.errors import Blocked, StepFailure, Terminal, Transient

_LONGEST = 2000
_KILLED = re.compile(r"\s*code: -\d+\b")  # how the Automation API begins to tell of a CLI that a signal ended
_RAISED = re.compile(r"^[A-Za-z_][\w.]*(Error|Exception)(?=:|$)", re.MULTILINE)
_PROGRAMMERS = re.compile(  # a traceback that ends so is the program's own fault, whatever words follow
    r"(Assertion|Attribute|Import|Indentation|Index|Key|ModuleNotFound|Name|NotImplemented|Recursion|Syntax|Type"
    r"|UnboundLocal|Value|ZeroDivision|ConfigMissing|ConfigType)Error"
)
_NOISE = re.compile(r"^(update|preview|destroy|refresh) failed$|^resource .* failed$")
_APPLICATION = "Exception calling application: "


class Rule(NamedTuple):
    """What an error whose text matches means: no `reason` is Transient, else Blocked under `<target>/<reason>`."""

    text: str
    what: str
    reason: str | None = None
    mend: str = ""


_QUOTA_MEND = "Raise the quota, or remove what is not needed"
RULES = (
    Rule(r"signal: killed", "has lost a plugin, which was killed"),
    Rule(r"currently locked by|another update is currently in progress", "is locked by another attempt"),
    Rule(
        r"incorrect passphrase|passphrase must be set|cipher: message authentication failed|unable to decrypt",
        "cannot read its secrets with this passphrase",
        "passphrase",
        "Give the target the passphrase that its stacks were made with",
    ),
    Rule(
        r"pulumi-language-(?P<name>[a-z]+)|language plugin (?P<other>[a-z]+)",
        "lacks the host of the program's language",
        "language",
        "Install it beside the CLI on the worker (pulumi-language-…; `make tools` builds that of YAML)",
    ),
    Rule(
        r"no resource plugin|could not (automatically )?(load|find|download)[^.\n]* plugin"
        r"|failed to (load|download|install) plugin|error downloading plugin|plugin \[.*\] (not found|is missing)"
        r"|could not find latest version for provider",
        "lacks a plugin",
        "plugin",
        "Install it on the worker (pulumi plugin install …, under the target's PULUMI_HOME), or let it be downloaded",
    ),
    Rule(
        r"throttl|rate (limit )?exceeded|ratelimit|too ?many ?requests|\b429\b|slow ?down|requestlimitexceeded",
        "is asked too often",
    ),
    Rule(
        r"quota( '[^']*'| for [^.\n]*)? (is |was |has been )?exceeded|quotaexceeded|exceed(s|ed)? (the |your )?quota",
        "has reached a quota",
        "quota",
        _QUOTA_MEND,
    ),
    Rule(
        r"password authentication failed|no pg_hba\.conf entry|role \"[^\"]*\" does not exist|invalidaccesskeyid"
        r"|signaturedoesnotmatch|expiredtoken|invalidclienttokenid|unrecognizedclient|authfailure"
        r"|unable to locate credentials|nocredentialproviders|default credentials|invalid_grant|\b401\b|unauthenticated"
        r"|failed to refresh cached credentials|invalid (api )?(key|token)\b",
        "is refused with these credentials",
        "credentials",
        "Give the target credentials that are taken",
    ),
    Rule(
        r"access ?denied|not authorized to perform|unauthorizedoperation|permission[_ ]denied|forbidden|\b403\b"
        r"|authorizationfailed|insufficient (privileges|permissions)|must be owner",
        "lacks a permission",
        "permission",
        "Give the target's account the permission that the message names",
    ),
    Rule(
        r"quota|limitexceeded|limit exceeded|toomany(buckets|queues)|insufficient\w*capacity|exceeds? the limit",
        "has reached a quota",
        "quota",
        _QUOTA_MEND,
    ),
    Rule(r"no space left|disk quota", "has a full disk", "disk", "Free space on the worker or in the backend"),
    Rule(
        r"connection (refused|reset|aborted|closed)|timed ?out|deadline exceeded|no such host|name resolution"
        r"|(connect|connection|read|write|request|response|gateway|handshake|operation|i/o)[ -]?timeout"
        r"|timeout(error|exception|expired| exceeded| expired| while| waiting| reached)"
        r"|name or service not known|could not connect|endpointconnectionerror|network is unreachable|\bdial tcp\b"
        r"|failed to connect|unexpected eof|broken pipe|\b50[234]\b|service ?unavailable|internalerror"
        r"|server closed the connection|the database system is (starting up|shutting down)|try again later"
        r"|connection error: desc|transport is closing",
        "cannot be reached",
    ),
)


def failure(target: str, stack: str, report: Mapping[str, Any], words: Sequence[str]) -> StepFailure:
    """What a child's report of failure means. `words` must not be shown."""
    said = hide(str(report.get("said", "")), words)
    match report["reason"]:
        case "engine":
            errors = [(str(urn), hide(str(text), words)) for urn, text in report["errors"]]
            return _engine(target, stack, said, errors)
        case "cli":
            return blocked(target, "cli", f"has no Pulumi CLI: {said}", "Run `make tools`, or put `pulumi` on the PATH")
        case "elsewhere":
            wait = max(1.0, float(report["until"]) - datetime.now(UTC).timestamp())
            return Transient(f"Stack {stack}: {said}.", retry_after=timedelta(seconds=wait))
        case "questions":
            return _asked(target, stack, report["questions"], words)
        case "leftovers":
            left = ", ".join(f"{each['name']} ({each['type']}, id {each['id']})" for each in report["left"])
            return blocked(
                target,
                f"leftovers-{stack}",
                f"has destroyed stack {stack}, and these still exist: {hide(left, words)}",
                "Remove them, or whatever keeps them (retain on delete, deletion protection)",
            )
        case "still-open":
            return Transient(f"Stack {stack}: the retired credential still opens.")
        case "source":
            return Terminal(f"The source is no Pulumi project: {said}.", field="source")
        case "raised":  # by a function of the bundle or by ourselves, outside of the engine
            told = said.strip()[-_LONGEST:]
            known = _ruled(target, stack, "", (told.splitlines() or [""])[-1], told)
            return known or Terminal(f"The program cannot be run: {told}", field="program")
        case _:
            return Terminal(f"The program cannot be run: {said.strip()[-_LONGEST:]}", field="program")


def blocked(target: str, reason: str, what: str, mend: str) -> Blocked:
    """The platform's people have to do something."""
    key = f"{target}/{reason}"
    return Blocked(f"Pulumi target {target} {what}.", key=key, mend=f"{mend}, then: twin blocks resolve {key}")


def no_result(stack: str, code: int, said: str) -> Transient:
    """The child ended without an answer: it was killed, by a human or for want of memory."""
    return Transient(f"The run of stack {stack} ended with exit code {code} and without a result. {said[-_LONGEST:]}")


@contextmanager
def translated(target: str) -> Iterator[None]:
    """Turn the operating system's errors on our own files into failures that say what happens next."""
    try:
        yield
    except StepFailure:
        raise
    except PermissionError as error:
        raise blocked(
            target, "directory", f"may not use {error.filename}", "Give the twin's user the directory"
        ) from error
    except OSError as error:
        what = f"{error.strerror or type(error).__name__} ({error.filename or 'no file'})"
        rule = next((rule for rule in RULES if rule.reason and re.search(rule.text, what, re.IGNORECASE)), None)
        if rule is not None and rule.reason is not None:
            raise blocked(target, rule.reason, f"{rule.what} ({what})", rule.mend) from error
        raise Transient(f"The worker of Pulumi target {target} reports: {what}.") from error


def _engine(target: str, stack: str, said: str, errors: Sequence[tuple[str, str]]) -> StepFailure:
    if _KILLED.match(said):
        return Transient(f"The run of stack {stack} has lost its CLI, which was killed.")
    told = [(urn, text.removeprefix(_APPLICATION)) for urn, text in errors if not _NOISE.match(text)]
    urn, text = told[0] if told else ("", _last(said))
    name = urn.rpartition("::")[2]
    where = f" at {name} ({urn.split('::')[2]})" if urn.count("::") >= 3 else ""
    text = _shortened(text)
    whole = "\n".join(each for _, each in told) if told else said
    if re.search(r"is protected|unprotect", whole, re.IGNORECASE):
        return blocked(
            target,
            f"protected-{stack}",
            f"may not delete what the program of stack {stack} protects{where}: {text}",
            "Take `protect` out of the program, or: "
            f"pulumi state unprotect --all --yes --stack organization/twin/{stack}",
        )
    known = _ruled(target, stack, where, text, whole)
    return known or Terminal(f"Stack {stack} failed{where}: {text}", field="program")


def _ruled(target: str, stack: str, where: str, text: str, whole: str) -> StepFailure | None:
    """What the table says of `whole`, told with `text`; None if no rule knows it, or a program tripped over itself."""
    raised = [match[0].rpartition(".")[2] for match in _RAISED.finditer(whole)]
    if raised and _PROGRAMMERS.fullmatch(raised[-1]):
        return None
    for rule in RULES:
        if match := re.search(rule.text, whole, re.IGNORECASE):
            if rule.reason is None:
                return Transient(f"Stack {stack}{where}: target {target} {rule.what}: {text}")
            named = next((each for each in match.groupdict().values() if each), "")
            reason = f"{rule.reason}-{named}" if named else rule.reason
            return blocked(target, reason, f"{rule.what}{where}: {text}", rule.mend)
    return None


def _shortened(text: str) -> str:
    """Its beginning, and its end: there a traceback tells what went wrong."""
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST // 5]} … {text[-_LONGEST * 4 // 5 :]}"


def _last(said: str) -> str:
    """The lines of the CLI that begin with `error:`, or else its last ones."""
    _, mark, stderr = said.rpartition("stderr:")
    lines = [line.strip() for line in (stderr if mark and stderr.strip() else said).splitlines() if line.strip()]
    errors = [line.partition("error:")[2].strip() for line in lines if "error:" in line]
    return "; ".join(errors) or "; ".join(lines[-5:]) or "no reason was given"


def _asked(target: str, stack: str, questions: Sequence[Mapping[str, Any]], words: Sequence[str]) -> StepFailure:
    """Only what stays a question is a human's: a lookup that the network or the target's credentials failed is made
    again when they are back."""
    for each in questions:
        why = hide(str(each["why"]), words)
        if "lookup failed" in why and (known := _ruled(target, stack, "", _shortened(why), why)):
            return known
    lines = []
    for each in questions:
        kind, name = each["type"], str(each["urn"]).rpartition("::")[2]
        lines.append(hide(f"does {name} ({kind}) with {each['inputs']} exist? ({each['why']})", words))
    return blocked(
        target,
        f"pending-{stack}",
        f"does not know what a cut attempt at stack {stack} has made: {'; '.join(lines)}",
        f"Look, and write the answer to answers/{stack}.json in the target's directory on the worker: "
        '{"<name>": "<its id>"}, or {"<name>": null} if it does not exist (or give the program a `lookup`)',
    )
