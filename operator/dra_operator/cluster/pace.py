"""When a request may be sent: not sooner than the API server has asked for, and not more of them than we are to send.

**Retry-After.** An answer of 429, or of 503, that names a time and is no `Status` comes from the front door: fair
queueing, a server that stops, a load balancer. It closes verb and resource for everybody here until that time is over:
the next request for it waits, it is not tried. What the API itself refuses (a `Status`) closes nothing: a tenant's
webhook may have said it, with any code, time and reason it likes, so only the request that was refused waits for it.

No time is longer than `LATER_MAX`, whoever names it, and the Lease is not held up for more than a retry period: a page
that is shown for an hour must cost neither the leadership nor the hour.

**The limit.** So many requests a second (a token bucket). Where more would be sent, the most urgent goes first: the
Lease, or a burst of writes would cost the leadership; then lists and watches, or decisions would be made on what is
old; then everything else, Events last, and not at all while others keep the limit busy.

Whoever waits here has sent nothing yet: a write barrier is asked after the wait.

Upstream: client-go's `flowcontrol.RateLimiter` (QPS and burst, in one line) and the Retry-After of its requests, each
for itself. Not here: which requests are sent again (`wire.py`).
"""

from __future__ import annotations

import asyncio
import random
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final, NamedTuple

LATER_MAX: Final = 30.0
"""Seconds. Fair queueing asks for one, a server that stops for ten."""
LEASE_LATER_MAX: Final = 1.0
"""The retry period of the election: several attempts fit into the time after which the leadership is lost."""
_JITTER: Final = 0.1
"""Of the time that was waited, so much is added by chance: those who wait do not all come back in one moment."""
_ALMOST_ONE: Final = 1 - 1e-6
"""Times are floats: a token that lacks less is one."""


class Endpoint(NamedTuple):
    """What a request is about, in the words of the API server's metrics and of RBAC."""

    verb: str
    resource: str
    """With its subresource: `pods/status`. A path that is none of a resource is itself."""


class Urgency(IntEnum):
    """Who goes first where not all may."""

    LEASE = 0
    MIRROR = 1
    OTHER = 2
    EVENT = 3


_VERBS: Final = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}


def endpoint_of(method: str, path: str, *, watch: bool = False) -> Endpoint:
    """What the request is about."""
    parts = path.strip("/").split("/")
    skip = {"api": 2, "apis": 3}.get(parts[0])
    rest = parts[skip:] if skip is not None else []
    if not rest:
        return Endpoint(_VERBS.get(method, "get"), path)
    if rest[0] == "namespaces" and len(rest) > 2:
        rest = rest[2:]
    resource = "/".join((rest[0], *rest[2:]))
    verb = _VERBS.get(method) or ("watch" if watch else "get" if len(rest) > 1 else "list")
    return Endpoint(verb, resource)


def urgency_of(endpoint: Endpoint) -> Urgency:
    if endpoint.resource == "leases":
        return Urgency.LEASE
    if endpoint.resource == "events":
        return Urgency.EVENT
    return Urgency.MIRROR if endpoint.verb in ("list", "watch") else Urgency.OTHER


@dataclass(slots=True)
class PaceObserver:
    """Who is told, for metrics."""

    refused: Callable[[Endpoint], None] = lambda endpoint: None
    """The API server asked to come later."""
    waited: Callable[[Endpoint, float], None] = lambda endpoint, seconds: None
    """A request was to be sent, and was after so many seconds."""


@dataclass(slots=True)
class Pace:
    """See the module. `qps` 0: no limit."""

    qps: float = 0.0
    burst: int = 1
    observer: PaceObserver = field(default_factory=PaceObserver)
    waiting: int = 0
    """Requests that are not sent yet."""
    rng: random.Random = field(default_factory=random.Random)
    _closed: dict[Endpoint, float] = field(default_factory=dict)
    """Until when, by the loop's clock."""
    _tokens: float = 0.0
    _filled_at: float = -1.0
    _line: dict[Urgency, OrderedDict[asyncio.Future[None], None]] = field(
        default_factory=lambda: {urgency: OrderedDict() for urgency in Urgency}
    )
    """Who waits for a token, in the order of arrival."""
    _timer: asyncio.TimerHandle | None = None

    async def wait(self, endpoint: Endpoint) -> None:
        """Return when the request may be sent: now."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        self.waiting += 1
        try:
            await self._until_open(endpoint)
            while self.qps > 0:
                await self._token(urgency_of(endpoint))
                if self.opens_in(endpoint) <= 0:
                    break
                self._give_back()  # it was closed while we stood in line
                await self._until_open(endpoint)
        finally:
            self.waiting -= 1
        self.observer.waited(endpoint, loop.time() - began)

    @property
    def limits(self) -> bool:
        """Whether anything but Events waits for the limit."""
        return any(line for urgency, line in self._line.items() if urgency is not Urgency.EVENT)

    def close(self, endpoint: Endpoint, seconds: float) -> None:
        """The front door asks that nobody comes for so long."""
        most = LEASE_LATER_MAX if urgency_of(endpoint) is Urgency.LEASE else LATER_MAX
        until = asyncio.get_running_loop().time() + min(seconds, most)
        self._closed[endpoint] = max(self._closed.get(endpoint, 0.0), until)

    def opens_in(self, endpoint: Endpoint) -> float:
        """Seconds for which the API server wants no such request; 0 or less if it does."""
        until = self._closed.get(endpoint)
        return 0.0 if until is None else until - asyncio.get_running_loop().time()

    async def _until_open(self, endpoint: Endpoint) -> None:
        jitter = 0.0 if urgency_of(endpoint) is Urgency.LEASE else _JITTER
        while (left := self.opens_in(endpoint)) > 0:
            await asyncio.sleep(left * (1 + self.rng.uniform(0.0, jitter)))

    # --- the bucket --------------------------------------------------------------------------------------------------

    async def _token(self, urgency: Urgency) -> None:
        self._fill()
        if self._tokens >= _ALMOST_ONE and not any(self._line.values()):
            self._tokens -= 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._line[urgency][turn] = None
        self._serve()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._give_back()
            raise
        finally:
            self._line[urgency].pop(turn, None)

    def _give_back(self) -> None:
        """A token that was given out, and nothing will be sent."""
        self._tokens += 1
        self._serve()

    def _fill(self) -> None:
        now = asyncio.get_running_loop().time()
        if self._filled_at < 0:
            self._tokens = float(self.burst)
        else:
            self._tokens = min(float(self.burst), self._tokens + (now - self._filled_at) * self.qps)
        self._filled_at = now

    def _next(self) -> asyncio.Future[None] | None:
        """Whose turn it is. Who gives up leaves the line later, and is no one."""
        for line in self._line.values():
            while line:
                turn, _ = line.popitem(last=False)
                if not turn.done():
                    return turn
        return None

    def _serve(self) -> None:
        """Give out what tokens there are, and come again when there is one more."""
        self._fill()
        while self._tokens >= _ALMOST_ONE and (turn := self._next()) is not None:
            self._tokens -= 1
            turn.set_result(None)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if any(self._line.values()):
            self._timer = asyncio.get_running_loop().call_later(max(0.0, 1 - self._tokens) / self.qps, self._serve)
