"""What lies between a replica and the API server: a network and a server that fail in every way they can.

`SimulatedSession` stands where `cluster/wire.py` has aiohttp's session, so all of the client above it is the real one:
repetitions, Retry-After, the write barrier, decoding, watches line by line.

A request travels, is served at one moment, and its answer travels back. On the way it may be slow, get lost before or
after it was served, or be answered with an error before or after it took effect. Each watch of each client has a pace
of its own, so that the order of events of two resources means nothing; it may stall, break, or be told that its
revision is gone.
"""

from __future__ import annotations

import asyncio
import contextvars
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import msgspec

from tests.simulation.model.fields import Json
from tests.simulation.model.server import Answer, failure, list_body, parse, serve
from tests.simulation.model.store import Change, Key, ModelStore, StatusError
from tests.simulation.process import Process

BOOKMARK_SECONDS = 60.0
MODEL_URL = "http://model"
_NOBODY = contextvars.Context()
"""The context of what runs outside all processes."""


@dataclass(slots=True)
class Rates:
    """How likely each fault is, for each request or watch event."""

    lost_before: float = 0.0
    lost_after: float = 0.0
    throttled: float = 0.0
    """429 with Retry-After, before anything happened."""
    failed_before: float = 0.0
    """500, 503 or 504 before anything happened."""
    failed_after: float = 0.0
    """500, 503 or 504 although the write took effect."""
    slow: float = 0.0
    """Seconds instead of milliseconds."""
    cut: float = 0.0
    """The watch breaks, now and then in the middle of a line."""
    stalled: float = 0.0
    """The watch stands still for seconds."""
    gone: float = 0.0
    """The watch is told 410."""
    stale_list: float = 0.0
    """A list is answered from a cache that lags behind."""
    crash_before: float = 0.0
    crash_after: float = 0.0
    """The process that sent a write dies before, or after it took effect."""
    frozen: float = 0.0
    """The process that sends a write stands still from then on, for about as long as a lease or longer."""
    lag: float = 0.0
    """Seconds by which an event of a watch comes late at most, beside the network's own time."""


