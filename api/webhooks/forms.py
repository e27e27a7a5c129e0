"""Every kind of forge that can deliver, by the first word of its targets' names."""

from __future__ import annotations

from collections.abc import Mapping

from api.webhooks import gitea, github
from api.webhooks.form import Form

FORMS: Mapping[str, Form] = {"gitea": gitea.FORM, "github": github.FORM}
