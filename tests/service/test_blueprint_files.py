"""blueprint.yaml: every error stands at its line and column."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twin.domain.errors import Invalid, OutOfBounds
from twin.service.blueprint_files import MOST_BYTES, read_blueprint

GOOD = """\
apiVersion: twin/v1
kind: Blueprint
metadata: {name: guestbook, version: 1.0.0}
inputs:
  properties:
    replicas: {type: integer, minimum: 1, maximum: 5, default: 1}
components:
  db: {type: postgres.database}
  app:
    type: process.service
    inputs:
      command: [python, app.py]
      replicas: ${inputs.replicas}
      env:
        DATABASE.URL: ${db.secrets.url}
tiers:
  preview: {ttl: 24h, inputs: {replicas: 1}}
"""


def problem(text):
    with pytest.raises(Invalid) as caught:
        read_blueprint(text.encode() if isinstance(text, str) else text)
    return caught.value


def test_a_good_file():
    blueprint = read_blueprint(GOOD.encode())
    assert list(blueprint.components) == ["db", "app"]
    assert blueprint.tiers["preview"].ttl == 86_400
    assert read_blueprint(b"\xef\xbb\xbf" + GOOD.encode()) == blueprint, "as some editors write UTF-8"


@pytest.mark.parametrize(
    ("old", "new", "place", "field"),
    [
        ("    inputs:\n", "    inpust:\n", "11:5", "components.app.inpust"),
        ("${db.secrets.url}", "${bd.secrets.url}", "15:9", "components.app.inputs.env.DATABASE.URL"),
        ("[python, app.py]", "[python, '${db.url}']", "12:25", "components.app.inputs.command[1]"),
        ("version: 1.0.0", "version: 1.0", "3:29", "metadata.version"),
        ("    type: process.service\n", "", "9:3", "components.app.type"),
        ("24h", "1 day", "17:13", "tiers.preview.ttl"),
    ],
)
def test_what_is_wrong_is_pointed_at(old, new, place, field):
    wrong = problem(GOOD.replace(old, new))
    assert wrong.message.startswith(f"blueprint.yaml:{place}: {field}")
    assert wrong.field == field
    assert wrong.mend


def test_the_class_of_the_error_stays():
    wrong = problem(GOOD.replace("{replicas: 1}", "{replicas: 9}"))
    assert isinstance(wrong, OutOfBounds)
    assert wrong.message == "blueprint.yaml:17:32: tiers.preview.inputs.replicas is 9; the maximum is 5"
    assert (wrong.details["line"], wrong.details["column"]) == (17, 32)


@pytest.mark.parametrize(
    ("text", "telling", "reason"),
    [
        ("a: {b: ${db.secrets.url}}", 'needs quotes: {URL: "${db.secrets.url}"}', "a brace within a flow mapping"),
        ("a: 1\na: 2", "duplicate key", "which of the two is meant?"),
        ("a: [1\nb: 2", "blueprint.yaml:2:", "a bracket is not closed"),
        ("a: !!python/object:os.system {}", "blueprint.yaml:1:", "no objects"),
        ("a: *b", "undefined alias", "an alias of nothing"),
        ("- a", "apiVersion", "not a mapping"),
        ("", "apiVersion", "empty"),
        ("a: &a {x: 1}\nb: {<<: *a}", "merge keys", "not YAML 1.2"),
        ("a: 1\n---\nb: 2", "blueprint.yaml", "one document"),
        ("[" * 20_000, "nested too deep", "no stack is deep enough"),
        (b"a: \xff", "UTF-8", "not text"),
        (b"a: \x00", "blueprint.yaml", "not printable"),
        ("#" * (MOST_BYTES + 1), "maximum", "too much"),
        (GOOD.replace("24h", "yes"), "ttl is 'yes'", "YAML 1.2 knows no yes"),
        (GOOD.replace("1.0.0", "2026-01-01"), "date", "a date is not text"),
    ],
)
def test_what_is_not_yaml_is_refused(text, telling, reason):
    wrong = problem(text)
    assert telling in f"{wrong.message} {wrong.mend}", reason
    assert wrong.message.startswith("blueprint.yaml"), reason
    assert wrong.mend


def test_aliases_that_laugh_are_refused():
    lines = ["a0: &a0 [ha, ha, ha, ha, ha, ha, ha, ha, ha, ha]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    assert "more than" in problem("\n".join(lines)).message


@given(st.text(st.sampled_from("ab:-[]{}&*!|>'\"# \n%@`,?$"), max_size=40))
def test_no_text_breaks_the_reader(text):
    message = problem(text).message
    assert message.startswith("blueprint.yaml"), "no such text is a blueprint, and every refusal names the file"
