"""How many writes are on their way to the API server, and when the next may be decided.

So many at once and no more (`WRITES_AT_ONCE`), or a burst opens a connection for every pod. But a write may hang: a
tenant's admission webhook that does not answer keeps each write of its namespace for up to half a minute, and a few
pods would keep everybody's. So writes are counted by flow, and

- a flow has a share (`OF_A_FLOW`), smaller than the whole: what it may not send any more waits in the queue, and others
  are decided meanwhile;
- a write that is not answered soon (`SLOW_SECONDS`) only counts for its flow from then on, so that several such
  namespaces cannot keep the whole either; but none is slow while our own limit of requests is what they wait for
  (`limited`), or ever more would wait there until their time is up;
- where there are many of those (`MANY_SLOW`), their flows begin nothing until some end, and every other begins only a
  few at once (`OF_A_FLOW_THEN`): it may be the next that hangs. Nobody who is answered is stopped by who is not.

A flow is what the pods of a namespace need, or what its claims do: a webhook on pods must not keep devices from being
released that others wait for.

There is no end in all: no more than `WRITES_AT_ONCE` begin in `SLOW_SECONDS`, and each ends with its request's time.

Upstream: API priority and fairness shares out the server's seats in the same way. Not here: how long a write may take
(`cluster/wire.py`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

WRITES_AT_ONCE: Final = 40
"""Enough for a thousand writes a second at 40 ms each. Without an end every pod of a burst opens a connection of its
own, and a TLS handshake costs the API server as much as four writes."""
OF_A_FLOW: Final = 32
SLOW_SECONDS: Final = 1.0
"""A busy API server takes a tenth of that."""
MANY_SLOW: Final = 256
OF_A_FLOW_THEN: Final = 4


@dataclass(slots=True, eq=False)
class Write:
    """One that was begun and is not answered."""

    flow: str
    becomes_slow: asyncio.TimerHandle | None = None


@dataclass(slots=True)
class _Flow:
    """Its writes that are not answered."""

    in_flight: int = 0
    slow: int = 0
    held: bool = False


@dataclass(slots=True)
class UnderWay:
    """See the module. `hold` is told of a flow that has used up its share, `let_go` when it has room again."""

    hold: Callable[[str], None]
    let_go: Callable[[str], None]
    limited: Callable[[], bool]
    _quick: int = 0
    _slow: int = 0
    _flows: dict[str, _Flow] = field(default_factory=dict)
    _room: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def in_flight(self) -> int:
        """Begun and not answered, slow or not."""
        return self._quick + self._slow

    @property
    def full(self) -> bool:
        """Whether nothing more may be begun, for whomever."""
        return self._quick >= WRITES_AT_ONCE

    def begin(self, flow: str) -> Write:
        """A write is sent. To be followed by `end`."""
        write = Write(flow)
        self._await(write)
        self._quick += 1
        self._flows.setdefault(flow, _Flow()).in_flight += 1
        self._judge(flow)
        return write

    def end(self, write: Write) -> None:
        """It was answered, or nobody waits for that any more."""
        flow = self._flows[write.flow]
        flow.in_flight -= 1
        if write.becomes_slow is not None:
            write.becomes_slow.cancel()
            self._quick -= 1
        else:
            flow.slow -= 1
            self._count_slow(-1)
        self._judge(write.flow)
        if not flow.in_flight:
            del self._flows[write.flow]
        self._room.set()

    async def room(self) -> None:
        """Wait until it is not full."""
        while self.full:
            self._room.clear()
            await self._room.wait()

    def _await(self, write: Write) -> None:
        write.becomes_slow = asyncio.get_running_loop().call_later(SLOW_SECONDS, self._is_slow, write)

    def _is_slow(self, write: Write) -> None:
        if self.limited():
            self._await(write)
            return
        write.becomes_slow = None
        self._quick -= 1
        self._flows[write.flow].slow += 1
        self._count_slow(1)
        self._judge(write.flow)
        self._room.set()

    def _count_slow(self, more: int) -> None:
        were_many = self._slow >= MANY_SLOW
        self._slow += more
        if were_many != (self._slow >= MANY_SLOW):
            for name in self._flows:
                self._judge(name)

    def _judge(self, name: str) -> None:
        """Hold the flow or let it go, as its share is now."""
        flow = self._flows[name]
        share = OF_A_FLOW
        if self._slow >= MANY_SLOW:
            share = 0 if flow.slow else OF_A_FLOW_THEN
        held = flow.in_flight > 0 and flow.in_flight >= share
        if held != flow.held:
            flow.held = held
            (self.hold if held else self.let_go)(name)
