"""An API server that says what the test tells it to: real HTTP, every request recorded, every answer scripted.

For what depends on the exact request and the exact answer (client, writer, reflector). `apiserver.py` beside it keeps
objects instead. Runs on real loops and on virtual ones.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from aiohttp import web

from tests.virtual_loop import run_virtual

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Seen:
    """One request as it came in."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    content: bytes
    at: float
    pairs: tuple[tuple[str, str], ...]
    """The headers, with those that come more than once."""

    @property
    def body(self) -> Any:
        return json.loads(self.content) if self.content else None

    @property
    def content_type(self) -> str:
        return self.headers.get("Content-Type", "")


@dataclass(frozen=True, slots=True)
class Answer:
    status: int = 200
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)


class Reset:
    """The connection breaks instead of an answer."""


class Hang:
    """No answer, ever."""


@dataclass(frozen=True, slots=True)
class Slow:
    """An answer that takes its time."""

    answer: Answer
    seconds: float


Told = Answer | Reset | Hang | Slow | Callable[[Seen], Answer]


def failure(code: int, reason: str, message: str = "", *, retry_after: int | None = None, about: str = "") -> Answer:
    """A `metav1.Status`; `about` is the object that it names."""
    headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
    body = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason}
    details = {"details": {"name": about}} if about else {}
    return Answer(code, body | {"message": message or reason} | details, headers)


def listing(version: str, *items: Any, more: str = "") -> Answer:
    """A LIST, or a page of one."""
    metadata = {"resourceVersion": version} | ({"continue": more} if more else {})
    return Answer(200, {"kind": "List", "metadata": metadata, "items": list(items)})


class Watch:
    """An open watch; the test says what it sends and how it ends."""

    def __init__(self, seen: Seen) -> None:
        self.version = seen.query["resourceVersion"]
        self.seen = seen
        self.out: asyncio.Queue[bytes | type[Reset] | None] = asyncio.Queue()

    def send(self, type_: str, object_: Any) -> None:
        self.raw(json.dumps({"type": type_, "object": object_}).encode() + b"\n")

    def raw(self, data: bytes) -> None:
        self.out.put_nowait(data)

    def end(self) -> None:
        self.out.put_nowait(None)

    def reset(self) -> None:
        self.out.put_nowait(Reset)


class Script:
    """`tell` it the answers in the order of the requests; what nothing was told for gets `otherwise`."""

    def __init__(self, otherwise: Told | None = None) -> None:
        self.url = ""
        self.seen: list[Seen] = []
        self.watches: list[Watch] = []
        self.peers: list[str | None] = []
        """Over TLS: the common name in the client's certificate, of each request."""
        self.otherwise = otherwise or failure(500, "NothingWasTold")
        self._told: deque[Told] = deque()
        self._told_watches: deque[Told] = deque()

    @asynccontextmanager
    async def serve(self, tls: ssl.SSLContext | None = None) -> AsyncIterator[Script]:
        app = web.Application(client_max_size=64 * 1024 * 1024)
        app.router.add_route("*", "/{path:.*}", self._handle)
        runner = web.AppRunner(app, shutdown_timeout=0.01)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{runner.addresses[0][1]}"
        try:
            yield self
        finally:
            await runner.cleanup()

    def tell(self, *answers: Told) -> None:
        self._told += answers

    def tell_watches(self, *answers: Told) -> None:
        """What the next watches get instead of being opened."""
        self._told_watches += answers

    async def watch(self, number: int) -> Watch:
        """The watch that was opened as the `number`th, counted from 1."""
        await eventually(lambda: len(self.watches) >= number)
        return self.watches[number - 1]

    def requests(self, method: str) -> list[Seen]:
        return [one for one in self.seen if one.method == method and "watch" not in one.query]

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        content = await request.read()
        now = asyncio.get_running_loop().time()
        seen = Seen(
            request.method,
            request.path,
            dict(request.query),
            dict(request.headers),
            content,
            now,
            tuple(request.headers.items()),
        )
        self.seen.append(seen)
        self.peers += _peer(request)
        watches = "watch" in seen.query
        if watches and not self._told_watches:
            return await self._stream(request, seen)
        told = self._told_watches if watches else self._told
        match told.popleft() if told else self.otherwise:
            case Answer() as answer:
                return _response(answer)
            case Reset():
                return _break(request)
            case Slow(answer, seconds):
                await asyncio.sleep(seconds)
                return _response(answer)
            case Hang():
                await asyncio.Event().wait()
                raise AssertionError
            case answer:
                return _response(answer(seen))

    async def _stream(self, request: web.Request, seen: Seen) -> web.StreamResponse:
        answer = web.StreamResponse(headers={"Content-Type": "application/json"})
        await answer.prepare(request)
        watch = Watch(seen)
        self.watches.append(watch)
        while (data := await watch.out.get()) is not None:
            if not isinstance(data, bytes):
                return _break(request)
            await answer.write(data)
        return answer


def _peer(request: web.Request) -> list[str | None]:
    assert request.transport is not None
    tls = request.transport.get_extra_info("ssl_object")
    if tls is None:
        return []
    subject = (tls.getpeercert() or {}).get("subject", ())
    return [next((value for part in subject for name, value in part if name == "commonName"), None)]


def _response(answer: Answer) -> web.Response:
    body = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
    return web.Response(status=answer.status, body=body, headers={"Content-Type": "application/json"} | answer.headers)


def _break(request: web.Request) -> web.Response:
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


def play(scenario: Callable[[Script], Coroutine[Any, Any, T]], *, otherwise: Told | None = None) -> T:
    """Run the scenario against a script of its own, in virtual time."""

    async def main() -> T:
        async with Script(otherwise).serve() as script:
            return await scenario(script)

    return run_virtual(main())


async def eventually(condition: Callable[[], Any], *, within: float = 3600.0) -> None:
    """Wait, in virtual time, until it holds."""
    async with asyncio.timeout(within):
        while not condition():
            await asyncio.sleep(0.01)
