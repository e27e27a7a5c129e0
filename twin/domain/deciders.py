"""Every kind of entity there is: what a store must know to keep them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from twin.domain.decider import Decider
from twin.domain.inbox import INBOX
from twin.domain.platform import PLATFORM
from twin.domain.previews.pulls import PULL_REQUEST
from twin.domain.previews.source import PREVIEW_SOURCE
from twin.domain.project import PROJECT
from twin.domain.twin import ENVIRONMENT

DECIDERS: Mapping[str, Decider[Any, Any, Any]] = {
    each.kind: each for each in (ENVIRONMENT, INBOX, PLATFORM, PREVIEW_SOURCE, PROJECT, PULL_REQUEST)
}
