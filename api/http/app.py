"""The HTTP application: every resource, and what holds for all of them."""

from __future__ import annotations

from typing import Any

from litestar import Litestar, Router
from litestar.datastructures import State
from litestar.di import Provide
from litestar.middleware import DefineMiddleware
from litestar.plugins import PluginProtocol
from litestar.plugins.core import MsgspecDIPlugin

from api.http.audit import AuditController
from api.http.authentication import BearerAuthentication
from api.http.backups import take_backup
from api.http.blocks import BlockController
from api.http.blueprints import BlueprintController
from api.http.bodies import MOST_BYTES
from api.http.credentials import acknowledge_credential, list_credentials, reveal_credentials
from api.http.document import openapi_config
from api.http.doors import DoorController
from api.http.environments import EnvironmentController, ProjectController
from api.http.events import EventController
from api.http.health import healthy, ready
from api.http.logs import read_logs
from api.http.members import (
    get_project_member,
    list_environment_members,
    list_project_members,
    remove_project_member,
    reveal_personal_credentials,
    set_project_member,
)
from api.http.operations import get_operation
from api.http.parameters import asked, expected_version, keyed, refuse_unknown
from api.http.preview_sources import PreviewSourceController
from api.http.problems import HANDLERS, REFUSALS
from api.http.quotas import get_quotas, set_quotas
from api.http.signals import send_signal
from api.http.streams import Stopping
from api.http.targets import TargetController
from api.http.tokens import create_token, list_tokens, revoke_token, who_am_i
from api.http.tracing import Tracing
from api.http.types import list_types
from api.services import Services
from api.webhooks.receiver import webhooks

_PACKING = 1024 * 1024
"""Bytes that packing may add to a folder that does not compress."""

ROUTES: list[Any] = [
    AuditController,
    BlockController,
    DoorController,
    EnvironmentController,
    EventController,
    PreviewSourceController,
    ProjectController,
    TargetController,
    acknowledge_credential,
    create_token,
    get_operation,
    get_project_member,
    get_quotas,
    healthy,
    list_credentials,
    list_environment_members,
    list_project_members,
    list_tokens,
    list_types,
    read_logs,
    ready,
    remove_project_member,
    reveal_credentials,
    reveal_personal_credentials,
    revoke_token,
    send_signal,
    set_project_member,
    set_quotas,
    take_backup,
    who_am_i,
]


class _Application(Litestar):
    """Without the plugins that Litestar has for whatever is installed: Pydantic's alone load as long as all of ours."""

    @staticmethod
    def _get_default_plugins(plugins: list[PluginProtocol]) -> list[PluginProtocol]:
        return [*plugins, MsgspecDIPlugin()]


def create_app(services: Services, stopping: Stopping | None = None) -> Litestar:
    """The application over these use cases. It opens and closes nothing: that is its caller's.

    Call `stop` of `stopping` when the service begins to stop (a server waits for its streams before it shuts the
    application down, and they would last for ever). Logs go where `twin.logs` was told to send them.
    """
    stopping = stopping or Stopping()
    bundles = Router("/", route_handlers=[BlueprintController])
    bundles.request_max_body_size = services.settings.max_bundle_bytes + _PACKING

    async def stop() -> None:
        stopping.stop()

    app = _Application(
        route_handlers=[*ROUTES, bundles, webhooks(services)],
        dependencies={
            "services": Provide(lambda: services, sync_to_thread=False),
            "stopping": Provide(lambda: stopping, sync_to_thread=False),
            "asked": Provide(asked, sync_to_thread=False),
            "keyed": Provide(keyed, sync_to_thread=False),
            "expected_version": Provide(expected_version, sync_to_thread=False),
        },
        middleware=[DefineMiddleware(BearerAuthentication, tokens=services.tokens)],
        guards=[refuse_unknown],
        exception_handlers=HANDLERS,
        openapi_config=openapi_config(),
        request_max_body_size=MOST_BYTES,
        logging_config=None,
        state=State({REFUSALS: services.refusals}),
        on_shutdown=[stop],
    )
    app.asgi_handler = Tracing(app.asgi_handler, services.clock)
    return app
