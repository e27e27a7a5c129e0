"""Reading a repository's file where no thread may be: on loops whose time is made up."""

from __future__ import annotations

from typing import Any

from twin.service.previews.repository_file import read


async def read_here(content: bytes) -> Any:
    """See `twin.service.previews.repository_file.read_aside`."""
    return read(content)
