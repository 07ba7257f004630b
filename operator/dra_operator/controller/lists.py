"""Lists are taken in by and by, and nothing is decided meanwhile.

A list of 20,000 claims takes half a second to take in, and the Lease and the probes are served by the same loop. So
others have their turn every few milliseconds. What they must not do is decide: half a list is no state that the cluster
was ever in, and an allocation may look like the only one on its device because the other comes later in the list. The
loop of decisions waits for `ended`; events, answers to writes and timers do not.

A list that is broken off, because its task was cancelled or failed, is never taken for ended: nothing is decided by
what is known in part. A process stops then, or its liveness probe ends it.

Upstream: none. DeltaFIFO of client-go holds its lock for as long as `Replace` takes, and kube-scheduler may decide
between two of the events that follow.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from dra_operator.controller.tasks import start_task
from dra_operator.lifecycle.keys import Ref, in_order

TURN_SECONDS: Final = 0.01
"""Taken in before others have their turn."""
_MARKED_AT_ONCE: Final = 500


async def _others_turn() -> None:
    await asyncio.sleep(0)


def _marking(dirty: set[Ref], mark: Callable[[Iterable[Ref]], None]) -> Iterator[None]:
    """Some at a time: a queue takes in tens of thousands in tenths of a second."""
    refs = sorted(dirty, key=in_order)
    yield
    for start in range(0, len(refs), _MARKED_AT_ONCE):
        mark(refs[start : start + _MARKED_AT_ONCE])
        yield


@dataclass(slots=True)
class Lists:
    """See the module. `clock` is seconds, `turn` gives others theirs."""

    clock: Callable[[], float] = time.perf_counter
    turn_seconds: float = TURN_SECONDS
    turn: Callable[[], Awaitable[None]] = _others_turn
    _under_way: int = 0
    _ended: asyncio.Event = field(default_factory=asyncio.Event)
    _begun: set[asyncio.Task[None]] = field(default_factory=set)

    async def take_in(self, pieces: Iterable[Iterable[Ref]], mark: Callable[[Iterable[Ref]], None]) -> None:
        """Drive `pieces` to their end, then `mark` what they return: many of them may return the same pods."""
        self._under_way += 1
        await self._drive(pieces, mark)

    def begin(self, pieces: Iterable[Iterable[Ref]], mark: Callable[[Iterable[Ref]], None]) -> None:
        """The same for one event that may change as much as a list does, where there is nobody to wait for it."""
        self._under_way += 1
        task = start_task(self._drive(pieces, mark))
        self._begun.add(task)
        task.add_done_callback(self._begun.discard)

    async def _drive(self, pieces: Iterable[Iterable[Ref]], mark: Callable[[Iterable[Ref]], None]) -> None:
        turn_ends = self.clock() + self.turn_seconds
        dirty: set[Ref] = set()
        for _ in itertools.chain(map(dirty.update, pieces), _marking(dirty, mark)):
            if self.clock() >= turn_ends:
                await self.turn()
                turn_ends = self.clock() + self.turn_seconds
        self._under_way -= 1  # not in a `finally`: see the module
        self._ended.set()

    async def ended(self) -> None:
        """Wait until no list is being taken in."""
        while self._under_way:
            self._ended.clear()
            await self._ended.wait()
