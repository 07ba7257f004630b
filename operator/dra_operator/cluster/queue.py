"""A work queue of keys: coalescing, delayed, with backoff per key, highest priority first, then in turn, then oldest.

How old a key is the caller says, or else the order in which keys came in. With the age of the object itself, what takes
several steps is done one after the other: the first is ready early, not all of them at the end.

Keys of one priority are handed out in turn over their flows (namespaces, say), and within a flow oldest first: a flow
with thousands of keys delays another's only key by one. Upstream's flow control calls that fair queueing. A flow
that is held keeps its keys, and the others have their turns without it.

A key is in the queue at most once. While it is being worked on it is not handed out again; what is added meanwhile
waits for `done`. The earlier of two due times and the higher of two priorities win.

A key whose work failed comes back only if it is added: `retry` says when, and leaves the adding to the caller, who may
know of a reason to wait longer.

Only the running loop's clock is used, so that it works on a virtual one.

Upstream: `workqueue.TypedRateLimitingInterface` of client-go/util/workqueue.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import random
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Final, Generic, TypeAlias, TypeVar

K = TypeVar("K", bound=Hashable)
Age: TypeAlias = tuple[float, int]

_BACKOFF_MIN: Final = 0.02
_BACKOFF_MAX: Final = 30.0
_FLOWS_MAX: Final = 10_000
_DOUBLINGS_MAX: Final = 20
"""More reach the maximum anyway; without an end the power would overflow."""


@dataclass(slots=True)
class _Entry(Generic[K]):
    key: K
    due: float
    priority: int
    flow: str
    age: Age
    """As the caller said at the first add since it was last handed out, then the order of those adds."""


@dataclass(order=True, slots=True)
class _Ready(Generic[K]):
    age: Age
    entry: _Entry[K] = field(compare=False)


class _Turns(Generic[K]):
    """The due entries: of the highest priority, flow by flow, the oldest of a flow first."""

    def __init__(self) -> None:
        self._due: dict[tuple[int, str], list[_Ready[K]]] = {}
        self._turns: list[tuple[int, int, Age, str]] = []
        """A heap of the flows that have something due: priority (negative), round, age of what came first, flow."""
        self._next: dict[tuple[int, str], int] = {}
        """The round in which a flow without anything due may be served again, where that is not now."""
        self._round: dict[int, int] = {}
        """The round that is being served, by priority."""
        self.held: set[str] = set()
        self._aside: dict[str, list[tuple[int, int, Age, str]]] = {}
        """Turns of held flows that came up."""

    def let_go(self, name: str) -> None:
        self.held.discard(name)
        for negative, round_, age, _ in self._aside.pop(name, ()):
            heapq.heappush(self._turns, (negative, max(round_, self._round.get(-negative, 0)), age, name))

    def push(self, entry: _Entry[K]) -> None:
        flow = entry.priority, entry.flow
        due = self._due.setdefault(flow, [])
        heapq.heappush(due, _Ready(entry.age, entry))
        if len(due) == 1:
            now = self._round.get(entry.priority, 0)
            heapq.heappush(self._turns, (-entry.priority, max(self._next.pop(flow, 0), now), entry.age, entry.flow))

    def pop(self, is_current: Callable[[_Entry[K]], bool]) -> _Entry[K] | None:
        """Take the entry whose turn it is; those that were replaced meanwhile are dropped. None if there is none."""
        while self._turns:
            negative, round_, _, name = self._turns[0]
            if name in self.held:
                self._aside.setdefault(name, []).append(heapq.heappop(self._turns))
                continue
            flow = -negative, name
            due = self._due[flow]
            entry = heapq.heappop(due).entry
            served = is_current(entry)
            if served:
                self._round[-negative] = round_
            if due:
                heapq.heapreplace(self._turns, (negative, round_ + served, due[0].age, name))
            else:
                heapq.heappop(self._turns)
                del self._due[flow]
                self._rest(flow, round_ + served)
            if served:
                return entry
        return None

    def _rest(self, flow: tuple[int, str], round_: int) -> None:
        """The flow has nothing due any more; it must not be served twice in a round by coming back."""
        if len(self._next) >= _FLOWS_MAX:
            self._next = {of: when for of, when in self._next.items() if when > self._round.get(of[0], 0)}
        self._next[flow] = round_


class WorkQueue(Generic[K]):
    """See the module. One event loop, one consumer of `get` (more would work, and are not needed)."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._entries: dict[K, _Entry[K]] = {}
        self._ready: _Turns[K] = _Turns()
        self._timers: dict[K, asyncio.TimerHandle] = {}
        self._working: set[K] = set()
        self._failures: dict[K, int] = {}
        self._ages = itertools.count()
        self._available = asyncio.Event()
        self.adds = 0
        """Keys that came in; adding one that already waits is not counted (`workqueue_adds_total`)."""

    def __len__(self) -> int:
        """Keys that wait, due or not."""
        return len(self._entries)

    @property
    def depth(self) -> int:
        """Keys that wait for nothing but their turn (`workqueue_depth`)."""
        return len(self._entries) - len(self._timers)

    @property
    def ready(self) -> int:
        """Keys that `get` would hand out now, one after the other."""
        held = self._ready.held
        return sum(
            key not in self._timers and key not in self._working and entry.flow not in held
            for key, entry in self._entries.items()
        )

    def add(self, key: K, *, after: float = 0.0, priority: int = 0, flow: str = "", since: float = 0.0) -> None:
        """The key has to be worked on, `after` so many seconds. `since` when its object is there: the oldest first."""
        due = asyncio.get_running_loop().time() + after
        entry = self._entries.get(key)
        if entry is None:
            self.adds += 1
            entry = self._entries[key] = _Entry(key, due, priority, flow, (since, next(self._ages)))
        elif due >= entry.due and priority <= entry.priority:
            return
        else:
            entry = _Entry(key, min(due, entry.due), max(priority, entry.priority), flow, entry.age)
            self._entries[key] = entry
        if key not in self._working:
            self._schedule(entry)

    def retry(self, key: K) -> float:
        """Seconds to wait before the key's next try; longer each time until `forget`. Adds nothing."""
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        most = min(_BACKOFF_MAX, _BACKOFF_MIN * 2.0 ** min(failures + 1, _DOUBLINGS_MAX))
        return self._rng.uniform(most / 2, most)

    def forget(self, key: K) -> None:
        """The key went well: its next failure is its first."""
        self._failures.pop(key, None)

    def hold(self, flow: str) -> None:
        """Hand out no key of this flow until it is let go."""
        self._ready.held.add(flow)

    def let_go(self, flow: str) -> None:
        """The flow has its turns again."""
        self._ready.let_go(flow)
        self._available.set()

    async def get(self) -> K:
        """The due key of the highest priority, then whose turn it is, then the oldest. To be followed by `done`."""
        while True:
            entry = self._ready.pop(lambda entry: self._entries.get(entry.key) is entry)
            if entry is not None:
                del self._entries[entry.key]
                self._working.add(entry.key)
                return entry.key
            self._available.clear()
            await self._available.wait()

    def done(self, key: K) -> None:
        """The key has been worked on; if it was added meanwhile, it is due again."""
        self._working.discard(key)
        entry = self._entries.get(key)
        if entry is not None:
            self._schedule(entry)

    def _schedule(self, entry: _Entry[K]) -> None:
        timer = self._timers.pop(entry.key, None)
        if timer is not None:
            timer.cancel()
        loop = asyncio.get_running_loop()
        if entry.due <= loop.time():
            self._make_ready(entry)
        else:
            self._timers[entry.key] = loop.call_at(entry.due, self._on_due, entry)

    def _on_due(self, entry: _Entry[K]) -> None:
        self._timers.pop(entry.key, None)
        if self._entries.get(entry.key) is entry:
            self._make_ready(entry)

    def _make_ready(self, entry: _Entry[K]) -> None:
        self._ready.push(entry)
        self._available.set()
