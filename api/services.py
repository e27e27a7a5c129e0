"""The use cases as one value: what every edge is given and nothing below it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from msgspec import Struct

from twin.domain.component_type import ComponentType
from twin.ports.clock import Clock
from twin.service.backups import Backups
from twin.service.blocks import Blocks
from twin.service.component_logs import ComponentLogs
from twin.service.credentials import Revealing
from twin.service.doors import Doors
from twin.service.history import History
from twin.service.inboxes import Inboxes
from twin.service.personal_access import PersonalAccess
from twin.service.previews.sources import PreviewSources
from twin.service.principals import Tokens
from twin.service.project_members import ProjectMembers
from twin.service.project_quotas import ProjectQuotas
from twin.service.publishing import Blueprints
from twin.service.refusals import Refusals
from twin.service.target_registry import Targets
from twin.service.twins import Twins
from twin.settings import Settings


class Services(Struct, frozen=True, kw_only=True):
    """Made by `api.bootstrap`. `ready` raises `Unavailable`, saying why, when the service cannot do its work."""

    twins: Twins
    history: History
    blueprints: Blueprints
    targets: Targets
    backups: Backups
    blocks: Blocks
    revealing: Revealing
    project_members: ProjectMembers
    quotas: ProjectQuotas
    preview_sources: PreviewSources
    personal_access: PersonalAccess
    doors: Doors
    logs: ComponentLogs
    inboxes: Inboxes
    tokens: Tokens
    refusals: Refusals
    types: Mapping[str, ComponentType]
    settings: Settings
    clock: Clock
    ready: Callable[[], Awaitable[None]]
