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
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any, TypeVar

from tests.virtual_loop import SPIN_LIMIT, Stuck, VirtualLoop

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
    """A callback of a process, or of nobody. Made without what asyncio looks up for each: a seed makes thousands."""

    __slots__ = ("process",)

    def __init__(self, callback: Any, args: Any, loop: asyncio.AbstractEventLoop, context: Context | None) -> None:
        self._context = contextvars.copy_context() if context is None else context
        self._loop = loop
        self._callback = callback
        self._args = args
        self._cancelled = False
        self._repr = self._source_traceback = None
        self.process: Process | None = self._context.get(CURRENT)

    def run(self) -> None:
        process = self.process
        if self._cancelled:
            return
        if process is not None and process.paused:
            process.hold(self)
        else:
            self._run()


class _Timer(_Handle):
    """As `asyncio.TimerHandle`, of which only `when` and `cancel` are used."""

    __slots__ = ("_when",)

    def __init__(
        self, when: float, callback: Any, args: Any, loop: asyncio.AbstractEventLoop, context: Context | None
    ) -> None:
        super().__init__(callback, args, loop, context)
        self._when = when

    def when(self) -> float:
        return self._when


class ProcessLoop(VirtualLoop):
    """A virtual loop that knows whose each callback is. Timers of one moment fire in the order of their setting."""

    def __init__(self) -> None:
        super().__init__()
        self._started = 0
        self._set = 0
        self._timers: list[tuple[float, int, _Timer]] = []
        self._spins = 0
        self.set_task_factory(_adopted)

    def next_task_name(self) -> str:
        self._started += 1
        return f"Task-{self._started}"

    def call_soon(  # type: ignore[override]
        self, callback: Any, *args: Any, context: Context | None = None
    ) -> events.Handle:
        return self._call_soon(callback, args, context)

    def _call_soon(self, callback: Any, args: Any, context: Context | None) -> events.Handle:
        """What `call_soon` and its like of asyncio's own end in."""
        handle = _Handle(callback, args, self, context)
        self._ready.append(handle)  # type: ignore[attr-defined]
        return handle

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        timer = _Timer(when, callback, args, self, context)
        self._set += 1
        heapq.heappush(self._timers, (when, self._set, timer))
        return timer  # type: ignore[return-value]

    def _run_once(self) -> None:
        """One turn, as asyncio's, without a selector: nothing outside the process is waited for."""
        ready: deque[_Handle] = self._ready  # type: ignore[attr-defined]
        timers = self._timers
        while timers and timers[0][2]._cancelled:
            heapq.heappop(timers)
        if ready or self._stopping:  # type: ignore[attr-defined]
            self._spins += 1
            if self._spins > SPIN_LIMIT:
                raise Stuck(f"the loop spins at {self.now:.3f} s")
        elif timers:
            self._spins = 0
            self.now = max(self.now, timers[0][0])
        else:
            raise Stuck(f"all wait and no timer is set, at {self.now:.3f} s")
        while timers and timers[0][0] <= self.now:
            ready.append(heapq.heappop(timers)[2])
        for _ in range(len(ready)):
            ready.popleft().run()


def _adopted(loop: asyncio.AbstractEventLoop, work: Any, context: Context | None = None) -> asyncio.Task[Any]:
    task = asyncio.Task(work, loop=loop, context=context)
    assert isinstance(loop, ProcessLoop)
    task.set_name(loop.next_task_name())  # in the order of their start: sets of tasks have none
    process = CURRENT.get() if context is None else context.get(CURRENT)
    if process is not None:
        process.adopt(task)
    return task
