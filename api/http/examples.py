"""Examples of the OpenAPI document: one story, of a guestbook in project shop."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from twin.domain.component_type import ComponentType
from twin.domain.identity import Actor
from twin.domain.previews.config import SourceConfig
from twin.ports.provider import UNKNOWN, Change, LogLine
from twin.ports.store import Verification
from twin.service.previews.sources import PullView, SourceView
from twin.service.project_quotas import QuotasView
from twin.service.views import (
    Accepted,
    BlockView,
    BlueprintView,
    ComponentView,
    Credentials,
    CredentialView,
    DestructionView,
    EnvironmentMemberView,
    EnvironmentSummary,
    EnvironmentView,
    EventView,
    Explanation,
    LeftoverView,
    MemberView,
    OperationView,
    PersonalCredentials,
    PlanView,
    PreviewView,
    StepView,
    TargetView,
    TokenView,
)

_ID = "env_01JZX4T2M8Q3V5W7Y9A1B3C5D7"
_OPERATION = "op_01JZX4T2M8Q3V5W7Y9A1B3C5D8"
_REQUEST = "req_01JZX4T2M8Q3V5W7Y9A1B3C5D9"
_DIGEST = "9b74c9897bac770ffc029102a200c5de45b98b8f1a5c0a8a6e9dc7c0ab47e8f1"
_AT = datetime(2026, 1, 5, 9, tzinfo=UTC)
_CI = Actor("token", "ci")

NEW_ENVIRONMENT: dict[str, Any] = {
    "name": "dev",
    "tier": "dev",
    "blueprint": "guestbook@1.0.0",
    "inputs": {"replicas": 2},
    "labels": {"team": "payments"},
    "ttl": "24h",
}
SIGNALS: dict[str, Any] = {
    "scale": {"signal": "scale", "component": "app", "replicas": 3},
    "update": {"signal": "update", "blueprint": "guestbook@1.1.0", "inputs": {"greeting": "hi"}},
    "add_component": {"signal": "add_component", "component": "files", "type": "postgres.database"},
    "remove_component": {"signal": "remove_component", "component": "files"},
    "suspend": {"signal": "suspend"},
    "resume": {"signal": "resume"},
    "extend": {"signal": "extend", "ttl": "7d"},
    "protect": {"signal": "protect"},
    "unprotect": {"signal": "unprotect"},
    "retry": {"signal": "retry", "component": "db"},
    "cancel": {"signal": "cancel", "operation": _OPERATION},
    "detect_drift": {"signal": "detect_drift"},
    "destroy": {"signal": "destroy", "expect_plan": _DIGEST},
    "abandon": {"signal": "abandon", "component": "db", "reason": "the server burnt down"},
    "rotate_credentials": {"signal": "rotate_credentials", "component": "db", "grace": "1h"},
    "acknowledge_credential": {"signal": "acknowledge_credential", "component": "db", "version": 2},
    "clone": {"signal": "clone", "name": "pr-42", "tier": "preview", "ttl": "24h", "data": "masked"},
    "add_members": {
        "signal": "add_members",
        "members": [{"name": "ada@example.com", "role": "developer", "until": "8h"}],
    },
    "remove_members": {"signal": "remove_members", "names": ["ada@example.com"]},
}
NEW_TARGET: dict[str, Any] = {
    "name": "postgres/eu-prod",
    "provider": "postgres",
    "config": {"host": "db.example.com", "port": 5432, "user": "twin", "database": "postgres"},
    "credentials": {"password": "…"},
    "tiers": ["prod"],
}

PLAN = PlanView(
    digest=_DIGEST,
    steps=(
        StepView(
            key=f"db@1:apply:{_DIGEST}",
            component="db",
            verb="apply",
            target="postgres/local",
            why="is not there yet",
            state="ready",
        ),
    ),
    operation=None,
)
PREVIEWED = PlanView(
    digest=_DIGEST,
    steps=(
        StepView(
            key=f"files@1:apply:{_DIGEST}",
            component="files",
            verb="apply",
            target="pulumi/local",
            why="another blueprint",
            state="ready",
            preview=PreviewView(
                changes=(
                    Change(resource="aws:s3:Bucket files", kind="update", fields={"tags": "{} → {team: payments}"}),
                    Change(resource="aws:iam:AccessKey key", kind="create", fields={"user": UNKNOWN}),
                )
            ),
        ),
    ),
)
OPERATION = OperationView(
    id=_OPERATION,
    environment=_ID,
    signal="scale",
    arguments={"component": "app", "to": {"replicas": 3}},
    status="running",
    by=_CI,
    accepted_at=_AT,
    request_id=_REQUEST,
)
ACCEPTED = Accepted(operation=OPERATION, environment_id=_ID, project="shop", name="dev")
ENVIRONMENT = EnvironmentView(
    id=_ID,
    project="shop",
    name="dev",
    tier="dev",
    status="updating",
    summary="updating: apply app",
    version=17,
    blueprint="guestbook@1.0.0",
    inputs={"replicas": 1},
    labels={"team": "payments"},
    generation=2,
    components=(
        ComponentView(
            name="db",
            type="postgres.database",
            target="postgres/local",
            incarnation=1,
            state="applied",
            inputs={"connections": 20},
            applied={"connections": 20},
            external_id="tw_01jzx4t2m8q3v5w7y9a1b3c5d7_db_1",
            applied_at=_AT,
        ),
    ),
    plan=PLAN,
    conditions=(),
    operations=(OPERATION,),
    created_at=_AT,
    created_by=_CI,
    url="http://127.0.0.1:43121",
)
SUMMARY = EnvironmentSummary(
    id=_ID,
    project="shop",
    name="dev",
    tier="dev",
    status="updating",
    summary="updating: apply app",
    blueprint="guestbook@1.0.0",
    labels={"team": "payments"},
    created_at=_AT,
    updated_at=_AT,
    url="http://127.0.0.1:43121",
)
EVENT = EventView(
    id="WyJlIiwwLDQyLCJlbnZfMDFKWlg0VDJNOFEzVjVXN1k5QTFCM0M1RDciLDE3XQ",
    environment=_ID,
    project="shop",
    name="dev",
    tier="dev",
    seq=17,
    at=_AT,
    actor=_CI,
    type="operation_accepted",
    summary="scale accepted (component=app, to={'replicas': 3})",
    request_id=_REQUEST,
    operation_id=_OPERATION,
)
WHY = Explanation(
    environment=_ID,
    component="app",
    incarnation=1,
    external_id="tw_01jzx4t2m8q3v5w7y9a1b3c5d7_app_1",
    last_step=EVENT,
    operations=(OPERATION,),
    events=(EVENT,),
    summary=f"app: last apply at 2026-01-05 09:00:07 UTC because of scale by token:ci (request {_REQUEST})",
)
LOG_LINE = LogLine(source="app/1", text="listening on 43121", at=_AT)
CREDENTIALS = Credentials(environment=_ID, component="app", variables={"DATABASE_URL": "postgresql://…"})
DESTRUCTION = DestructionView(
    environment=_ID,
    project="shop",
    name="dev",
    status="destroying",
    leftovers=(
        LeftoverView(
            target="postgres/eu",
            kind="postgres.role",
            external_id="tw_01jzx4t2m8_db_1",
            owner="platform",
            removal="psql -h db.eu -U twin -d postgres -c 'DROP ROLE \"tw_01jzx4t2m8_db_1\"'",
            mend="Remove what is left: psql -h db.eu -U twin -d postgres -c 'DROP ROLE \"tw_01jzx4t2m8_db_1\"'; "
            "then: twin retry shop/dev",
        ),
    ),
)
MEMBER = MemberView(name="ada@example.com", role="developer", until=_AT)
ENVIRONMENT_MEMBER = EnvironmentMemberView(
    name="ada@example.com", role="developer", of="project", access={"db": "granted", "cache": "pending"}
)
PERSONAL_CREDENTIALS = PersonalCredentials(
    environment=_ID,
    person="ada@example.com",
    role="developer",
    variables={"DB_URL": "postgresql://…", "PGPASSWORD": "…"},
)
RETIRED_CREDENTIAL = CredentialView(
    component="db", version=1, state="retired", issued_at=_AT, superseded_at=_AT, retired_at=_AT
)
OLD_CREDENTIAL = CredentialView(
    component="db",
    version=2,
    state="retiring",
    issued_at=_AT,
    superseded_at=_AT,
    retires_at=_AT,
    used_by=("app",),
)
CREDENTIAL = CredentialView(component="db", version=3, state="current", issued_at=_AT)
BLOCK = BlockView(
    key="postgres/local/createdb",
    owner="platform",
    message='role "twin" may not create databases (42501)',
    mend="ALTER ROLE twin CREATEDB",
    raised_at=_AT,
    waiting=3,
    environments=("shop/dev", "shop/pr-1", "shop/pr-2"),
)
BLUEPRINT = BlueprintView(
    name="guestbook",
    version="1.0.0",
    description="A database, a cache, a queue and an app that uses them",
    bundle=_DIGEST,
    published_at=_AT,
    published_by=_CI,
    inputs={"properties": {"replicas": {"type": "integer", "minimum": 1, "maximum": 5, "default": 1}}},
    components={"db": "postgres.database", "app": "process.service"},
    document={"apiVersion": "twin/v1", "kind": "Blueprint", "metadata": {"name": "guestbook", "version": "1.0.0"}},
)
TARGET = TargetView(
    name="postgres/eu-prod",
    provider="postgres",
    config={"host": "db.example.com", "port": 5432, "user": "twin", "database": "postgres"},
    credentials=("password",),
    projects=(),
    tiers=("prod",),
    default=True,
    concurrency=4,
    rate=0,
)
TOKEN = TokenView(name="ci", roles=(("shop", "developer"),), created_at=_AT, expires_at=_AT + timedelta(days=30))
TYPE = ComponentType(
    name="postgres.database",
    provider="postgres",
    schema={
        "type": "object",
        "properties": {"connections": {"type": "integer", "minimum": 1, "default": 20, "x-scalable": True}},
    },
    secrets=("url",),
    outputs=("host",),
    minted=("password",),
    stateful=True,
)
VERIFICATION = Verification(entities=12, events=345, heads={_ID: _DIGEST})

NEW_SOURCE: dict[str, Any] = {
    "forge": "github/main",
    "repository": "acme/guestbook",
    "project": "shop",
    "blueprint": "guestbook",
    "inputs": {"greeting": "pull request ${pr.number}"},
    "ttl": "3d",
}
PULL = PullView(
    number=42,
    status="ready",
    title="Greet by name",
    author="ada",
    commit="9fceb02d0ae598e95dc970b74767f19372d61af8",
    link="https://github.com/acme/guestbook/pull/42",
    environment="shop/pr-42",
    url="https://pr-42--shop.preview.example.com",
)
QUOTAS = QuotasView(project="shop", max_environments=20, tiers={"preview": 5}, living={"dev": 3, "preview": 2})
SOURCE = SourceView(
    name="guestbook",
    status="ready",
    config=SourceConfig(
        forge="github/main",
        repository="acme/guestbook",
        project="shop",
        blueprint="guestbook",
        inputs={"greeting": "pull request ${pr.number}"},
        ttl=259_200.0,
    ),
    live=("pr_guestbook_42",),
)
