"""How a person removes what an inventory found: with the command line `nats`, and by the accounts file."""

from __future__ import annotations

import shlex

import msgspec

from providers.nats.accounts import Account
from providers.nats.spec import Config
from providers.nats.users import admin


def of_account(config: Config, name: str) -> str:
    """Take its line from the file that the server reads, and have it read again: both as whoever runs the server."""
    key = msgspec.json.encode(name).decode()
    line = "".join(f"\\{sign}" if sign in "\\.*[]^$/" else sign for sign in key)
    return f"{shlex.join(['sed', '-i', f'/^{line}:/d', config.accounts_file])} && nats-server --signal reload"


def of_stream(endpoint: str, name: str, stream: str, account: Account | None) -> str:
    """Delete it as the twin's user in its account. That one's password is made from the target's credential, which is
    to stand in ADMIN_PASSWORD."""
    if account is None:
        return f"with the server stopped, delete the folder jetstream/{name}/streams/{stream} in its store_dir"
    if account.user(admin(name)) is None:
        return f"as a user of account {name}: {shlex.join(['nats', 'stream', 'rm', '--force', stream])}"
    password = f'"$(printf %s {shlex.quote(name)} | openssl dgst -sha256 -hmac "$ADMIN_PASSWORD" -r | cut -c-64)"'
    place = shlex.join(["nats", "--server", f"nats://{endpoint}", "--user", admin(name)])
    return f"{place} --password {password} {shlex.join(['stream', 'rm', '--force', stream])}"
