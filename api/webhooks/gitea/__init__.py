"""Webhooks of Gitea and Forgejo."""

from __future__ import annotations

from api.webhooks.form import Form, HexSignature
from api.webhooks.gitea.translate import translate

FORM = Form(
    event="x-gitea-event",
    delivery="x-gitea-delivery",
    signature=HexSignature(header="x-gitea-signature"),
    kept=("x-gitea-event-type",),
    translate=translate,
)
