"""How many writes are on their way to the API server, and when the next may be decided.

So many at once and no more (`WRITES_AT_ONCE`), or a burst opens a connection for every pod. But a write may hang: a
tenant's admission webhook that does not answer keeps each write of its namespace for up to half a minute, and a few
pods would keep everybody's. So:

- a namespace has a share (`OF_A_NAMESPACE`), smaller than the whole: what it may not send any more waits in the queue,
  and others are decided meanwhile;
- a write that is not answered soon (`SLOW_SECONDS`) only counts for its namespace from then on, so that several such
  namespaces cannot keep the whole either;
- there is an end to those, too (`AT_MOST`), which only many such namespaces reach: connections are no end of files.

Upstream: API priority and fairness shares out the server's seats in the same way. Not here: how long a write may take
(`cluster/wire.py`).
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

WRITES_AT_ONCE: Final = 40
"""Enough for a thousand writes a second at 40 ms each. Without an end every pod of a burst opens a connection of its
own, and a TLS handshake costs the API server as much as four writes."""
OF_A_NAMESPACE: Final = 32
SLOW_SECONDS: Final = 1.0
"""A busy API server takes a tenth of that."""
AT_MOST: Final = 512


@dataclass(slots=True, eq=False)
class Write:
    """One that was begun and is not answered."""

    namespace: str
    becomes_slow: asyncio.TimerHandle | None = None


@dataclass(slots=True)
class UnderWay:
    """See the module. `hold` is told of a namespace that has used up its share, `let_go` when it has room again."""

    hold: Callable[[str], None]
    let_go: Callable[[str], None]
    _quick: int = 0
    all: int = 0
    """Begun and not answered, slow or not."""
    _of: Counter[str] = field(default_factory=Counter)
    _room: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def full(self) -> bool:
        """Whether nothing more may be begun, for whomever."""
        return self._quick >= WRITES_AT_ONCE or self.all >= AT_MOST

    def begin(self, namespace: str) -> Write:
        """A write is sent. To be followed by `end`."""
        write = Write(namespace)
        write.becomes_slow = asyncio.get_running_loop().call_later(SLOW_SECONDS, self._is_slow, write)
        self._quick += 1
        self.all += 1
        self._of[namespace] += 1
        if self._of[namespace] == OF_A_NAMESPACE:
            self.hold(namespace)
        return write

    def end(self, write: Write) -> None:
        """It was answered, or nobody waits for that any more."""
        if write.becomes_slow is not None:
            write.becomes_slow.cancel()
            self._quick -= 1
        self.all -= 1
        self._of[write.namespace] -= 1
        left = self._of[write.namespace]
        if left == OF_A_NAMESPACE - 1:
            self.let_go(write.namespace)
        if not left:
            del self._of[write.namespace]
        self._room.set()

    async def room(self) -> None:
        """Wait until it is not full."""
        while self.full:
            self._room.clear()
            await self._room.wait()

    def _is_slow(self, write: Write) -> None:
        write.becomes_slow = None
        self._quick -= 1
        self._room.set()
