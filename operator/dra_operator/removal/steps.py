"""How the operator is taken out: steps in order, each of them a look at the cluster and what that look asks for.

A step finds its tasks from the cluster as it stands, performs them, and looks again until there is nothing left to do.
So nothing has to be remembered: whoever was interrupted starts again, and goes on where the cluster says it stopped.

The order keeps every state on the way a good one: first nothing new is gated, then nobody of ours decides, then claims
and pods are handed over, and only then what they needed of us goes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from dra_operator.cluster.http import ApiClient, ApiError
from dra_operator.query.doctor.facts import Facts
from dra_operator.query.doctor.findings import NotChecked

_FORBIDDEN: Final = 403
_ROUNDS: Final = 20
_PAUSE: Final = 0.2


class RemovalRefused(Exception):
    """It cannot go on; the message says why, and what to do first. What was done stays done."""


class Agents(StrEnum):
    """What becomes of the node agents and their slices (`--agents`)."""

    AUTO = "auto"
    """They stay as long as a claim holds a device of theirs: the kubelet needs them to end such a pod."""
    REMOVE = "remove"
    KEEP = "keep"


@dataclass(frozen=True, slots=True)
class Task:
    """One write."""

    what: str
    do: Callable[[], Awaitable[object]]


@dataclass(slots=True)
class Removal:
    """One run: where, and what was learnt on the way."""

    client: ApiClient
    namespace: str
    lease_name: str
    agents: Agents
    now: Callable[[], float]
    patience: float = 60.0
    """Seconds to wait for what others do: pods that end, a Lease that is given back."""
    at_once: int = 16
    """Writes side by side."""
    remarks: dict[str, None] = field(default_factory=dict)
    """What the caller should know in the end, each once."""

    def look(self) -> Facts:
        """The cluster as it is now."""
        return Facts(self.client, now=self.now, namespace=self.namespace, lease_name=self.lease_name)

    def remark(self, text: str) -> None:
        self.remarks[text] = None


@dataclass(frozen=True, slots=True)
class Step:
    title: str
    find: Callable[[Removal, Facts], Awaitable[Sequence[Task]]]
    settle: Callable[[Removal], Awaitable[None]] | None = None
    """Waits until what was done has taken effect."""


async def plan(removal: Removal, steps: Sequence[Step]) -> list[tuple[str, list[str]]]:
    """What each step would do now; writes nothing."""
    facts = removal.look()
    return [(step.title, [task.what for task in await _find(step, removal, facts)]) for step in steps]


async def perform(
    removal: Removal,
    steps: Sequence[Step],
    say: Callable[[str], None],
    done: Callable[[Task], None] = lambda task: None,
) -> None:
    """Perform all steps. `done` is told of every task. Raises `RemovalRefused`."""
    loop = asyncio.get_running_loop()
    for step in steps:
        deadline, rounds = loop.time() + removal.patience, 0
        while tasks := await _find(step, removal, removal.look()):
            rounds += 1
            if rounds > _ROUNDS and loop.time() > deadline:
                raise RemovalRefused(f"{step.title}: there is always more to do; somebody else undoes it")
            say(f"{step.title}: {len(tasks)}")
            for start in range(0, len(tasks), removal.at_once):
                await _together([_do(task, done) for task in tasks[start : start + removal.at_once]])
            await asyncio.sleep(_PAUSE)
        if step.settle is not None:
            await step.settle(removal)


async def _find(step: Step, removal: Removal, facts: Facts) -> Sequence[Task]:
    try:
        return await step.find(removal, facts)
    except NotChecked as error:
        raise RemovalRefused(f"{step.title}: {error}; uninstall needs the rights of an admin") from None


async def _together(writes: Sequence[Coroutine[Any, Any, None]]) -> None:
    """Side by side; the first that fails ends the others, and is what is raised."""
    try:
        async with asyncio.TaskGroup() as group:
            for write in writes:
                group.create_task(write)
    except BaseExceptionGroup as failed:
        raise failed.exceptions[0] from None


async def _do(task: Task, done: Callable[[Task], None]) -> None:
    try:
        await task.do()
    except ApiError as error:
        if error.status == _FORBIDDEN:
            raise RemovalRefused(f"{task.what}: {error.message}") from None
        if error.status not in (404, 409):  # gone, or changed meanwhile: the next look decides anew
            raise
    done(task)


async def wait_for(removal: Removal, condition: Callable[[Facts], Awaitable[bool]], otherwise: str) -> None:
    """Until the cluster is so. Raises `RemovalRefused` with `otherwise`."""
    deadline = asyncio.get_running_loop().time() + removal.patience
    while not await condition(removal.look()):
        if asyncio.get_running_loop().time() > deadline:
            raise RemovalRefused(otherwise)
        await asyncio.sleep(_PAUSE)
