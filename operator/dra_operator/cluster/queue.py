"""A work queue of keys: coalescing, delayed, with backoff per key, highest priority first and then oldest.

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
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

K = TypeVar("K", bound=Hashable)

_BACKOFF_MIN: Final = 0.02
_BACKOFF_MAX: Final = 30.0
_DOUBLINGS_MAX: Final = 20
"""More reach the maximum anyway; without an end the power would overflow."""


@dataclass(slots=True)
class _Entry(Generic[K]):
    key: K
    due: float
    priority: int
    age: int
    """Order of the first add since it was last handed out."""


@dataclass(order=True, slots=True)
class _Ready(Generic[K]):
    rank: tuple[int, int]
    entry: _Entry[K] = field(compare=False)


class WorkQueue(Generic[K]):
    """See the module. One event loop, one consumer of `get` (more would work, and are not needed)."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._entries: dict[K, _Entry[K]] = {}
        self._ready: list[_Ready[K]] = []
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

    def add(self, key: K, *, after: float = 0.0, priority: int = 0) -> None:
        """The key has to be worked on, `after` so many seconds."""
        due = asyncio.get_running_loop().time() + after
        entry = self._entries.get(key)
        if entry is None:
            self.adds += 1
            entry = self._entries[key] = _Entry(key, due, priority, next(self._ages))
        elif due >= entry.due and priority <= entry.priority:
            return
        else:
            entry = self._entries[key] = _Entry(key, min(due, entry.due), max(priority, entry.priority), entry.age)
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

    async def get(self) -> K:
        """The due key of the highest priority, then the oldest. To be followed by `done`."""
        while True:
            while self._ready:
                entry = heapq.heappop(self._ready).entry
                if self._entries.get(entry.key) is entry:
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
        heapq.heappush(self._ready, _Ready((-entry.priority, entry.age), entry))
        self._available.set()
