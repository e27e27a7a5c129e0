"""What a start sets up if it is not there yet: the vault's canary, the admin's token, the targets."""

from __future__ import annotations

import asyncio
import itertools
import os
import secrets
from collections.abc import Callable, Collection, Iterable
from pathlib import Path

import msgspec
import structlog

from twin.domain.decider import Cause
from twin.domain.errors import Invalid, Unavailable
from twin.domain.identity import TWIN
from twin.domain.platform import PLATFORM, PLATFORM_ID, Fact
from twin.domain.targets import Target
from twin.ports.provider import ProviderKind
from twin.ports.store import Store, StoredSecret, StoredToken, Tx
from twin.service.principals import Principal, Request, fresh_token, hash_of, keep_token
from twin.service.target_registry import Targets
from twin.settings import Settings
from twin.vault.aead import CHECK_PLACE, AeadVault
from twin.vault.resealing import reseal

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

START = "start-up"
"""The request id of what a start does by itself."""

PROCESS_LOCAL = "process/local"
PULUMI_LOCAL = "pulumi/local"

SYSTEM = Principal(TWIN.name, (("*", "admin"),))
_BY_TWIN = Cause(TWIN, START)


def private_directory(path: Path) -> None:
    """The data folder, for its owner only."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)


async def check_vault(store: Store, vault: AeadVault) -> None:
    """Raise `Invalid` if the vault's key is not that of this database; on the first start, remember it.

    Afterwards all that the keys open is sealed under the current one: the others can be taken out.
    """
    entity, component, version, name = CHECK_PLACE

    def check(tx: Tx) -> bytes:
        if kept := tx.secrets(entity, component):
            vault.verify_check(kept[name][1])
            return kept[name][1]
        fresh = vault.check_value()
        tx.put_secret(entity, component, version, name, fresh)
        return fresh

    canary = await store.transact(check)
    if not vault.rotating:
        return  # what opens with the only key is sealed under it: a start looks at one secret, however many there are
    count = await reseal(store, vault)
    if vault.is_current(canary) and not count:
        return
    was = StoredSecret(entity=entity, component=component, version=version, name=name, sealed=canary)
    fact = Fact(what="vault_resealed", details={"secrets": count})

    def finish(tx: Tx) -> None:
        tx.transition(PLATFORM.kind, PLATFORM_ID, fact, _BY_TWIN)
        tx.reseal(was, vault.check_value())

    await store.transact(finish)
    log.info("the vault's secrets are sealed under its current key", resealed=count)


async def ensure_token(store: Store, settings: Settings) -> bool:
    """Have an admin's token in its file; True if it was made now. The database holds its hash alone.

    A token in the file that the database does not know is taken over by one without any tokens; else it was revoked,
    and a new one takes its place.
    """
    path = settings.token_file
    kept = path.read_text().strip() if path.exists() else ""
    if kept and await store.token(hash_of(kept)) is not None:
        return False
    if kept and await store.tokens():
        log.warning("the token in the file is revoked, expired or of another database; making a new one", file=path)
        kept = ""
    fresh = not kept  # an empty file is what a start that was killed, or a full disk, has left
    token = kept or fresh_token()
    if fresh:
        # First into the file: a token that only the database knows would be nobody's.
        _write_token(path, token)

    def keep(tx: Tx) -> None:
        tx.state(PLATFORM.kind, PLATFORM_ID)  # of two processes that start at once, one finds the other's name taken
        taken = {each.name: each.hash for each in tx.tokens()}
        if hash_of(token) in taken.values():
            return
        names = itertools.chain(["admin"], (f"admin-{number}" for number in itertools.count(2)))
        name = next(each for each in names if each not in taken)
        stored = StoredToken(hash=hash_of(token), name=name, roles=(("*", "admin"),), created_at=tx.now)
        keep_token(tx, stored, _BY_TWIN)

    await store.transact(keep)
    return fresh


def _write_token(path: Path, token: str) -> None:
    beside = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(token + "\n")
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)


def wants_local(setting: str, targets: Iterable[str], forges: Collection[str]) -> bool:
    """Whether the servers of the embedded default are to run, beside these targets.

    Of itself (`auto`) if there are no others, a forge being none that anything stands on; and for who began with them,
    since environments live there.
    """
    if setting != "auto":
        return setting == "on"
    grounds = [name for name in targets if name.partition("/")[0] not in forges]
    return not grounds or any(name.endswith("/local") for name in grounds)


async def ensure_targets(
    settings: Settings,
    targets: Targets,
    kinds: dict[str, ProviderKind],
    forges: Collection[str],
    say: Callable[[str], None],
    *,
    at: str,
) -> None:
    """Targets of the settings file, and those of the embedded default with their servers running. `forges`: the kinds
    of targets that are forges; `at`: where this service is reached from this machine."""
    request = Request(SYSTEM, START)
    if settings.targets_file is not None:
        for target, credentials in read_targets(settings.targets_file):
            await targets.put(target, credentials, request)
    present = await targets.all(SYSTEM)
    if not wants_local(settings.local, [view.name for view in present], forges):
        return
    if "process" in kinds:
        await ensure_process(settings, targets, request)
    if "pulumi" in kinds and not any(view.name == PULUMI_LOCAL for view in present):
        await _ensure_pulumi(settings, targets, request)
    from providers.local import LocalServers  # clients of three kinds of servers, slow to load for whoever needs none

    servers = LocalServers(settings.local_dir)
    say("starting local servers")
    try:
        await asyncio.to_thread(servers.start)
    except (Unavailable, ImportError) as problem:
        # The service is of use without them; what needs them waits and goes on once they are there.
        log.error("local servers did not start", problem=str(problem), mend="twin doctor; twin local start")
    for target, credentials in servers.targets():
        if target.provider in kinds:
            if target.provider == "caddy":
                there = {"domain": settings.preview_domain, "twin": at}
                target = msgspec.structs.replace(target, config={**target.config, **there})
            await targets.put(target, credentials, request)


async def ensure_process(settings: Settings, targets: Targets, request: Request) -> None:
    """A target for processes in the data folder. What an admin has given it beside, such as credentials for git,
    stays."""
    present = {view.name: view.config for view in await targets.all(request.by)}
    config: dict[str, object] = {"directory": str(settings.process_dir)}
    if present.get(PROCESS_LOCAL, {}).get("directory") != config["directory"]:
        await targets.put(Target(name=PROCESS_LOCAL, provider="process", config=config), {}, request)


async def _ensure_pulumi(settings: Settings, targets: Targets, request: Request) -> None:
    """A target for Pulumi's stacks where its CLI is. Its passphrase is minted once, and the vault alone has it."""
    from providers.pulumi.client import find_cli

    if find_cli() is None:
        log.info("no target for Pulumi: it has no CLI here", mend="make tools")
        return
    config: dict[str, object] = {"directory": str(settings.pulumi_dir.absolute())}
    passphrase = {"passphrase": secrets.token_urlsafe(32)}
    await targets.put(Target(name=PULUMI_LOCAL, provider="pulumi", config=config), passphrase, request)


