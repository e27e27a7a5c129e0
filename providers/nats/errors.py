"""The one table from what NATS says to what happens next.

JetStream's numbers are those of nats-server's `server/errors.json`. The first rule that fits wins.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from nats import errors as nats
from nats.js import errors as js

from twin.domain.errors import Blocked, StepFailure, Terminal, Transient
from twin.domain.targets import Target

Outcome = Callable[[Target, str], StepFailure]


class Rule(NamedTuple):
    """Fits an error of one of `types` (with one of JetStream's `codes`, if any) whose text matches `text`."""

    outcome: Outcome
    types: tuple[type[BaseException], ...] = (nats.Error,)
    codes: frozenset[int] = frozenset()
    text: str = ""

    def fits(self, error: BaseException) -> bool:
        """Whether this rule speaks about `error`."""
        if not isinstance(error, self.types):
            return False
        if self.codes and getattr(error, "err_code", None) not in self.codes:
            return False
        return re.search(self.text, str(error), re.IGNORECASE) is not None


def transient(what: str) -> Outcome:
    """It passes by itself."""
    return lambda target, cause: Transient(f"{target.name} {what} ({cause}).")


def blocked(reason: str, what: str, mend: str) -> Outcome:
    """The platform's people have to do something: `<target>/<reason>`."""

    def outcome(target: Target, cause: str) -> Blocked:
        key = f"{target.name}/{reason}"
        return Blocked(f"{target.name} {what} ({cause}).", key=key, mend=f"{mend}, then: twin blocks resolve {key}")

    return outcome


def terminal(field: str | None, what: str, mend: str) -> Outcome:
    """Cannot succeed as asked; `field` is the input to correct."""
    return lambda target, cause: Terminal(f"{target.name} {what} ({cause}).", field=field, mend=mend)


def wrong(field: str) -> Outcome:
    """JetStream finds an input of the stream invalid."""
    return terminal(field, f"refuses {field} of the stream", f"Correct the input {field}.")


def full(field: str) -> Outcome:
    """A stream with `discard: new` that is to be a copy refuses the next message."""
    return terminal(
        field, "cannot store all that the source holds", f"Clone with a larger {field}, or with discard: old."
    )


NO_ROOM = "has no room left for the stream"
INVALID = frozenset({10052})
STORE_FAILED = frozenset({10077})

SYSTEM_REFUSED = blocked(
    "credentials", "refuses the system user", "Correct system_user and system_password of the target"
)
ACCOUNT_REFUSED = blocked(
    "accounts-file",
    "does not know a user of the accounts file, although it has reloaded",
    "Include the target's accounts_file in the server's `accounts` block",
)
REFUSED = Rule(
    SYSTEM_REFUSED, text="authorization (violation|failed)|user credentials|authentication (expired|revoked)"
)
"""A login was refused; what that means depends on whose it was."""

HUNG_UP = (ConnectionError, nats.ConnectionClosedError, nats.StaleConnectionError)
"""The server ended a connection that it had accepted."""

RULES: tuple[Rule, ...] = (
    Rule(
        blocked("tls", "and the worker disagree about TLS", "Give the server and the target the same TLS settings"),
        (nats.SecureConnRequiredError, nats.SecureConnWantedError, nats.SecureConnFailedError),
    ),
    # capacity
    Rule(blocked("storage", NO_ROOM, "Raise jetstream.max_memory_store"), codes=frozenset({10028})),
    Rule(
        blocked("storage", NO_ROOM, "Raise jetstream.max_file_store or remove what is not needed"),
        codes=frozenset({10002, 10023, 10047}),
    ),
    Rule(blocked("storage", NO_ROOM, "Make room on the server's disk"), (js.APIError,), text="no space left|disk full"),
    Rule(
        blocked("jetstream", "has JetStream disabled", "Add a jetstream block to the server's configuration"),
        codes=frozenset({10039, 10076}),
    ),
    Rule(
        blocked("max-payload", "takes no message as large as one of the source", "Raise max_payload of the server"),
        (nats.MaxPayloadError,),
    ),
    # the requester's input
    Rule(full("max_bytes"), codes=STORE_FAILED, text="maximum bytes"),
    Rule(full("max_messages"), codes=STORE_FAILED, text="maximum messages"),
    Rule(wrong("subjects"), codes=frozenset({10065})),
    Rule(wrong("subjects"), codes=INVALID, text="subject|overlap"),
    Rule(wrong("retention"), codes=INVALID, text="retention"),
    Rule(wrong("storage"), codes=INVALID, text="storage type"),
    Rule(wrong("max_age"), codes=INVALID, text="max age|duplicates window"),
    Rule(wrong("max_bytes"), codes=INVALID, text="max ?bytes"),
    Rule(wrong("max_messages"), codes=INVALID, text="max ?me?ss?a?ge?s"),
    Rule(
        terminal(None, "refuses the stream's configuration", "Correct the component's inputs."),
        codes=frozenset({10025, 10052, 10058}),
    ),
    Rule(
        terminal(None, "holds another stream in this account", "Remove the stream that the application made."),
        codes=frozenset({10027}),
    ),
    # what passes
    Rule(
        transient("does not answer"),
        (
            nats.TimeoutError,
            nats.NoServersError,
            nats.NoRespondersError,
            nats.ConnectionClosedError,
            nats.ConnectionDrainingError,
            nats.ConnectionReconnectingError,
            nats.StaleConnectionError,
            nats.OutboundBufferLimitError,
            OSError,
            EOFError,
            TimeoutError,
        ),
    ),
    Rule(transient("is not ready"), (js.ServiceUnavailableError, js.ServerError, js.NoStreamResponseError)),
    Rule(
        transient("takes no connection now"),
        text="maximum .*connections|authentication timeout|server shutdown|connection throttling|slow consumer",
    ),
    Rule(terminal(None, "answers what the provider does not understand", "Report it to the platform's owners.")),
)


def failure(error: BaseException, target: Target, refused: Outcome = SYSTEM_REFUSED) -> StepFailure | None:
    """What happens next after `error`; None when it does not come from NATS (a program error)."""
    cause = str(error).removeprefix("nats: ").strip(" '\"") or type(error).__name__
    if REFUSED.fits(error):
        return refused(target, cause)
    return next((rule.outcome(target, cause) for rule in RULES if rule.fits(error)), None)


def file_failure(error: OSError, target: Target, path: str) -> Blocked:
    """The accounts file cannot be read or replaced."""
    key = f"{target.name}/accounts-file"
    return Blocked(
        f"{target.name}: the accounts file {path} cannot be rewritten ({error.strerror or error}).",
        key=key,
        mend=f"Let the worker read and write {path} and its directory, then: twin blocks resolve {key}",
    )


@contextmanager
def translated(target: Target, refused: Outcome = SYSTEM_REFUSED) -> Iterator[None]:
    """The edge: within it, errors of NATS become step failures."""
    try:
        yield
    except StepFailure:
        raise
    except Exception as error:
        known = failure(error, target, refused)
        if known is None:
            raise
        raise known from error
