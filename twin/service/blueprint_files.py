"""blueprint.yaml: read as YAML 1.2, with every error at its line and column."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, StringMark, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from twin.domain.blueprint import Blueprint
from twin.domain.blueprint_document import parse
from twin.domain.errors import Invalid

BLUEPRINT_FILE = "blueprint.yaml"
MOST_BYTES = 256 * 1024
_MERGE = "tag:yaml.org,2002:merge"


def read_blueprint(content: bytes, name: str = BLUEPRINT_FILE) -> Blueprint:
    """The blueprint in a YAML document.

    Raises `Invalid` with a message such as `blueprint.yaml:12:5: components.app.inputs.replicas …`, the field and a
    mend. `name` is the file as the message shows it.
    """
    if len(content) > MOST_BYTES:
        mend = "Put data into other files of the bundle."
        raise Invalid(f"{name} has {len(content)} bytes; the maximum is {MOST_BYTES}", field=name, mend=mend)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise Invalid(f"{name}:{line}: not UTF-8", field=name, mend="Save the file as UTF-8.") from None
    root, document = _load(text, name)
    if not isinstance(root, MappingNode):
        raise Invalid(f"{name}:1:1: not a mapping", field=name, mend="Begin with apiVersion: twin/v1")
    try:
        return parse(document)
    except Invalid as problem:
        line, column = _position(root, problem.field or "")
        raise type(problem)(
            f"{name}:{line}:{column}: {problem.message}",
            field=problem.field,
            mend=problem.mend,
            details=problem.details | {"file": name, "line": line, "column": column},
        ) from None


def _load(text: str, name: str) -> tuple[Node | None, Any]:
    try:
        root = YAML(typ="safe", pure=True).compose(text)
        for node in _nodes(root):
            # Not part of YAML 1.2, and a few of them can grow a document without bound.
            if node.tag == _MERGE:
                where = f"{name}:{node.start_mark.line + 1}:{node.start_mark.column + 1}"
                raise Invalid(f"{where}: merge keys are not YAML 1.2", field=name, mend="Write the keys out.")
        return root, YAML(typ="safe", pure=True).load(text)
    except MarkedYAMLError as error:
        raise _not_yaml(error, text, name) from None
    except (YAMLError, ValueError) as error:
        raise Invalid(f"{name}: not YAML: {error}", field=name, mend="Correct the file.") from None
    except RecursionError:
        raise Invalid(f"{name}: nested too deep", field=name, mend="Put data into other files.") from None


def _not_yaml(error: MarkedYAMLError, text: str, name: str) -> Invalid:
    mark = error.problem_mark or error.context_mark
    line, column = (mark.line + 1, mark.column + 1) if isinstance(mark, StringMark) else (1, 1)
    written = "".join(text.split("\n")[line - 1 : line])  # the end of the file may be a line that is not there
    problem = (error.problem or error.context or "not YAML").splitlines()[0]
    mend = "Correct the YAML at this place."
    if re.search(r"[{\[,].*[^\"'$]\$\{", written):
        mend = 'Within {…} and […] a reference needs quotes: {URL: "${db.secrets.url}"}.'
    elif "duplicate key" in problem:
        mend = "Keep one of the two."
    return Invalid(f"{name}:{line}:{column}: {problem}", field=name, mend=mend)


def _nodes(root: Node | None) -> Iterator[Node]:
    """Every node once, however often aliases repeat it."""
    seen: set[int] = set()
    waiting = [root] if root is not None else []
    while waiting:
        node = waiting.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        yield node
        match node:
            case MappingNode():
                waiting += [each for pair in node.value for each in pair]
            case SequenceNode():
                waiting += node.value


def _position(root: Node, field: str) -> tuple[int, int]:
    """Line and column, from 1, of the deepest part of a dotted path that the document has: of its key, if it has one.

    Keys may hold dots themselves: the longest key that fits is taken.
    """
    node, mark, rest = root, root.start_mark, field
    while rest:
        step = _step(node, rest)
        if step is None:
            break
        node, mark, rest = step
    return mark.line + 1, mark.column + 1


def _step(node: Node, path: str) -> tuple[Node, Any, str] | None:
    match node:
        case MappingNode():
            fitting = [
                (key, value)
                for key, value in node.value
                if isinstance(key, ScalarNode) and re.match(re.escape(key.value) + r"(\.|\[|$)", path)
            ]
            if not fitting:
                return None
            key, value = max(fitting, key=lambda pair: len(pair[0].value))
            return value, key.start_mark, path[len(key.value) :].removeprefix(".")
        case SequenceNode() if (found := re.match(r"\[(\d+)\]\.?", path)) and int(found[1]) < len(node.value):
            item = node.value[int(found[1])]
            return item, item.start_mark, path[found.end() :]
        case _:
            return None
