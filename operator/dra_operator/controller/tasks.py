"""Tasks that run as long as the controller does: one that fails is told of at once, and by the liveness probe.

Nobody awaits them, so that without this the end of a reflector, say, would show only in what does not happen any more.
A probe has the process started anew; where none asks, on a laptop, the log is all there is.

Upstream: client-go's `utilruntime.HandleCrash`, which logs a panic of a goroutine and lets the process end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any

import structlog

log = structlog.get_logger()


def start_task(work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    """A task whose failure is logged."""
    task = asyncio.get_running_loop().create_task(work)
    task.add_done_callback(_tell)
    return task


def _tell(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("a task has failed; nothing does its work any more", task=_name(task), exc_info=error)


def find_ended(tasks: Iterable[asyncio.Task[None]]) -> str | None:
    """The first that has failed, or was cancelled although it is still wanted, and why."""
    for task in tasks:
        if task.done() and (task.cancelled() or task.exception() is not None):
            why = "cancelled" if task.cancelled() else repr(task.exception())
            return f"a task has ended: {_name(task)}: {why}"
    return None


def _name(task: asyncio.Task[None]) -> str:
    return getattr(task.get_coro(), "__qualname__", task.get_name())
