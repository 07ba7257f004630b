"""When a request may be sent: not sooner than the API server has asked for, and not more of them than we are to send.

**Retry-After.** An answer of 429, or of 503, that names a time closes what it was asked of, for everybody here, until
that time is over: the next request for it waits, it is not tried. A refusal in words of the API (a `Status`: a quota, a
webhook of a tenant) closes the verb and resource in its namespace only, so that no tenant's webhook holds up another.
Of an eviction it closes nothing: there it is the affair of one pod and its budget. A refusal without a Status is the
front door's (fair queueing, a server that stops, a load balancer): it closes verb and resource everywhere.

**The limit.** So many requests a second (a token bucket). Where more would be sent, the most urgent goes first: the
Lease, or a burst of writes would cost the leadership; then lists and watches, or decisions would be made on what is
old; then everything else, Events last.

Whoever waits here has sent nothing yet: a write barrier is asked after the wait.

Upstream: client-go's `flowcontrol.RateLimiter` (QPS and burst, in one line) and the Retry-After of its requests, each
for itself. Not here: which requests are sent again (`wire.py`).
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final, NamedTuple

_ALMOST_ONE: Final = 1 - 1e-6
"""Times are floats: a token that lacks less is one."""
_CLOSED_MAX: Final = 1000
_OF_ONE_POD: Final = "pods/eviction"


class Endpoint(NamedTuple):
    """What a request is about, in the words of the API server's metrics and of RBAC."""

    verb: str
    resource: str
    """With its subresource: `pods/status`. A path that is none of a resource is itself."""
    namespace: str = ""


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
    namespace = ""
    if rest[0] == "namespaces" and len(rest) > 2:
        namespace, rest = rest[1], rest[2:]
    resource = "/".join((rest[0], *rest[2:]))
    verb = _VERBS.get(method) or ("watch" if watch else "get" if len(rest) > 1 else "list")
    return Endpoint(verb, resource, namespace)


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
    _closed: dict[Endpoint, float] = field(default_factory=dict)
    """Until when, by the loop's clock."""
    _tokens: float = 0.0
    _filled_at: float = -1.0
    _line: list[tuple[int, int, asyncio.Future[None]]] = field(default_factory=list)
    _numbers: Iterator[int] = field(default_factory=itertools.count)
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
                await self._until_open(endpoint)  # it was closed while we stood in line
        finally:
            self.waiting -= 1
        self.observer.waited(endpoint, loop.time() - began)

    def refused(self, endpoint: Endpoint, seconds: float, *, everywhere: bool) -> None:
        """The API server asks that nobody comes for so long."""
        self.observer.refused(endpoint)
        if endpoint.resource == _OF_ONE_POD and not everywhere:
            return
        now = asyncio.get_running_loop().time()
        if len(self._closed) >= _CLOSED_MAX:
            self._closed = {key: until for key, until in self._closed.items() if until > now}
        key = endpoint._replace(namespace="") if everywhere else endpoint
        self._closed[key] = max(self._closed.get(key, 0.0), now + seconds)

    def opens_in(self, endpoint: Endpoint) -> float:
        """Seconds for which the API server wants no such request; 0 or less if it does."""
        if not self._closed:
            return 0.0
        everywhere = endpoint._replace(namespace="")
        until = max(self._closed.get(endpoint, 0.0), self._closed.get(everywhere, 0.0))
        return until - asyncio.get_running_loop().time()

    async def _until_open(self, endpoint: Endpoint) -> None:
        while (left := self.opens_in(endpoint)) > 0:
            await asyncio.sleep(left)

    # --- the bucket --------------------------------------------------------------------------------------------------

    async def _token(self, urgency: Urgency) -> None:
        self._fill()
        if not self._line and self._tokens >= _ALMOST_ONE:
            self._tokens -= 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._line, (urgency, next(self._numbers), turn))
        self._serve()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._tokens += 1  # it was given to us, and nothing will be sent
                self._serve()
            raise

    def _fill(self) -> None:
        now = asyncio.get_running_loop().time()
        if self._filled_at < 0:
            self._tokens = float(self.burst)
        else:
            self._tokens = min(float(self.burst), self._tokens + (now - self._filled_at) * self.qps)
        self._filled_at = now

    def _serve(self) -> None:
        """Give out what tokens there are, and come again when there is one more."""
        self._fill()
        while self._line and (self._line[0][2].done() or self._tokens >= _ALMOST_ONE):
            turn = heapq.heappop(self._line)[2]
            if not turn.done():  # who gave up takes none
                self._tokens -= 1
                turn.set_result(None)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._line:
            self._timer = asyncio.get_running_loop().call_later((1 - self._tokens) / self.qps, self._serve)
