"""Replicas: found again, replaced one by one, scaled, stopped for good."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import psutil
import pytest

from providers.process.provider import ProcessProvider
from tests.providers.process_world import apps, ask, environments, open_provider, processes, step, supervisors
from tests.waiting import soon
from twin.domain.errors import Terminal, Transient
from twin.domain.identity import ComponentRef
from twin.testing.steps import make_ref


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "target"


@pytest.fixture
async def provider(directory: Path) -> AsyncIterator[ProcessProvider]:
    provider = open_provider(directory)
    yield provider
    await provider.close()


@pytest.fixture
async def ref(provider: ProcessProvider) -> AsyncIterator[ComponentRef]:
    ref = make_ref("app", type="process.service")
    yield ref
    await provider.remove(ref, step({"stop_grace": 0}))
    assert processes(ref.name) == []


async def test_a_killed_replica_is_drift_with_its_exit_code_and_comes_back_on_its_port(
    provider: ProcessProvider, ref: ComponentRef
) -> None:
    inputs = {"replicas": 2}
    before = await provider.apply(ref, step(inputs))
    victim = next(app for app in apps(ref.name) if app.environ()["REPLICA"] == "1")
    supervisor = next(one for one in supervisors(ref.name) if one.pid == victim.ppid())
    victim.kill()
    supervisor.wait(5)  # it records the exit code, then it ends
    observed = await provider.observe(ref, inputs)
    assert observed is not None
    assert observed.drift == {"replicas": "1 of 2 run; replica 1 exited with 137"}
    assert observed.outputs == before.outputs, "the address is remembered"
    after = await provider.apply(ref, step(inputs))
    assert after.outputs == before.outputs
    assert len(apps(ref.name)) == 2


async def test_replicas_outlive_the_worker_and_the_next_one_finds_them(
    provider: ProcessProvider, ref: ComponentRef, directory: Path
) -> None:
    before = await provider.apply(ref, step({}))
    pid = ask(before.outputs["url"])["pid"]
    after = await open_provider(directory).apply(ref, step({}))
    assert ask(after.outputs["url"])["pid"] == pid
    assert os.getpid() not in [parent.pid for parent in psutil.Process(pid).parents()], "it is no child of the worker"


async def test_sigterm_ignored_ends_with_sigkill_of_the_group(provider: ProcessProvider, ref: ComponentRef) -> None:
    inputs = {
        "command": ["sh", "-c", "trap '' TERM; (trap '' TERM; exec sleep 1000) & exec python -I -S app.py"],
        "env": {"MODE": "deaf"},
        "stop_grace": 0.3,
    }
    await provider.apply(ref, step(inputs))
    assert len(processes(ref.name)) == 3, "supervisor, app and the app's child"
    await provider.remove(ref, step(inputs))
    assert processes(ref.name) == []
    assert [resource async for resource in provider.owned(ref.environment)] == []


async def test_scaling_keeps_the_replicas_that_stay(provider: ProcessProvider, ref: ComponentRef) -> None:
    one = await provider.apply(ref, step({"replicas": 1}))
    pid = ask(one.outputs["url"])["pid"]
    three = await provider.apply(ref, step({"replicas": 3}))
    assert [ask(url)["env"]["REPLICA"] for url in three.outputs["urls"]] == ["0", "1", "2"]
    assert ask(three.outputs["url"])["pid"] == pid
    again = await provider.apply(ref, step({"replicas": 1}))
    assert again.outputs == one.outputs
    assert [app.pid for app in apps(ref.name)] == [pid]
    none = await provider.apply(ref, step({"replicas": 0}))
    assert none.outputs["urls"] == []
    assert processes(ref.name) == []


async def test_a_rolling_change_always_serves(provider: ProcessProvider, ref: ComponentRef) -> None:
    old = await provider.apply(ref, step({"replicas": 2, "env": {"VERSION": "1"}}))
    answers: list[str] = []
    over = threading.Event()

    def customer(urls: list[str]) -> None:
        while not over.is_set():
            served = False
            for url in urls:
                try:
                    answers.append(ask(url)["env"]["VERSION"])
                    served = True
                except httpx.TransportError:
                    pass
            if not served:  # of the old replicas none is left: then every new one must answer already
                ports = [each["PORT"] for each in environments(ref.name) if each["VERSION"] == "2"]
                answers.extend(ask(f"http://127.0.0.1:{port}")["env"]["VERSION"] for port in ports)
                return

    watching = asyncio.create_task(asyncio.to_thread(customer, old.outputs["urls"]))
    try:
        new = await provider.apply(ref, step({"replicas": 2, "env": {"VERSION": "2"}}))
    finally:
        over.set()
        await watching
    assert answers == ["1"] * (len(answers) - 2) + ["2", "2"] or set(answers) == {"1"}
    assert [ask(url)["env"]["VERSION"] for url in new.outputs["urls"]] == ["2", "2"]
    assert len(apps(ref.name)) == 2


async def test_a_version_that_never_gets_healthy_leaves_the_old_one_serving(
    provider: ProcessProvider, ref: ComponentRef
) -> None:
    good = {"replicas": 2, "env": {"VERSION": "1"}, "stop_grace": 1}
    old = await provider.apply(ref, step(good))
    pids = {app.pid for app in apps(ref.name)}
    with pytest.raises(Transient, match=r"health\.deadline.*answers 500"):
        await provider.apply(ref, step({**good, "env": {"MODE": "sick"}, "health": {"deadline": 0.5}}))
    with pytest.raises(Terminal, match="exit code 3") as failure:
        await provider.apply(ref, step({**good, "env": {"MODE": "exit", "SECRET": "s3cr3t-planted"}}))
    assert failure.value.field == "command"
    assert "cannot start with •••" in failure.value.message
    assert {app.pid for app in apps(ref.name)} == pids
    assert [ask(url)["env"]["VERSION"] for url in old.outputs["urls"]] == ["1", "1"]
    observed = await provider.observe(ref, good)
    assert observed is not None
    assert observed.drift == {}


async def test_a_hung_replica_is_drift_and_is_replaced(
    provider: ProcessProvider, ref: ComponentRef, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("providers.process.health.ONE_CHECK", 0.3)
    monkeypatch.setattr("providers.process.replicas.ANSWERS_WITHIN", 0.3)
    inputs = {"stop_grace": 0, "health": {"deadline": 2}}
    await provider.apply(ref, step(inputs))
    (hung,) = apps(ref.name)
    hung.suspend()
    observed = await provider.observe(ref, inputs)
    assert observed is not None
    assert "replica 0: GET" in observed.drift["health"]
    applied = await provider.apply(ref, step(inputs))
    assert ask(applied.outputs["url"])["pid"] != hung.pid


async def test_a_command_that_is_not_there_is_the_requesters_mistake(
    provider: ProcessProvider, ref: ComponentRef
) -> None:
    with pytest.raises(Terminal, match="no-such-program") as failure:
        await provider.apply(ref, step({"command": ["no-such-program", "--now"]}))
    assert failure.value.field == "command"
    assert processes(ref.name) == []


async def test_an_address_that_is_taken_costs_a_retry_only(provider: ProcessProvider, ref: ComponentRef) -> None:
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        taken = stranger.getsockname()[1]
        # the first start finds its port taken, as when a stranger came between our look and the app's bind
        script = (
            f"import os, pathlib, socket, sys; seen = pathlib.Path('seen')\n"
            f"if not seen.exists(): seen.touch(); socket.create_server(('127.0.0.1', {taken}))\n"
            f"os.execvp('python', ['python', '-I', '-S', 'app.py'])"
        )
        applied = await provider.apply(ref, step({"command": ["python", "-I", "-S", "-c", script]}))
    assert ask(applied.outputs["url"])["env"]["REPLICA"] == "0"


@pytest.mark.parametrize("change", ["create", "replace", "scale"])
async def test_a_worker_killed_at_any_moment_neither_doubles_nor_orphans(
    provider: ProcessProvider, ref: ComponentRef, directory: Path, change: str
) -> None:
    wanted = {"replicas": 2, "stop_grace": 1}
    for moment in (0.03, 0.08, 0.15, 0.25, 0.4):
        if change == "replace":
            await provider.apply(ref, step({**wanted, "env": {"VERSION": f"before {moment}"}}))
        elif change == "scale":
            await provider.apply(ref, step({**wanted, "replicas": 4}))
        arguments = [str(directory), ref.environment, str(moment), json.dumps(wanted)]
        worker = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-m", "tests.providers.process_driver", *arguments],
            capture_output=True,
        )
        assert worker.returncode in (0, -signal.SIGALRM), worker.stderr.decode()
        applied = await provider.apply(ref, step(wanted))
        pids = {ask(url)["pid"] for url in applied.outputs["urls"]}
        assert len(pids) == 2
        assert {app.pid for app in apps(ref.name)} == pids, f"killed after {moment} s: exactly two run"
        assert len(supervisors(ref.name)) == 2
        if change == "create":
            await provider.remove(ref, step(wanted))
            assert processes(ref.name) == []


async def test_suspended_stops_all_and_apply_brings_back_the_same_addresses(
    provider: ProcessProvider, ref: ComponentRef
) -> None:
    inputs = {"replicas": 2}
    before = await provider.apply(ref, step(inputs))
    await provider.suspend(ref, step(inputs))
    assert processes(ref.name) == []
    observed = await provider.observe(ref, inputs)
    assert observed is not None
    assert observed.drift == {}, "that nothing runs is what was asked for"
    assert (await provider.apply(ref, step(inputs))).outputs == before.outputs


def records(directory: Path) -> list[Path]:
    return list(directory.glob("environments/*/*/slots/*"))


async def test_what_the_inventory_finds_goes_as_it_says(provider: ProcessProvider, ref: ComponentRef) -> None:
    await provider.apply(ref, step({"replicas": 1}))
    found = [each async for each in provider.owned(ref.environment)]
    assert {each.kind for each in found} == {"process", "directory"}
    for each in found:  # a supervisor may take its replica with it
        here, _, command = each.removal.partition(": ")
        assert here == f"on {socket.gethostname()}"
        await asyncio.to_thread(subprocess.run, command, shell=True, capture_output=True, check=False)

    async def gone() -> bool:
        return [each async for each in provider.owned(ref.environment)] == []

    await soon(gone)


async def test_lost_records_lose_no_process(provider: ProcessProvider, ref: ComponentRef, directory: Path) -> None:
    await provider.apply(ref, step({"replicas": 2}))
    for record in records(directory):
        record.unlink()
    inventory = [resource.kind async for resource in provider.owned(ref.environment)]
    assert inventory.count("process") == 4
    applied = await provider.apply(ref, step({"replicas": 2}))
    assert {ask(url)["pid"] for url in applied.outputs["urls"]} == {app.pid for app in apps(ref.name)}
