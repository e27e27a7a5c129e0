"""How a person removes what an inventory found: with the CLI on a worker, given the target's passphrase and credentials
in the environment (PULUMI_CONFIG_PASSPHRASE, PGPASSWORD for a backend in PostgreSQL, those of the programs)."""

from __future__ import annotations

import shlex

from providers.pulumi.layout import Layout
from providers.pulumi.spec import Config, backend_url

_STACK = "organization/twin/"
"""How the CLI calls a stack of the twin's one project where no Pulumi.yaml lies."""


def removal(settings: Config, layout: Layout, stack: str, urn: str | None = None) -> str:
    """The command that destroys all that is in the stack, and then the stack itself; or one resource of it."""
    what = ["--remove"] if urn is None else ["--target", urn, "--target-dependents"]
    variables = {
        **settings.env,
        "PULUMI_HOME": str(layout.plugins),
        "PULUMI_BACKEND_URL": backend_url(settings, {}),
    }
    place = [f"{name}={shlex.quote(value)}" for name, value in variables.items()]
    path = f'PATH={shlex.quote(str(layout.bin))}:"$PATH"'
    return " ".join([*place, path, shlex.join(["pulumi", "destroy", "--yes", "--stack", _STACK + stack, *what])])