class _TargetEntry(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    config: dict[str, object] = {}
    credentials: dict[str, str] = {}
    projects: tuple[str, ...] = ()
    tiers: tuple[str, ...] = ()
    default: bool = True
    concurrency: int = 4
    rate: int = 0


def read_targets(path: Path) -> list[tuple[Target, dict[str, str]]]:
    """The targets of a YAML file: a list under `targets`. A credential `env:NAME` or `file:PATH` is read from there.

    Raises `Invalid` naming the file, the place and the mend.
    """
    from ruamel.yaml import YAML  # few starts read such a file
    from ruamel.yaml.error import YAMLError

    try:
        plain = YAML(typ="safe").load(path.read_text())
        entries = msgspec.convert((plain or {}).get("targets", []), list[_TargetEntry])
    except OSError as error:
        raise Invalid(f"{path} cannot be read: {error.strerror}", field="TWIN_TARGETS_FILE") from None
    except (YAMLError, msgspec.ValidationError, AttributeError) as error:
        raise Invalid(f"{path}: {error}", field="TWIN_TARGETS_FILE", mend="See docs/targets.md.") from None
    return [(_target(entry), {k: _credential(v, path) for k, v in entry.credentials.items()}) for entry in entries]


def _target(entry: _TargetEntry) -> Target:
    return Target(
        name=entry.name,
        provider=entry.name.partition("/")[0],
        config=dict(entry.config),
        projects=entry.projects,
        tiers=entry.tiers,
        default=entry.default,
        concurrency=entry.concurrency,
        rate=entry.rate,
    )


def _credential(value: str, path: Path) -> str:
    source, _, name = value.partition(":")
    if source == "env":
        if name not in os.environ:
            raise Invalid(f"{path} names the variable {name}, which is not set", field=name, mend=f"export {name}=…")
        return os.environ[name]
    if source == "file":
        try:
            return Path(name).read_text().strip()
        except OSError as error:
            raise Invalid(f"{path} names {name}: {error.strerror}", field="TWIN_TARGETS_FILE") from None
    return value
