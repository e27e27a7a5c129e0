"""A plan, shown: what is left to do, or would be."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from rich.text import Text

from api.cli.output import Screen, clock, status
from api.cli.progress import component_of
from twin.service.views import PlanView, PreviewView, StepView

_SIGNS = {"create": ("+", "green"), "update": ("~", "yellow"), "replace": ("±", "magenta"), "delete": ("-", "red")}


def show_plan(screen: Screen, plan: PlanView, *, err: bool = False, indent: int = 0, digest: bool = True) -> None:
    """The steps in the order in which they may run, and the digest for --expect-plan."""
    say = screen.note if err else screen.text
    if not plan.steps:
        say("Nothing to do.", "green")
        return
    steps = [*_in_order(plan.steps), *_in_order(plan.follows)]
    rows = [(f"{step.verb} {step.component}", _place(step), _when(step), step.why) for step in steps]
    screen.table(("STEP", "TARGET", "WHEN", "WHY"), rows, indent=indent, err=err)
    for step in _in_order(plan.steps):
        if step.preview is not None:
            for line in _preview_lines(step, step.preview):
                say(line)
    if digest:
        say(f"\nDigest {plan.digest}", "dim")


def _preview_lines(step: StepView, preview: PreviewView) -> Iterator[Text]:
    """What a step would change: a tree of resources and their properties."""
    title = f"\n{step.verb} {step.component}"
    if (error := preview.error) is not None:
        yield Text.assemble((title, "bold"), " ", (f"cannot be previewed ({error.kind}): {error.message}", "yellow"))
        if error.field:
            yield Text(f"  Field: {error.field}")
        if error.mend:
            yield Text(f"  Mend:  {error.mend}")
        return
    counts: Counter[str] = Counter(change.kind for change in preview.changes)
    told = ", ".join(f"{counts[kind]} to {kind}" for kind in _SIGNS if counts[kind])
    yield Text.assemble((title, "bold"), f": {told or 'changes no resource'}")
    for change in preview.changes:
        sign, style = _SIGNS[change.kind]
        yield Text(f"  {sign} {change.resource}", style=style)
        for name, text in change.fields.items():
            yield Text(f"      {name}: {text}")


def _in_order(steps: tuple[StepView, ...]) -> list[StepView]:
    """What can run first, first; else as they come."""
    present = {step.key: step for step in steps}
    depths: dict[str, int] = {}

    def depth(key: str) -> int:
        if key not in depths:
            depths[key] = 0  # a cycle, which a plan never has, must not hang us
            depths[key] = 1 + max((depth(each) for each in present[key].after if each in present), default=-1)
        return depths[key]

    return sorted(steps, key=lambda step: depth(step.key))


def _place(step: StepView) -> str:
    return "" if step.verb == "sweep" else step.target  # a sweep is of its target


def _when(step: StepView) -> Text:
    if step.state == "waiting" and step.waits_for:
        return Text(f"waits for {step.waits_for}", style="dim")
    if step.state == "waiting" and (step.after or step.not_before is not None):
        after = f"after {', '.join(dict.fromkeys(map(component_of, step.after)))}" if step.after else ""
        early = f"not before {clock(step.not_before)}" if step.not_before is not None else ""
        return Text(", ".join(filter(None, (after, early))), style="dim")
    word = status("now" if step.state == "ready" else step.state)
    return Text.assemble(word, f": {step.progress}") if step.progress else word
