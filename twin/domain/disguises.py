"""The forms in which a text is quoted by programs: whoever covers a secret covers it in each of them."""

from __future__ import annotations

import base64
import html
import json
import shlex
from urllib.parse import quote, quote_plus


def disguises(text: str) -> frozenset[str]:
    """The text as it is; escaped as in JSON and Python, once and twice; as in HTML and shells; percent-encoded; in hex;
    in base64.

    In base64 a text looks otherwise at each of three places within another; of the first and the last character a part
    is the neighbour's, and they are left out.
    """
    raw = text.encode("utf-8", "surrogatepass")
    once = _escaped(text)
    forms = {
        text,
        *once,
        *(twice for each in once for twice in _escaped(each)),
        html.escape(text),
        shlex.quote(text).strip("'"),
        quote(raw, safe=""),
        quote(raw),
        quote_plus(raw),
        raw.hex(),
    }
    for shift, first in enumerate((0, 2, 3)):
        core = base64.b64encode(b"\0" * shift + raw)[first : (shift + len(raw)) * 8 // 6].decode()
        forms |= {core, core.replace("+", "-").replace("/", "_")}
    return frozenset(forms)


def _escaped(text: str) -> set[str]:
    """As a string literal shows it. Which quotes Python escapes depends on what else is in the string."""
    backslashed = text.replace("\\", "\\\\").replace("'", "\\'")
    return {json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1], repr(text)[1:-1], backslashed}
