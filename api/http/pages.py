"""Lists: every one is a page, also where it has only one."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Generic, TypeVar

from msgspec import Struct

from twin.service.views import PageView

T = TypeVar("T")


class Page(Struct, Generic[T], frozen=True, kw_only=True):
    """Some items; `next` is for `after` and gives the following page, null at the end."""

    items: tuple[T, ...]
    next: str | None = None


def page_of(view: PageView) -> Page[Any]:
    """A page of the service."""
    return Page(items=view.items, next=view.next)


def only_page(items: Iterable[T]) -> Page[T]:
    """All there is."""
    return Page(items=tuple(items))
