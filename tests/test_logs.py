"""Logs: one pipe, with context, without secrets."""

import io
import json
import logging
import warnings

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from twin.logs import configure
from twin.redaction import HIDDEN, is_secret_name, redact, scrub


@pytest.fixture
def logs(monkeypatch):
    """Configures logging for one test; gives a function that returns the lines written, as JSON."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    stream = io.StringIO()
    configure("json", "info", stream=stream)
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(False)
    structlog.reset_defaults()


def test_a_line_carries_the_context_it_was_logged_in(logs):
    with structlog.contextvars.bound_contextvars(request_id="req_1", environment="env_1", operation="op_1", step="app"):
        structlog.get_logger("twin.engine").info("step started", attempt=2)
    structlog.get_logger("twin.engine").info("idle")
    started, idle = logs()
    assert started["event"] == "step started"
    assert (started["request_id"], started["environment"], started["operation"], started["step"]) == (
        "req_1",
        "env_1",
        "op_1",
        "app",
    )
    assert (started["attempt"], started["level"], started["logger"]) == (2, "info", "twin.engine")
    assert started["timestamp"].endswith("Z")
    assert "request_id" not in idle


@pytest.mark.parametrize("name", ["uvicorn.error", "uvicorn.access", "sqlalchemy.pool", "litestar", "anything"])
def test_libraries_go_through_the_same_pipe(logs, name):
    with structlog.contextvars.bound_contextvars(request_id="req_1"):
        logging.getLogger(name).warning("connect to %s", "redis://:hunter2@localhost", extra={"token": "hunter2"})
    (line,) = logs()
    assert line["event"] == "connect to redis://***@localhost"
    assert (line["logger"], line["request_id"], line["level"], line["token"]) == (name, "req_1", "warning", HIDDEN)


def test_less_than_the_level_is_not_written(logs):
    structlog.get_logger().debug("detail")
    logging.getLogger("x").debug("detail")
    logging.getLogger("sqlalchemy.engine").info("INSERT INTO secrets")
    assert logs() == []


def test_exceptions_are_text_without_secrets(logs):
    try:
        raise ConnectionError("cannot reach postgresql://twin:hunter2@db/x with password=hunter2")
    except ConnectionError:
        structlog.get_logger().exception("failed")
        logging.getLogger("uvicorn.error").exception("failed too")
    for line in logs():
        assert "ConnectionError: cannot reach postgresql://***@db/x" in line["exception"]
    assert len(logs()) == 2


class Full(io.StringIO):
    """A disk without room."""

    def write(self, text: str) -> int:
        raise OSError(28, "No space left on device")


def test_a_full_disk_stops_nobody_who_logs(logs):
    configure("json", stream=Full())
    structlog.get_logger().error("cannot be written")


def test_a_name_that_is_no_unicode_is_logged(logs):
    structlog.get_logger("x").info("odd", file="caf\udce9")
    assert logs()[0]["file"] == "caf\udce9"


def test_warnings_are_logged(logs):
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("old", DeprecationWarning, stacklevel=1)
    assert logs()[0]["logger"] == "py.warnings"


def test_for_a_person(logs):
    stream = io.StringIO()
    configure("console", stream=stream)
    local = "hunter2"
    try:
        raise ValueError("no")
    except ValueError:
        structlog.get_logger().exception("failed", token=local)
    assert "failed" in stream.getvalue()
    assert "ValueError: no" in stream.getvalue()
    assert local not in stream.getvalue().replace('local = "hunter2"', "")


@pytest.mark.parametrize(
    "name",
    [
        "password",
        "PGPASSWORD",
        "db_password",
        "secret",
        "client-secret",
        "secrets",
        "token",
        "accessToken",
        "Authorization",
        "proxy-authorization",
        "api_key",
        "apikey",
        "vault_key",
        "privateKey",
        "dsn",
        "set-cookie",
        "credentials",
    ],
)
def test_secret_names(name):
    assert is_secret_name(name)
    assert redact({"a": [{name: "hunter2"}]}) == {"a": [{name: HIDDEN}]}


@pytest.mark.parametrize(
    "name", ["key", "idempotency_key", "step", "component", "monkey", "keyboard", "tokenizer", "passed"]
)
def test_plain_names(name):
    assert not is_secret_name(name)


@pytest.mark.parametrize(
    "text",
    [
        "postgresql://twin:hunter2@db:5432/x",
        "postgresql+psycopg://twin:hunter2@db/x?sslmode=require",
        "redis://:hunter2@localhost",
        "https://hunter2@github.com/a/b",
        "amqp://a:pa/ss/hunter2@h",
        "amqp://a:p@hunter2@h",
        "host=db user=twin password=hunter2 port=5432",
        "password = 'hunter2 hunter2'",
        '{"password": "hunter2"}',
        "Authorization: Bearer hunter2hunter2",
        "sent bearer hunter2hunter2 to x",
        "?access_token=hunter2&x=1",
        "PGPASSWORD=hunter2 psql",
    ],
)
def test_secrets_by_their_form(text):
    assert "hunter2" not in scrub(text)


@pytest.mark.parametrize(
    "text", ["http://localhost:8420/v1", "at 10:30, a=b", "nats://h:4222", "the password is wrong", "mail ada@x.org"]
)
def test_what_is_no_secret_stays(text):
    assert scrub(text) == text


def test_objects_are_shown_without_secrets():
    class Connection:
        def __repr__(self):
            return "Connection(postgresql://u:hunter2@h)"

    assert redact({"c": Connection(), "e": ValueError("redis://:hunter2@h")}) == {
        "c": "Connection(postgresql://***@h)",
        "e": "redis://***@h",
    }


def test_a_loop_in_a_value_ends():
    loop: list[object] = []
    loop.append(loop)
    assert "…" in json.dumps(redact(loop), ensure_ascii=False)


@given(st.from_regex(r"[A-Za-z0-9%._~!$*+-]{12,40}", fullmatch=True))
def test_no_password_of_a_url_survives(password):
    secret = f"x{password}x"
    assert secret not in scrub(f"see postgresql://user:{secret}@host/db and redis://:{secret}@host")
