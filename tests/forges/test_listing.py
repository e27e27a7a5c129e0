"""A listing over pages is whole, or it is not given."""

from __future__ import annotations

import pytest

from twin.domain.errors import Transient
from twin.forges.listing import Mark, Page, whole

Pages = list[Page[int]]


async def read(*readings: Pages) -> tuple[int, ...]:
    """The listing whose pages are these; the last reading stands for all later ones."""
    asked = 0

    async def page(number: int) -> Page[int]:
        nonlocal asked
        pages = readings[min(asked, len(readings) - 1)]
        asked += 1
        return pages[number - 1] if number <= len(pages) else Page(items=())

    items, _ = await whole("the listing", page, lambda item: item)
    return items


def page(*items: int, **more: object) -> Page[int]:
    return Page(items=items, **more)  # type: ignore[arg-type]


async def test_all_pages_are_read() -> None:
    assert await read([page()]) == ()
    assert await read([page(total=0)]) == ()
    assert await read([page(5, 4, promised=True), page(3)]) == (5, 4, 3)
    assert await read([page(5, 4, total=3), page(3, total=3)]) == (5, 4, 3)
    assert await read([page(5, 4, full=True), page(3)]) == (5, 4, 3)
    assert await read([page(5, 4, full=True)]) == (5, 4), "a full page may be the last one"


@pytest.mark.parametrize(
    ("why", "pages"),
    [
        ("an entry stands on two pages", [page(5, 4, promised=True), page(4, 3)]),
        ("a promised page is empty", [page(5, 4, promised=True), page()]),
        ("a page that must be there is empty", [page(5, 4, total=3), page(total=3)]),
        ("fewer than it counts", [page(5, 4, total=5), page(3, total=5), page(2, total=4)]),
        ("more than it counts", [page(5, 4, total=1)]),
        ("the count changes", [page(5, 4, total=3), page(3, total=4), page(2, total=4)]),
        ("it never ends", [page(n, promised=True) for n in range(300)]),
    ],
)
async def test_contradictory_pages_are_not_given(why: str, pages: Pages) -> None:
    with pytest.raises(Transient):
        pytest.fail(f"{why}: {await read(pages)}")


async def test_what_moves_while_it_is_read_is_read_again() -> None:
    # 5 is closed after the first page was read: 3 moves to it, and would be missed on the second.
    before, later = [page(5, 4, full=True), page(3, 2)], [page(4, 3, full=True), page(2)]
    assert await read(before, later) == (4, 3, 2)


def test_mark_of_another_version_is_none() -> None:
    assert Mark.read(None) is None
    assert Mark.read("W/abc") is None
    assert Mark.read('{"other": 1}') is None
    assert Mark.read(Mark.of((), ("a", "b")).text()) == Mark.of((), ("a", "b"))
    assert Mark.of((), ("a", None)).tags == (), "one page without a tag leaves nothing to ask by"
