"""Whatever somebody pushes as `.twin/preview.yaml`: it is understood, or it is refused in words that can be told."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.domain.previews.tale import pull
from twin.domain.errors import Invalid
from twin.domain.previews.config import SourceConfig
from twin.domain.previews.judging import Verdict, judge
from twin.service.previews.repository_file import MOST, read, read_aside

CONFIG = SourceConfig(
    forge="github/main",
    repository="shop/web",
    project="shop",
    blueprint="guestbook",
    repository_inputs=("greeting",),
    max_live=3,
)


def verdict(document: Any) -> Verdict:
    """What is made of it, as it is kept."""
    judged = judge(CONFIG, pull(), paths=None, sandbox=False, document=document)
    assert msgspec.json.decode(msgspec.json.encode(judged), type=Verdict) == judged
    if judged.recipe is not None:
        assert judged.recipe.digest
    return judged


def bomb(levels: int) -> bytes:
    lists = [f"a{level}: &x{level} [{', '.join([f'*x{level - 1}'] * 16)}]" for level in range(1, levels)]
    return ("inputs:\n  a0: &x0 [1, 1]\n" + "".join(f"  {each}\n" for each in lists)).encode()


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (bomb(12), "an anchor"),
        (b"inputs: {greeting: *x}", "an alias"),
        (b"inputs: &x {greeting: *x}", "an anchor"),
        (b"inputs: {greeting: !!int x}", "a tag"),
        (b"inputs: {greeting: ! x}", "a tag"),
        (b"inputs: {greeting: !!python/object/apply:os.system [ls]}", "a tag"),
        (b"--- !x\na: b", "a tag"),
        (b"%YAML 1.1\n---\nmax_live: 010", "a directive"),
        (b"%TAG ! tag:x\n---\nmax_live: 1", "a directive"),
        (b"[" * MOST, "nested deeper"),
        (b"[\n" * (MOST // 2), "nested deeper"),
        (b"{" * MOST, "nested deeper"),
        (b"- " * (MOST // 2), "nested deeper"),
        (b"? " * (MOST // 2), "nested deeper"),
        (b"inputs: {greeting: " + b"[" * 2000 + b"]" * 2000 + b"}", "nested deeper"),
        (b"paths: [" + b"a," * 4000 + b"]", "more than 1000 values"),
        (b"#" * (MOST + 1), f"more than {MOST} bytes"),
        (b"paths: [", "no YAML"),
        (b"\xff", "no YAML"),
        (b"\0", "no YAML"),
        (b"a: b\n---\nc: d", "no YAML"),
        (b"ttl: 1h\nttl: 2h", "no YAML"),
        (b'"\\ud800": 1\n"\\ud800": 2', "no YAML"),
        (b"ttl: 2001-13-45", "no YAML"),
        (b"inputs: {greeting: " + b"9" * 6000 + b"}", "no YAML"),
        (b"? [a]\n: b", "key"),
        (b"? {a: b}\n: b", "key"),
        (b'"\\ud800": 1', "not known here"),
        (b'inputs: {greeting: "\\ud800"}', "no character"),
        (b'inputs: {greeting: "\\0"}', "no character"),
        (b"inputs: {greeting: .nan}", "infinite"),
        (b"inputs: {greeting: -.inf}", "infinite"),
        (b"inputs: {greeting: 0x" + b"f" * 6000 + b"}", "64 bits"),
        (b"inputs: {greeting: 2026-01-05}", "neither text nor number"),
        (b"ttl: 0x" + b"f" * 6000, "64 bits"),
        (b"max_live: 0x" + b"f" * 6000, "64 bits"),
        (b"ttl: .nan", "infinite"),
        (b"1: 2", "a key is no text"),
    ],
)
def test_what_nobody_would_write_is_refused_in_words(content: bytes, why: str) -> None:
    judged = verdict(read(content))
    assert why in (judged.problem or "")
    assert judged.mend


def test_what_people_write_is_read() -> None:
    content = b"""
# Previews of the shop alone.
paths: [src/**, "*.md"]
labels:
  needed: [preview]
ttl: 2h
inputs:
  greeting: {text: "hello", times: 3, loud: no, none: null, size: 1.5}
"""
    assert read(content) == {
        "paths": ["src/**", "*.md"],
        "labels": {"needed": ["preview"]},
        "ttl": "2h",
        "inputs": {"greeting": {"text": "hello", "times": 3, "loud": "no", "none": None, "size": 1.5}},
    }
    assert read(b"") is read(b"# nothing yet\n") is None


async def test_meanwhile_the_loop_goes_on() -> None:
    """What takes long is read elsewhere: the loop gets its turn before there is an answer."""
    reading = asyncio.create_task(read_aside(b"[" * MOST))
    turns = 0
    while not reading.done():
        await asyncio.sleep(0)
        turns += 1
    assert "nested deeper" in str(await reading)
    assert turns > 2


WORDS = (
    "inputs greeting paths labels ttl max_live drafts : - ? [ ] { } , & * ! | > ' \" % # @ ` << ~ .nan .inf 0x 1e999"
    " 2001-13-45 12:99:99 &a *a !!int !!timestamp !!binary --- ... \\ud800 \\x00 \\U0010ffff 1_000 0o9 true"
)
PIECES = st.sampled_from(WORDS.split()) | st.sampled_from(
    [" ", "\n", "\n  ", "\t", ": ", "- ", "\ufeff", "\u2028", "\x85"]
)
FILES = (
    st.binary(max_size=MOST)
    | st.text(max_size=200).map(lambda text: text.encode(errors="replace"))
    | st.lists(PIECES, max_size=60).map(lambda pieces: "".join(pieces).encode()[:MOST])
    | st.lists(PIECES, max_size=12).map(lambda pieces: f"inputs: {{greeting: {''.join(pieces)}}}".encode())
    | st.lists(PIECES, max_size=8).map(lambda pieces: f"ttl: {''.join(pieces)}".encode())
)


@given(FILES)
@settings(deadline=None, max_examples=300)
def test_any_bytes_say_something_or_are_refused(content: bytes) -> None:
    document = read(content)
    if isinstance(document, Invalid):
        assert document.mend
    verdict(document)
