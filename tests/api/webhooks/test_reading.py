"""What is read of a delivery: the pull request and the command, in plain form, and nothing else is believed."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.webhooks.forms import FORMS
from tests.api.webhooks.hooks import bytes_of, comment, pull_request
from twin.ports.deliveries import Comment, News, Nothing

BOTH = pytest.mark.parametrize("kind", ["github", "gitea"])
JSON = {"content-type": "application/json"}


def read(kind: str, event: str, payload: Any, headers: dict[str, str] | None = None) -> News | Nothing:
    body = payload if isinstance(payload, bytes) else bytes_of(payload)
    return FORMS[kind].translate(event, JSON if headers is None else headers, body)


def why(answer: News | Nothing) -> str:
    assert isinstance(answer, Nothing), answer
    return answer.why


@BOTH
@pytest.mark.parametrize("action", ["opened", "closed", "synchronize", "synchronized", "labeled", "never heard of"])
def test_whatever_happens_to_a_pull_request_is_a_hint(kind: str, action: str) -> None:
    told = read(kind, "pull_request", pull_request(action=action))
    what = "pull_request" if " " in action else f"pull_request.{action}"
    assert told == News(what=what, hosts=("github.com",), repository="ada/shop", number=42, repository_id=7)


@BOTH
@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("/twin status", "/twin status"),
        ("  \n /twin  extend 2d \r\nplease", "/twin  extend 2d"),
        ("/twin", "/twin"),
        ("/twin logs app\u00e9", "/twin logs app\u00e9"),
    ],
)
def test_a_comment_whose_first_line_is_a_command_is_one(kind: str, text: str, line: str) -> None:
    told = read(kind, "issue_comment", comment(text))
    assert isinstance(told, News)
    assert told.comment == Comment(id="99", author="ada", text=line)
    assert (told.repository, told.number, told.hosts) == ("ada/shop", 42, ("github.com",))
    assert told.repository_id == 7


@BOTH
@pytest.mark.parametrize(
    "text",
    [
        "",
        None,
        "looks good",
        "try /twin destroy",
        "> /twin destroy",
        "/twinned",
        "<!-- twin -->\n/twin destroy",
        "/twin x\0y",
        "/twin \u202edestroy",
        "/twin " + "x" * 500,
    ],
)
def test_a_comment_that_only_mentions_commands_is_none(kind: str, text: str) -> None:
    """Such as our own, which tells people what they can say."""
    assert "command" in why(read(kind, "issue_comment", comment(text)))


@BOTH
@pytest.mark.parametrize("action", ["edited", "deleted"])
def test_only_a_new_comment_commands(kind: str, action: str) -> None:
    assert action in why(read(kind, "issue_comment", comment("/twin destroy", action=action)))


def test_a_comment_on_an_issue_is_no_command() -> None:
    told = comment("/twin destroy", is_pull=False)
    assert "issue" in why(read("gitea", "issue_comment", told))
    del told["issue"]["pull_request"]
    assert "issue" in why(read("github", "issue_comment", told))


@BOTH
@pytest.mark.parametrize("event", ["ping", "push", "pull_request_review", "deployment_status", "x"])
def test_other_events_are_of_no_use_whatever_they_bring(kind: str, event: str) -> None:
    assert event in why(read(kind, event, b"\xff{"))


@BOTH
@pytest.mark.parametrize("repository", ["ada", "ada/shop/x", "../..", "ada/..", "./x", "a b/c", "", "ada/shop?x=1"])
def test_a_repository_must_be_called_as_one(kind: str, repository: str) -> None:
    assert "name of a repository" in why(read(kind, "pull_request", pull_request(repository=repository)))


@BOTH
@pytest.mark.parametrize("author", ["..", "a/b", "a?b", "", "ada\n", "x" * 200, "[bot]"])
def test_an_author_must_be_called_as_one(kind: str, author: str) -> None:
    """It becomes part of what the forge is asked."""
    assert "name of a user" in why(read(kind, "issue_comment", comment("/twin status", author=author)))


@BOTH
def test_one_that_names_two_repositories_is_of_neither(kind: str) -> None:
    told = pull_request()
    told["pull_request"]["base"]["repo"] = {"full_name": "eve/shop", "html_url": "https://github.com/eve/shop"}
    assert "eve/shop" in why(read(kind, "pull_request", told))


@BOTH
@pytest.mark.parametrize(
    "place", [("repository",), ("pull_request",), ("pull_request", "base", "repo")], ids=lambda p: ".".join(p)
)
def test_every_host_that_is_named_is_told(kind: str, place: tuple[str, ...]) -> None:
    told = json.loads(bytes_of(pull_request()))
    inner = told
    for name in place:
        inner = inner[name]
    inner["html_url"] = "https://evil.example/ada/shop"
    answer = read(kind, "pull_request", told)
    assert isinstance(answer, News)
    assert set(answer.hosts) == {"github.com", "evil.example"}


@BOTH
def test_a_host_is_the_same_in_capitals_and_with_its_usual_port(kind: str) -> None:
    told = pull_request(host="GitHub.com:443")
    assert read(kind, "pull_request", told) == read(kind, "pull_request", pull_request())
    other = read(kind, "pull_request", pull_request(host="github.com:8443"))
    assert isinstance(other, News)
    assert other.hosts == ("github.com:8443",)


@BOTH
@pytest.mark.parametrize(
    "page", ["", "github.com/ada/shop", "file:///etc/passwd", "https://github.com@evil.example/", "https://[x"]
)
def test_an_address_that_is_none_is_not_read(kind: str, page: str) -> None:
    told = pull_request()
    told["repository"] = {"full_name": "ada/shop", "html_url": page}
    assert "address" in why(read(kind, "pull_request", told))


@BOTH
@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        bytes_of(pull_request(number=0)),
        bytes_of(pull_request(number=2**63)),
        bytes_of(pull_request(number="1")),
        bytes_of(pull_request(pull_request=None)),
        bytes_of(pull_request(repository={"full_name": 5, "html_url": ""})),
    ],
    ids=lambda body: repr(body[:12]),
)
def test_what_cannot_be_read_says_why(kind: str, payload: bytes) -> None:
    assert why(read(kind, "pull_request", payload)).startswith("it cannot be read")
    assert why(read(kind, "issue_comment", payload)).startswith("it cannot be read")


@BOTH
def test_a_form_is_read_as_what_it_holds(kind: str) -> None:
    """GitHub's webhooks send forms unless told otherwise."""
    form = {"content-type": "application/x-www-form-urlencoded; charset=utf-8"}
    body = urlencode({"payload": json.dumps(pull_request())}).encode()
    assert isinstance(read(kind, "pull_request", body, form), News)
    for other in (b"", b"payload=", b"x=1", b"\xff=1", b"&".join([b"a=1"] * 50)):
        assert isinstance(read(kind, "pull_request", other, form), Nothing)


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["action", "number", "repository", "full_name", "html_url", "issue", "comment", "x"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(
    kind=st.sampled_from(["github", "gitea"]),
    event=st.sampled_from(["pull_request", "issue_comment", "push"]),
    body=st.binary(max_size=100) | _json.map(lambda value: json.dumps(value).encode()),
    form=st.booleans(),
)
def test_no_body_makes_it_raise(kind: str, event: str, body: bytes, form: bool) -> None:
    headers = {"content-type": "application/x-www-form-urlencoded"} if form else JSON
    assert isinstance(read(kind, event, body, headers), News | Nothing)
