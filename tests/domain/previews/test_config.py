"""What a preview source is configured with, what a repository's own file may take from it, and whom that lets in."""

from datetime import date
from functools import reduce

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.domain.previews.tale import pull
from twin.domain.errors import Invalid
from twin.domain.previews.config import CloneFrom, SourceConfig, check_config
from twin.domain.previews.judging import judge
from twin.domain.previews.names import environment_name, slug
from twin.domain.previews.narrowing import narrowed
from twin.domain.previews.paths import any_matches

CONFIG = SourceConfig(
    forge="github/main",
    repository="shop/web",
    project="shop",
    blueprint="guestbook",
    inputs={"greeting": "hello", "size": 1},
    repository_inputs=("greeting",),
    ttl=86_400.0,
    paths=("src/**",),
    max_live=3,
)


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"repository": "web"}, "repository"),
        ({"repository": "../../etc"}, "repository"),
        ({"repository": "shop/web?x"}, "repository"),
        ({"project": "Shop"}, "project"),
        ({"forge": ""}, "forge"),
        ({"component": "App"}, "component"),
        ({"prefix": "pr--x"}, "prefix"),
        ({"prefix": "x" * 21}, "prefix"),
        ({"blueprint": None}, "blueprint"),
        ({"clone_from": CloneFrom(environment="shop/staging")}, "blueprint"),
        ({"blueprint": None, "clone_from": CloneFrom(environment="staging")}, "clone_from.environment"),
        ({"blueprint": None, "clone_from": CloneFrom(environment="other/staging")}, "clone_from.environment"),
        ({"inputs": {"a": {"b": ["${pr.title}"]}}}, "inputs.a.b"),
        ({"ttl": 1.0}, "ttl"),
        ({"ttl": float("nan")}, "ttl"),
        ({"idle_ttl": 1e12}, "idle_ttl"),
        ({"reconcile_every": 0.0}, "reconcile_every"),
        ({"paths": ("/etc/**",)}, "paths"),
        ({"paths": ("",)}, "paths"),
        ({"paths": ("a",) * 33}, "paths"),
        ({"within": ("a",)}, "within"),
        ({"needed_labels": ("",)}, "needed_labels"),
        ({"max_live": 0}, "max_live"),
    ],
)
def test_what_is_wrong_is_named(fields, field):
    check_config(CONFIG)
    with pytest.raises(Invalid) as refused:
        check_config(replace(CONFIG, **fields))
    assert refused.value.field == field


@pytest.mark.parametrize(
    ("document", "field"),
    [
        ([], ".twin/preview.yaml"),
        ({"ttl": "2d"}, "ttl"),
        ({"ttl": "1s"}, "ttl"),
        ({"ttl": "soon"}, "ttl"),
        ({"max_live": 4}, "max_live"),
        ({"max_live": 0}, "max_live"),
        ({"max_live": True}, "max_live"),
        ({"drafts": True}, "drafts"),
        ({"drafts": "no"}, "drafts"),
        ({"forks": "allow"}, "forks"),
        ({"forks": "all"}, "forks"),
        ({"inputs": {"size": 5}}, "inputs.size"),
        ({"inputs": ["greeting"]}, "inputs"),
        ({"inputs": {"greeting": date(2026, 1, 1)}}, "inputs"),
        ({"inputs": {"greeting": {1: 2}}}, "inputs"),
        ({"inputs": {"greeting": reduce(lambda deep, _: [deep], range(5000), 0)}}, "inputs"),
        ({"paths": "src"}, "paths"),
        ({"paths": ["/x"]}, "paths"),
        ({"labels": ["x"]}, "labels"),
        ({"labels": {"needed": [1]}}, "labels.needed"),
        ({"labels": {"needed": [""]}}, "labels.needed"),
        ({"path": ["x"]}, "path"),
        ({1: 2}, ".twin/preview.yaml"),
        ({"\ud800": 1}, "\\ud800"),
        ({"inputs": {"\ud800": 1}}, "inputs.\\ud800"),
        ({"inputs": {"greeting": "\ud800"}}, "inputs"),
        ({"inputs": {"greeting": {"\ud800": 1}}}, "inputs"),
        ({"inputs": {"greeting": "\0"}}, "inputs"),
        ({"inputs": {"greeting": float("nan")}}, "inputs"),
        ({"inputs": {"greeting": float("-inf")}}, "inputs"),
        ({"inputs": {"greeting": 2**63}}, "inputs"),
        ({"inputs": {"greeting": list(range(2000))}}, "inputs"),
        ({"labels": {"needed": ["\ud800"]}}, "labels"),
        ({"paths": ["\ud800"]}, "paths"),
        ({"ttl": 16**10_000}, "ttl"),
        ({"max_live": 16**10_000}, "max_live"),
        *(({name: "x"}, name) for name in ("project", "blueprint", "clone_from", "repository", "prefix", "within")),
    ],
)
def test_a_file_never_widens(document, field):
    with pytest.raises(Invalid) as refused:
        narrowed(CONFIG, document)
    assert refused.value.field == field
    assert refused.value.mend


