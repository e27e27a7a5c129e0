# ruff: noqa: ASYNC220 - the servers are started before anything is measured
"""Restate: its server on a directory, the service under hypercorn in a process of its own, the caller here."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from pathlib import Path

from arguments import answer, measured, parser
from http_client import Pool
from ports import free_port

numbers: Counter[int] = Counter()


def ask(url: str, body: object = None) -> bytes:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=10) as answered:
        return bytes(answered.read())


def ask_until_it_answers(url: str, body: object = None) -> bytes:
    until = time.monotonic() + 60
    while True:
        try:
            return ask(url, body)
        except OSError:
            if time.monotonic() > until:
                raise
            time.sleep(0.1)


async def main() -> None:
    arguments = parser()
    arguments.add_argument("--server", required=True)
    told = arguments.parse_args()
    ingress, admin, node, service = (free_port() for _ in range(4))
    environ = {
        **os.environ,
        "RESTATE_BASE_DIR": str(told.directory / "restate"),
        "RESTATE_NODE_NAME": "bench",
        "RESTATE_CLUSTER_NAME": "bench",
        "RESTATE_BIND_ADDRESS": f"127.0.0.1:{node}",
        "RESTATE_ADVERTISED_ADDRESS": f"http://127.0.0.1:{node}",
        "RESTATE_INGRESS__BIND_ADDRESS": f"127.0.0.1:{ingress}",
        "RESTATE_ADMIN__BIND_ADDRESS": f"127.0.0.1:{admin}",
        "RESTATE_DISABLE_TELEMETRY": "true",
        "RESTATE_LOG_FILTER": "warn",
        "DO_NOT_TRACK": "1",
    }
    processes = []
    with (told.directory / "restate.log").open("wb") as log:
        processes.append(
            subprocess.Popen(
                [sys.executable, "-m", "hypercorn", "--bind", f"127.0.0.1:{service}", "restate_service:service"],
                cwd=Path(__file__).parent,
                stdout=log,
                stderr=log,
            )
        )
        processes.append(subprocess.Popen([told.server], env=environ, stdout=log, stderr=log))
    try:
        ask_until_it_answers(f"http://127.0.0.1:{admin}/health")
        ask_until_it_answers(f"http://127.0.0.1:{admin}/deployments", {"uri": f"http://127.0.0.1:{service}"})
        async with Pool("127.0.0.1", ingress) as pool:

            async def signal(entity: int) -> None:
                numbers[entity] += 1
                status, _ = await pool.post(f"/Entity/{entity}/receive", json.dumps(numbers[entity]).encode())
                if status != 200:
                    raise RuntimeError(f"Restate answered {status}")

            result = await measured(signal, told)
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait(20)
    answer(result, "restate-sdk")


asyncio.run(main())
