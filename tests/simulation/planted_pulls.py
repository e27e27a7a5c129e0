"""Bugs to plant in what is done for pull requests. See `tests.simulation.planted`."""

from __future__ import annotations

from tests.simulation.planting import Bug, one

_PULLS = 3


def _bug(name: str, seed: int, file: str, old: str, new: str, faults: str = "all") -> Bug:
    return one(name, seed, file, old, new, faults, _PULLS)


BUGS_OF_PULLS = (
    _bug(
        "what is told too late is not told over",
        2,
        "twin/service/previews/publishing.py",
        "        if row is not None and row.state.tellings",
        "        if row is None and row.state.tellings",
        "freeze,forge_slow,transient",
    ),
    _bug(
        "a leave holds for every commit",
        2,
        "twin/domain/previews/standing.py",
        "(state.allowed is None or state.allowed.sha != pull.head_sha)",
        "state.allowed is None",
    ),
    _bug(
        "one answer is enough to destroy",
        1,
        "twin/domain/previews/standing.py",
        "    return state.second is not None and look >= state.second\n",
        "    return look >= 0\n",
    ),
    _bug(
        "a forge that does not answer counts as one that has it no more",
        1,
        "twin/service/previews/looking.py",
        "        pull = await forge.pull(name, origin.number)\n",
        "        try:\n"
        "            pull = await forge.pull(name, origin.number)\n"
        "        except Exception:\n"
        "            pull = None\n",
        "forge,forge_limit",
    ),
    _bug(
        "what is not listed is not asked about",
        2,
        "twin/service/previews/source_errands.py",
        "if number not in listed and not _is_over(state)}",
        "if number in listed and not _is_over(state)}",
    ),
    _bug(
        "one more lives than may",
        1,
        "twin/domain/previews/source.py",
        "len(state.live) < limit",
        "len(state.live) <= limit",
    ),
    _bug(
        "a slot is given back before its preview is gone",
        2,
        "twin/domain/previews/standing.py",
        "and not (state.environment is not None and state.environment.alive)",
        "and state.environment is not None",
    ),
    _bug(
        "who has got a slot is not told",
        3,
        "twin/domain/previews/source.py",
        "unaware = (*state.unaware, pull) if waited else state.unaware",
        "unaware = state.unaware",
    ),
    _bug(
        "deployed is what was wished when it was read",
        7,
        "twin/service/previews/deploying.py",
        "            if wish(now) != wished or not deploy_due(now):\n",
        "            if wish(now) is None:\n",
    ),
    _bug(
        "a delivery is done once more by who is late",
        9,
        "twin/service/inbox_errands.py",
        "if tx.end_delivery(each.delivery.target, each.delivery.number)]",
        "if tx.end_delivery(each.delivery.target, each.delivery.number) or each.do.tellings]",
    ),
    _bug(
        "our comment is known by its text",
        1,
        "twin/forges/sticky.py",
        "if each.body.startswith(marker))",
        "if each.body == wanted)",
    ),
    _bug(
        "a sink that is being told counts as told before",
        1,
        "twin/domain/previews/evolve.py",
        "published={**state.published, sink: UNSURE}, tellings",
        "published=state.published or {sink: UNSURE}, tellings",
    ),
    _bug(
        "what a preview is cloned from is locked after its pull request",
        1,
        "twin/service/previews/deploying.py",
        "for each in (known, origin) if",
        "for each in (known,) if",
    ),
)