BOMB = reduce(lambda inner, _: [inner] * 10, range(12), 1)
"""A few lists, each ten times in the next: as a tree, more values than anybody can count."""


def test_a_few_bytes_that_stand_for_very_many_values_end_soon():
    with pytest.raises(Invalid, match="more than 1000 values"):
        narrowed(CONFIG, {"inputs": {"greeting": BOMB}})
    with pytest.raises(Invalid, match="does not let the repository set it"):
        narrowed(CONFIG, {"inputs": {"greeting": BOMB, "size": BOMB}})
    with pytest.raises(Invalid, match="more than 1000 values"):
        narrowed(CONFIG, {"paths": BOMB})


def test_a_file_narrows():
    document = {
        "paths": ["src/web/**"],
        "labels": {"needed": ["preview"], "excluded": ["wip"]},
        "ttl": "2h",
        "idle_ttl": "30m",
        "max_live": 1,
        "drafts": False,
        "forks": "never",
        "inputs": {"greeting": "of ${pr.number}"},
    }
    assert narrowed(CONFIG, document) == replace(
        CONFIG,
        within=("src/web/**",),
        needed_labels=("preview",),
        excluded_labels=("wip",),
        ttl=7200.0,
        idle_ttl=1800.0,
        max_live=1,
        inputs={"greeting": "of ${pr.number}", "size": 1},
    )
    assert narrowed(CONFIG, {}) == CONFIG


KEYS = st.sampled_from(["paths", "labels", "ttl", "idle_ttl", "max_live", "drafts", "forks", "inputs", "x"])
SIMPLE = (
    st.none() | st.booleans() | st.integers(-5, 200_000) | st.sampled_from(["1h", "3d", "never", "allow", "src/**"])
)
VALUES = (
    SIMPLE | st.lists(SIMPLE, max_size=3) | st.dictionaries(st.sampled_from(["needed", "greeting", "size"]), SIMPLE)
)


@given(st.dictionaries(KEYS, VALUES, max_size=4))
def test_whatever_a_file_says_no_more_is_allowed(document):
    try:
        after = narrowed(CONFIG, document)
    except Invalid:
        return
    assert after.ttl <= CONFIG.ttl
    assert 1 <= after.max_live <= CONFIG.max_live
    assert (after.drafts, after.forks) == (False, "never")
    assert after.inputs["size"] == 1
    assert set(after.needed_labels) >= set(CONFIG.needed_labels)
    assert (after.paths, after.project, after.blueprint) == (CONFIG.paths, CONFIG.project, CONFIG.blueprint)


