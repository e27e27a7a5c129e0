"""However a secret is quoted, it is covered: these are the ways that libraries have."""

from __future__ import annotations

import base64
import json
from urllib.parse import quote, quote_plus

import pytest

from twin.domain.disguises import disguises

SECRET = "0ed95b3df043/+\"'\\&% é696be6015c55"
HALVES = ("0ed95b3df043", "696be6015c55")


@pytest.mark.parametrize(
    "quoted",
    [
        SECRET,
        repr(SECRET),
        repr([repr(SECRET), SECRET]),
        str({"password": repr(SECRET)}),
        json.dumps({"password": SECRET}),
        json.dumps({"body": json.dumps({"password": SECRET})}),
        json.dumps(SECRET, ensure_ascii=False),
        f"postgres://user:{quote(SECRET, safe='')}@host/database",
        quote_plus(SECRET),
        SECRET.encode().hex(),
    ],
)
def test_nothing_of_a_quoted_secret_is_left(quoted: str) -> None:
    covered = quoted
    for form in sorted(disguises(SECRET), key=len, reverse=True):
        covered = covered.replace(form, "•••")
    assert "•••" in covered
    assert not [half for half in HALVES if half in covered or half.encode().hex() in covered], covered


@pytest.mark.parametrize("user", ["", "u", "us", "use"])
@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode])
def test_in_base64_it_is_found_at_each_place(user: str, encode: object) -> None:
    assert callable(encode)
    encoded = encode(f"{user}{SECRET}:tail".encode()).decode()
    longest = max((form for form in disguises(SECRET) if form in encoded), key=len)
    assert len(longest) >= len(SECRET.encode()) * 8 // 6 - 2
