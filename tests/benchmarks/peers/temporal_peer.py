# ruff: noqa: ASYNC220 - the server is started before anything is measured
"""Temporal's dev server on a file: an entity is a workflow, a signal an update of it that runs one activity.

The worker and the caller share this process. `--local` takes a local activity, which writes less.
"""

from __future__ import annotations

import asyncio
import subprocess
from datetime import timedelta

from arguments import answer, measured, parser
from ports import free_port
from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

QUEUE = "bench"
SOON = timedelta(seconds=30)
LOCAL = False


@activity.defn
async def act(number: int) -> int:
    """The no-op step."""
    return number


@workflow.defn
class Entity:
    """Its state is a number; its history Temporal's."""

    def __init__(self) -> None:
        self.number = 0
        self.lock = asyncio.Lock()

    @workflow.run
    async def run(self) -> None:
        """Until the history is long enough to begin anew."""
        await workflow.wait_condition(workflow.info().is_continue_as_new_suggested)
        await workflow.wait_condition(workflow.all_handlers_finished)
        workflow.continue_as_new()

    @workflow.update
    async def receive(self) -> int:
        """A signal, to its result; one at a time."""
        async with self.lock:
            run = workflow.execute_local_activity if LOCAL else workflow.execute_activity
            self.number = await run(act, self.number + 1, start_to_close_timeout=SOON)
            return self.number


async def connected(address: str) -> Client:
    for _ in range(200):
        try:
            return await Client.connect(address)
        except RuntimeError:
            await asyncio.sleep(0.1)
    raise RuntimeError("the server does not answer")


async def main() -> None:
    global LOCAL
    arguments = parser()
    arguments.add_argument("--server", required=True)
    arguments.add_argument("--local", action="store_true")
    told = arguments.parse_args()
    LOCAL = told.local
    port = free_port()
    with (told.directory / "temporal.log").open("wb") as log:
        server = subprocess.Popen(
            [
                *(told.server, "server", "start-dev", "--headless", "--ip", "127.0.0.1", "--port", str(port)),
                *("--db-filename", str(told.directory / "temporal.db"), "--log-level", "error"),
            ],
            stdout=log,
            stderr=log,
        )
    try:
        client = await connected(f"127.0.0.1:{port}")
        worker = Worker(
            client,
            task_queue=QUEUE,
            workflows=[Entity],
            activities=[act],
            workflow_runner=UnsandboxedWorkflowRunner(),
            max_cached_workflows=1000,
            max_concurrent_workflow_tasks=100,
            max_concurrent_activities=100,
            max_concurrent_local_activities=100,
        )
        async with worker:
            handles = [
                await client.start_workflow(Entity.run, id=f"entity-{entity}", task_queue=QUEUE)
                for entity in range(told.entities)
            ]
            result = await measured(lambda entity: handles[entity].execute_update(Entity.receive), told)
    finally:
        server.terminate()
        server.wait(20)
    answer(result, "temporalio")


asyncio.run(main())