@pytest.mark.parametrize(
    ("shown", "fields", "why"),
    [
        ({"draft": True}, {}, "draft"),
        ({"draft": True}, {"drafts": True}, None),
        ({"labels": ("wip",)}, {"excluded_labels": ("wip",)}, "has the label wip"),
        ({}, {"needed_labels": ("preview",)}, "lacks the label preview"),
        ({"labels": ("preview",)}, {"needed_labels": ("preview",)}, None),
        ({}, {"paths": ("docs/",)}, "changes nothing"),
        ({}, {"within": ("src/api/**",)}, "changes nothing"),
        ({}, {"within": ("src/web/**",)}, None),
        ({"head_repository": "eve/web"}, {}, "no previews of forks"),
        ({"head_repository": None}, {}, "no previews of forks"),
        ({"head_repository": "eve/web"}, {"forks": "allow"}, None),
    ],
)
def test_who_gets_a_preview(shown, fields, why):
    verdict = judge(replace(CONFIG, **fields), pull(**shown), paths=("README.md", "src/web/a.py"), sandbox=True)
    assert (verdict.unwanted is None) == (why is None)
    assert why is None or why in verdict.unwanted
    assert (verdict.recipe is None) == (why is not None)


def test_a_fork_without_a_sandbox_never():
    verdict = judge(replace(CONFIG, forks="allow"), pull(head_repository="eve/web"), paths=None, sandbox=False)
    assert "no sandbox" in verdict.unwanted


def test_a_fork_gets_none_of_the_data():
    config = replace(
        CONFIG, blueprint=None, clone_from=CloneFrom(environment="shop/staging", data="full"), forks="allow"
    )
    own = judge(config, pull(), paths=None, sandbox=True).recipe
    fork = judge(config, pull(head_repository="eve/web"), paths=None, sandbox=True).recipe
    assert (own.clone_from.data, own.fork) == ("full", False)
    assert (fork.clone_from.data, fork.fork, fork.repository) == ("none", True, "eve/web")


def test_a_source_that_is_gone_and_a_file_that_is_wrong():
    assert judge(None, pull(), paths=None, sandbox=True).unwanted
    wrong = judge(CONFIG, pull(), paths=None, sandbox=True, document={"ttl": "9d"})
    assert (wrong.recipe, wrong.unwanted) == (None, None)
    assert ".twin/preview.yaml: ttl" in wrong.problem
    assert judge(CONFIG, pull(), paths=None, sandbox=True, document=Invalid("no YAML")).problem


def test_a_branch_is_a_harmless_word_in_inputs_and_none_in_names():
    config = replace(CONFIG, inputs={"n": "${pr.number}", "text": "${pr.branch}: ${pr.sha} ${env.X} $${pr.number}"})
    recipe = judge(config, pull(head_branch="../../x; rm -rf ${HOME}"), paths=None, sandbox=True).recipe
    assert recipe.inputs == {"n": 42, "text": "x-rm-rf-home: " + "a" * 40 + " ${env.X} $42"}
    assert recipe.name == "pr-42"


def test_names():
    assert environment_name("web-pr", 7) == "web-pr-7"
    assert slug("Feature/Blue_Button") == "feature-blue-button"
    assert slug("../..") == "x"
    assert len(slug("ä" * 10 + "b" * 99)) == 40


@pytest.mark.parametrize(
    ("pattern", "matching", "others"),
    [
        ("src/**", ["src/a", "src/a/b.py"], ["src", "asrc/a", "lib/src/a"]),
        ("docs/", ["docs/a", "docs/b/c"], ["docs", "x/docs/a"]),
        ("*.md", ["README.md", ".md"], ["docs/README.md", "md"]),
        ("**/*.md", ["README.md", "docs/a/b.md"], ["README.mdx"]),
        ("**/deploy/*", ["deploy/a", "x/y/deploy/b"], ["xdeploy/a", "deploy/a/b"]),
        ("a/**/b", ["a/b", "a/x/b", "a/x/y/b"], ["ab", "a/xb", "a/b/c"]),
        ("a?c", ["abc"], ["ac", "a/c", "abbc"]),
        ("**", ["a", "a/b"], []),
        ("***/x", ["a/x", "a/b/x"], ["x"]),
        ("a.[b]", ["a.[b]"], ["a.b", "axb"]),
    ],
)
def test_patterns_of_paths(pattern, matching, others):
    assert [path for path in [*matching, *others] if any_matches((path,), (pattern,))] == matching


def test_a_pattern_made_to_take_long_does_not():
    assert not any_matches(("a" * 2000,), ("*a" * 90 + "b",))
