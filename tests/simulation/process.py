"""Processes on one event loop: each can stand still, or end at once, while the others and the clock go on.

What runs in the context of a process is its own: tasks, timers and callbacks that it starts inherit it. A process that
is paused (SIGSTOP, a frozen virtual machine) runs none of them until it is resumed; then they run in their order, with
a clock that has moved on. Its wall clock may be wrong by any `skew`.
"""

from __future__ import annotations

import asyncio
import contextvars
import heapq
from asyncio import events
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any, TypeVar

from tests.virtual_loop import VirtualLoop

T = TypeVar("T")

START: float = 1_800_000_000.0
"""Wall-clock time at the loop's time 0."""


class Process:
    """See the module."""

    def __init__(self, name: str, skew: float = 0.0) -> None:
        self.name = name
        self.skew = skew
        self.paused = False
        self.dead = False
        self._held: list[events.Handle] = []
        self._tasks: set[asyncio.Task[Any]] = set()
        self._context = contextvars.copy_context()
        self._context.run(CURRENT.set, self)

    def start(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Run it as a task of this process."""
        return asyncio.get_running_loop().create_task(work, context=self._context.copy())

    def adopt(self, task: asyncio.Task[Any]) -> None:
        """It was started in the context of this process."""
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def run(self, function: Callable[[], T]) -> T:
        """Call it as this process would."""
        return self._context.copy().run(function)

    def hold(self, handle: events.Handle) -> None:
        self._held.append(handle)

    def resume(self) -> None:
        self.paused = False
        held, self._held = self._held, []
        asyncio.get_running_loop()._ready.extend(held)  # type: ignore[attr-defined]

    def kill(self) -> None:
        """It is gone. What it was about to do is not done: see that nothing it sends arrives any more."""
        self.dead = True
        if self.paused:
            self.resume()
        for task in self.tasks():
            task.cancel()

    def tasks(self) -> list[asyncio.Task[Any]]:
        """All tasks of this process that have not ended."""
        return sorted(self._tasks, key=lambda task: int(task.get_name().rpartition("-")[2]))


CURRENT: contextvars.ContextVar[Process | None] = contextvars.ContextVar("process", default=None)


def wall_clock() -> float:
    """Seconds since the epoch, as the current process believes."""
    process = CURRENT.get()
    return START + asyncio.get_running_loop().time() + (process.skew if process is not None else 0.0)


class _Handle(events.Handle):
    __slots__ = ("process",)
    process: Process

    def _run(self) -> None:
        if self.process.paused:
            self.process.hold(self)
        else:
            super()._run()


class _Timer(events.TimerHandle):
    __slots__ = ("process",)
    process: Process

    def _run(self) -> None:
        if self.process.paused:
            self.process.hold(self)
        else:
            super()._run()


class ProcessLoop(VirtualLoop):
    """A virtual loop that knows whose each callback is."""

    def __init__(self) -> None:
        super().__init__()
        self._started = 0
        self.set_task_factory(_adopted)

    def next_task_name(self) -> str:
        self._started += 1
        return f"Task-{self._started}"

    def _call_soon(self, callback: Any, args: Any, context: Context | None) -> events.Handle:
        process = CURRENT.get() if context is None else context.get(CURRENT)
        handle: events.Handle
        if process is None:
            handle = events.Handle(callback, args, self, context)
        else:
            handle = _Handle(callback, args, self, context)
            handle.process = process
        self._ready.append(handle)  # type: ignore[attr-defined]
        return handle

    def call_soon(  # type: ignore[override]
        self, callback: Any, *args: Any, context: Context | None = None
    ) -> events.Handle:
        return self._call_soon(callback, args, context)

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        process = CURRENT.get() if context is None else context.get(CURRENT)
        timer: events.TimerHandle
        if process is None:
            timer = events.TimerHandle(when, callback, args, self, context)
        else:
            timer = _Timer(when, callback, args, self, context)
            timer.process = process
        heapq.heappush(self._scheduled, timer)  # type: ignore[attr-defined]
        timer._scheduled = True  # type: ignore[attr-defined]
        return timer


def _adopted(loop: asyncio.AbstractEventLoop, work: Any, context: Context | None = None) -> asyncio.Task[Any]:
    task = asyncio.Task(work, loop=loop, context=context)
    assert isinstance(loop, ProcessLoop)
    task.set_name(loop.next_task_name())  # in the order of their start: sets of tasks have none
    process = CURRENT.get() if context is None else context.get(CURRENT)
    if process is not None:
        process.adopt(task)
    return task
