"""Whose object is looked at next: one piece of work at a time, in a thread, and namespaces take turns.

Compiling the expressions of one claim can take ten seconds of a processor. API servers wait for ten seconds, with every
namespace. So work is in pieces of a fraction of a second; after each it is the turn of the namespace that has waited
longest. One tenant's long claims hold up that tenant's own, in the order in which they came, and nobody else's by more
than a piece for each namespace that has work.

What is not done in time is given up: nobody waits for the answer any more.

Not here: what the work is, and what is answered when it was given up.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Generator
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

T = TypeVar("T")

_SECONDS: Final = 8.0
"""Less than the webhooks' timeoutSeconds: what is answered later reaches nobody."""


class Turns:
    """See the module."""

    def __init__(self, seconds: float = _SECONDS) -> None:
        self._seconds = seconds
        self._busy = False
        self._waiting: OrderedDict[str, OrderedDict[asyncio.Future[None], None]] = OrderedDict()
        """By namespace, the one whose turn is next first; in it, in the order in which they came."""

    @property
    def waiting(self) -> int:
        """Those whose turn it is not."""
        return sum(map(len, self._waiting.values()))

    async def run(self, namespace: str, work: Generator[None, None, T]) -> T:
        """Do all of it. Raises TimeoutError if it was not done in time."""
        async with asyncio.timeout(self._seconds):
            await self._first_turn(namespace)
            while (end := await self._piece(work)) is None:
                await self._next_turn(namespace)
            self._pass_on()
            return end.result

    async def _piece(self, work: Generator[None, None, T]) -> _End[T] | None:
        piece: asyncio.Future[_End[T] | None] | None = None
        try:
            piece = asyncio.get_running_loop().run_in_executor(None, _step, work)
            return await asyncio.shield(piece)
        except BaseException:
            if piece is None:  # there is no thread to be had
                self._pass_on()
            else:
                piece.add_done_callback(self._pass_on)  # a thread cannot be stopped: the turn is over when it ends
            raise

    async def _first_turn(self, namespace: str) -> None:
        if not self._busy:
            self._busy = True
            return
        mine: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(namespace, OrderedDict())[mine] = None
        await self._called(namespace, mine)

    async def _next_turn(self, namespace: str) -> None:
        """Let others go first, but for what came later from the same namespace."""
        mine: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        queue = self._waiting.setdefault(namespace, OrderedDict())
        queue[mine] = None
        queue.move_to_end(mine, last=False)
        self._pass_on()
        await self._called(namespace, mine)

    async def _called(self, namespace: str, mine: asyncio.Future[None]) -> None:
        try:
            await mine
        except asyncio.CancelledError:
            if mine.cancelled():
                self._leave(namespace, mine)
            else:
                self._pass_on()
            raise

    def _leave(self, namespace: str, mine: asyncio.Future[None]) -> None:
        """Who gives up costs nobody a turn, least of all the next of the same namespace."""
        queue = self._waiting.get(namespace, OrderedDict())
        queue.pop(mine, None)
        if not queue:
            self._waiting.pop(namespace, None)

    def _pass_on(self, _ended: object = None) -> None:
        """To the first that has not given up."""
        while self._waiting:
            namespace, queue = self._waiting.popitem(last=False)
            while queue:
                mine, _ = queue.popitem(last=False)
                if mine.done():  # given up a moment ago
                    continue
                if queue:
                    self._waiting[namespace] = queue
                mine.set_result(None)
                return
        self._busy = False


@dataclass(frozen=True, slots=True)
class _End(Generic[T]):
    result: T


def _step(work: Generator[None, None, T]) -> _End[T] | None:
    """The end, or None if there is more to do."""
    try:
        next(work)
    except StopIteration as end:
        return _End(end.value)
    return None
