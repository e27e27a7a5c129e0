"""GitHub's webhooks."""

from __future__ import annotations

from api.webhooks.form import Form, HexSignature
from api.webhooks.github.translate import translate

FORM = Form(
    event="x-github-event",
    delivery="x-github-delivery",
    signature=HexSignature(header="x-hub-signature-256", prefix="sha256="),
    kept=("x-github-hook-id", "x-github-hook-installation-target-id"),
    translate=translate,
)
