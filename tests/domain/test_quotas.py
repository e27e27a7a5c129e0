"""Quotas: they refuse what would be too many, with words that mend it, and take nothing away."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.domain.test_project import START
from twin.domain.blueprint import TIERS
from twin.domain.decider import Cause, Context, fold, transition
from twin.domain.errors import Invalid
from twin.domain.identity import Actor
from twin.domain.project import PROJECT, SCHEMA_V, Project, SetMember, SetQuotas
from twin.domain.quotas import MOST, QuotaReached, Quotas, admit, check_quotas

QUOTAS = st.builds(
    Quotas,
    max_environments=st.none() | st.integers(0, 6),
    tiers=st.dictionaries(st.sampled_from(TIERS), st.integers(0, 4), max_size=3),
)
STEPS = st.lists(
    st.tuples(st.just("create"), st.sampled_from(TIERS))
    | st.tuples(st.just("destroy"), st.sampled_from(TIERS))
    | st.tuples(st.just("quotas"), QUOTAS),
    max_size=40,
)


@given(STEPS)
def test_nothing_is_created_beyond_a_quota_and_nothing_is_taken_away_by_one(steps: list[tuple[str, Any]]) -> None:
    quotas, living = Quotas(), Counter[str]()
    for what, given_ in steps:
        before = living.copy()
        if what == "quotas":
            quotas = given_
            assert living == before
        elif what == "destroy":
            living[given_] = max(0, living[given_] - 1)
        else:
            full = living[given_] >= quotas.tiers.get(given_, MOST)
            full = full or (quotas.max_environments is not None and living.total() >= quotas.max_environments)
            if full:
                with pytest.raises(QuotaReached) as refused:
                    admit(quotas, "shop", given_, living)
                assert refused.value.field in ("tier", "project")
                assert refused.value.block == "project/shop/quota"
                assert "twin quota set shop" in (refused.value.mend or "")
            else:
                admit(quotas, "shop", given_, living)
                living[given_] += 1


@pytest.mark.parametrize(
    ("quotas", "field"),
    [
        (Quotas(max_environments=-1), "max_environments"),
        (Quotas(max_environments=MOST + 1), "max_environments"),
        (Quotas(tiers={"preview": -1}), "tiers.preview"),
        (Quotas(tiers={"previw": 1}), "tiers"),
    ],
)
def test_what_is_no_quota_is_refused(quotas: Quotas, field: str) -> None:
    with pytest.raises(Invalid) as refused:
        check_quotas(quotas)
    assert refused.value.field == field
    assert refused.value.mend


def test_a_project_keeps_its_quotas_beside_its_members() -> None:
    context = Context(now=START, cause=Cause(Actor("person", "ann")), fresh_id=str, jitter=0.5)
    state: Project | None = None
    history: list[Any] = []

    def give(given_: Any) -> int:
        nonlocal state
        state, events = transition(PROJECT, state, given_, context)
        history.extend(PROJECT.decode_event(PROJECT.encode_event(event), SCHEMA_V) for event in events)
        return len(events)

    quotas = Quotas(max_environments=3, tiers={"preview": 1})
    assert give(SetQuotas(project="shop", quotas=Quotas())) == 0, "unlimited is what it was"
    assert state is None
    assert give(SetQuotas(project="shop", quotas=quotas)) == 1
    assert give(SetQuotas(project="shop", quotas=quotas)) == 0
    assert state is not None
    assert PROJECT.next_tasks(state) == frozenset(), "no environment has to be told"
    give(SetMember(project="shop", name="ada"))
    assert state.quotas == quotas
    assert PROJECT.decode_state(PROJECT.encode_state(state), SCHEMA_V) == state == fold(PROJECT, history)
    with pytest.raises(Invalid):
        give(SetQuotas(project="no name", quotas=quotas))