@dataclass(slots=True)
class Network:
    """Shared by all clients. `sent` is told of every write when it leaves the process, `crash` ends a process."""

    store: ModelStore
    rng: random.Random
    rates: Rates
    trouble: Counter[str]
    sent: Callable[[Process, str, str], None]
    crash: Callable[[Process], None]
    note: Callable[[str], None]
    down: set[str] = field(default_factory=set)
    """Processes that reach nothing, by name."""
    outage: bool = False
    """The API server answers nobody."""
    blind_until: float = 0.0
    """No watch brings anything before that time."""
    late_until: dict[tuple[str, str], float] = field(default_factory=dict)
    """Nor does the watch of a process on a resource; then it brings all that it has missed."""
    writes: Counter[str] = field(default_factory=Counter)
    _wakers: dict[str, list[asyncio.Event]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.store.observers.append(self._wake)

    def _wake(self, change: Change) -> None:
        for waker in self._wakers.get(change.resource, ()):
            waker.set()

    def freeze(self, process: Process) -> None:
        """Now and then the process that has just sent something stands still, whatever else it was about to send."""
        if self.happens(self.rates.frozen) and not process.paused and not process.dead:
            self.count("frozen while it writes", f": {process.name}")
            process.paused = True
            loop = asyncio.get_running_loop()
            loop.call_later(self.rng.uniform(5.0, 25.0), process.resume, context=_NOBODY.copy())

    def count(self, fault: str, detail: str = "") -> None:
        self.trouble[fault] += 1
        self.note(f"{fault}{detail}")

    def happens(self, rate: float) -> bool:
        return rate > 0.0 and self.rng.random() < rate

    # --- requests ----------------------------------------------------------------------------------------------------

    async def request(
        self,
        process: Process,
        method: str,
        path: str,
        params: Mapping[str, str],
        body: bytes | None,
        headers: Mapping[str, str],
    ) -> Answer:
        rng, rates = self.rng, self.rates
        target = parse(path)
        write = method != "GET" and target.resource not in ("events", "leases")
        if method != "GET" and target.resource != "events":
            self.sent(process, method, path)
        what = f" of {process.name}: {method} {target.resource} {target.key[1]} {target.subresource}" if write else ""
        self._reach(process)
        await asyncio.sleep(self._delay())
        self._connected(process)
        if self.happens(rates.lost_before):
            self.count("request lost", what)
            raise aiohttp.ClientConnectionError("lost")
        if write and self.happens(rates.crash_before):
            self.count("crash before a write", what)
            self.crash(process)
            raise aiohttp.ClientConnectionError("crashed")
        if self.happens(rates.throttled):
            self.count("429", what)
            return failure(StatusError(429, "TooManyRequests", "slow down", rng.choice((1, 1, 2))))
        if self.happens(rates.failed_before):
            self.count("5xx before the commit", what)
            return self._failure(turned_away=self.rng.random() < 0.5)
        if method == "GET" and not target.key[1] and self.happens(rates.stale_list):
            answer = self._stale_list(headers, target.resource, params)
        else:
            answer = serve(self.store, method, path, params, body, headers.get("Content-Type", ""), process.name)
        if write:
            self.writes[f"{method} {target.resource} {answer.status}"] += 1
            if self.happens(rates.crash_after):
                self.count("crash after a write", what)
                self.crash(process)
            if self.happens(rates.failed_after):
                self.count("5xx after the commit", what)
                return self._failure(turned_away=False)
        await asyncio.sleep(self._delay())
        self._connected(process)
        if self.happens(rates.lost_after):
            self.count("answer lost", what)
            raise aiohttp.ClientConnectionError("lost")
        return answer

    def _delay(self) -> float:
        if self.happens(self.rates.slow):
            self.trouble["slow"] += 1
            return self.rng.uniform(0.5, 6.0)
        return self.rng.uniform(0.0005, 0.006)

    def _reach(self, process: Process) -> None:
        if process.dead:
            raise aiohttp.ClientConnectionError("the process has ended")
        self._connected(process)

    def _connected(self, process: Process) -> None:
        """What the process sent before it ended may still arrive."""
        if self.outage or process.name in self.down:
            raise aiohttp.ClientConnectionError("no route to host")

    def _failure(self, *, turned_away: bool) -> Answer:
        """`turned_away`: with a Retry-After, by which a server says that it has not looked at the request."""
        code, reason = self.rng.choice(((500, "InternalError"), (503, "ServiceUnavailable"), (504, "Timeout")))
        after = 1 if code == 503 and turned_away else None
        return failure(StatusError(code, reason, "the model fails on purpose", after))

    def _stale_list(self, headers: Mapping[str, str], resource: str, params: Mapping[str, str]) -> Answer:
        """The list as it was a while ago, resourceVersion included."""
        if "PartialObjectMetadata" in headers.get("Accept", ""):  # who asks for versions asks for what is
            return Answer(200, {}, list_body(self.store, resource, field_selector=params.get("fieldSelector", "")))
        past = self.store.by_resource.get(resource, [])
        back = self.rng.randint(0, min(6, len(past)))
        if back == 0 or past[-back].version - 1 < self.store.compacted.get(resource, 0):
            return Answer(200, {}, list_body(self.store, resource))
        self.count("stale list", f" of {resource}, {back} behind")
        version = past[-back].version - 1
        items = {"/".join(filter(None, _key_of(entry.object))): entry.object for entry in self.store.entries(resource)}
        for change in reversed(past[-back:]):
            name = "/".join(filter(None, change.key))
            if change.before is None:
                items.pop(name, None)
            else:
                items[name] = change.before
        body = {"metadata": {"resourceVersion": str(version)}, "items": [items[name] for name in sorted(items)]}
        return Answer(200, {}, msgspec.json.encode(body))

    # --- watches -----------------------------------------------------------------------------------------------------

    async def watch(self, process: Process, path: str, params: Mapping[str, str], idle: float) -> AsyncIterator[bytes]:
        """Chunks of one watch. Raises what aiohttp would."""
        rng = self.rng
        resource = parse(path).resource
        loop = asyncio.get_running_loop()
        await asyncio.sleep(self._delay())
        self._reach(process)
        since = int(params["resourceVersion"])
        end = loop.time() + float(params.get("timeoutSeconds", "300"))
        changes = self.store.by_resource.setdefault(resource, [])
        position = len(changes)
        while position and changes[position - 1].version > since:
            position -= 1
        waker = asyncio.Event()
        wakers = self._wakers.setdefault(resource, [])
        wakers.append(waker)
        told = since
        try:
            while loop.time() < end:
                if (still := self._still_until(process, resource)) > loop.time():
                    await asyncio.sleep(still - loop.time() + 0.001)
                    continue
                compacted = self.store.compacted.get(resource, 0)
                if position < len(changes) and told < compacted and changes[position].version <= compacted:
                    self.count("410", f" to {process.name} watching {resource}")
                    yield _GONE
                    return
                if position < len(changes):
                    await asyncio.sleep(self._pace(process, resource))
                    self._reach(process)
                    if loop.time() < self._still_until(process, resource):
                        continue
                    if self.happens(self.rates.gone):
                        self.count("410", f" to {process.name} watching {resource}")
                        yield _GONE
                        return
                    change = changes[position]
                    line = b'{"type":"%s","object":%s}\n' % (change.type.encode(), change.raw)
                    if self.happens(self.rates.cut):
                        self.count("watch cut", f" of {process.name} on {resource}")
                        if rng.random() < 0.5:
                            yield line[: rng.randint(1, len(line) - 1)]
                        if rng.random() < 0.5:
                            return
                        raise aiohttp.ClientPayloadError("cut")
                    position += 1
                    told = change.version
                    yield line
                    continue
                waker.clear()
                try:
                    async with asyncio.timeout(min(BOOKMARK_SECONDS, max(0.0, end - loop.time()))):
                        await waker.wait()
                except TimeoutError:
                    self._reach(process)
                    told = self.store.version
                    yield b'{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"%d"}}}\n' % told
        finally:
            wakers.remove(waker)

    def _still_until(self, process: Process, resource: str) -> float:
        return max(self.blind_until, self.late_until.get((process.name, resource), 0.0))

    def _pace(self, process: Process, resource: str) -> float:
        if self.happens(self.rates.stalled):
            self.count("watch stalled", f" of {process.name} on {resource}")
            return self.rng.uniform(0.5, 5.0)
        return self.rng.choice((0.0, 0.0, 0.001, 0.004, 0.03)) + self.rng.choice((0.0, 0.0, 0.3, 1.0)) * self.rates.lag


def _key_of(object_: Json) -> Key:
    meta = object_["metadata"]
    return meta.get("namespace", ""), meta["name"]


_GONE = (
    b'{"type":"ERROR","object":{"kind":"Status","status":"Failure","message":"too old resource version",'
    b'"reason":"Expired","code":410}}\n'
)


class _Content:
    def __init__(self, chunks: AsyncIterator[bytes]) -> None:
        self._chunks = chunks

    def iter_any(self) -> AsyncIterator[bytes]:
        return self._chunks


class _Answer:
    """As much of aiohttp's response as the client reads."""

    def __init__(self, answer: Answer, chunks: AsyncIterator[bytes] | None = None) -> None:
        self.status = answer.status
        self.headers = answer.headers
        self._body = answer.body
        if chunks is not None:
            self.content = _Content(chunks)

    async def read(self) -> bytes:
        return self._body


class SimulatedSession:
    """In the place of `aiohttp.ClientSession`, for one process."""

    def __init__(self, network: Network, process: Process) -> None:
        self._network = network
        self._process = process

    @asynccontextmanager
    async def request(
        self,
        method: str,
        url: str,
        *,
        params: Mapping[str, str] | None,
        data: bytes | None,
        headers: Mapping[str, str],
        **_: Any,
    ) -> AsyncIterator[_Answer]:
        """The request goes on by itself when the process is paused, gives up waiting, or ends."""
        path = url.removeprefix(MODEL_URL)
        exchange = self._network.request(self._process, method, path, params or {}, data, headers)
        task = asyncio.get_running_loop().create_task(exchange, context=_NOBODY.copy())
        task.add_done_callback(_note_failure)
        if method != "GET" and parse(path).resource not in ("events", "leases"):
            self._network.freeze(self._process)
        yield _Answer(await asyncio.shield(task))

    @asynccontextmanager
    async def get(
        self, url: str, *, params: Mapping[str, str], timeout: aiohttp.ClientTimeout, **_: Any
    ) -> AsyncIterator[_Answer]:
        path = url.removeprefix(MODEL_URL)
        chunks = self._network.watch(self._process, path, params, timeout.sock_read or 0.0)
        try:
            yield _Answer(Answer(200, {}, b""), chunks)
        finally:
            await chunks.aclose()  # type: ignore[attr-defined]

    async def close(self) -> None:
        return


def _note_failure(task: asyncio.Task[Answer]) -> None:
    """Its process may have stopped waiting for it; then nobody else asks how it ended."""
    if not task.cancelled():
        task.exception()
