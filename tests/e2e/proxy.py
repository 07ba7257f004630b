"""Proxies between an operator and the API server that do something at a chosen write.

Writes to leases and events do not count: they are not part of what a pod needs. `KillingProxy` ends the operator
either before the write reaches the API server, or after it took effect and before the answer is passed on.
`HoldingProxy` keeps a write back until the test has changed the cluster under it. `PartingProxy` lets nothing pass of
what the test chooses, leases and reads included, for as long as it likes.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import aiohttp
from aiohttp import web

from dra_operator.cluster.kubeconfig import Credentials

_WRITES = frozenset({"POST", "PUT", "PATCH", "DELETE"})


class Proxy:
    """Serves on loopback between `async with` and its end. Subclasses say what happens around a write."""

    def __init__(self, target: Credentials) -> None:
        self.target = target
        self.writes: list[str] = []
        self.moments: list[float] = []
        """When each write was passed on, in seconds of the epoch."""
        self.port = 0

    async def arrive(self, request: str) -> None:
        """Called with "METHOD path" of every request before anything else."""

    async def before(self, number: int, write: str) -> None:
        """Called with "METHOD path" before the write is passed on. The first write has number 1."""

    def after(self, number: int) -> None:
        """Called when that write was answered, before the answer is passed on."""

    async def __aenter__(self) -> Self:
        connector = aiohttp.TCPConnector(ssl=self.target.tls(), limit=0)
        self._session = aiohttp.ClientSession(connector=connector, auto_decompress=True)
        app = web.Application(client_max_size=16 * 1024 * 1024)
        app.router.add_route("*", "/{path:.*}", self._forward)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.port = int(self._runner.addresses[0][1])
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._runner.cleanup()
        await self._session.close()

    def write_kubeconfig(self, file: Path) -> Path:
        """A kubeconfig that leads through the proxy, with the identity of the target's."""
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "proxy", "cluster": {"server": f"http://127.0.0.1:{self.port}"}}],
            "users": [{"name": "user", "user": {"token": self.target.token}}],
            "contexts": [{"name": "proxy", "context": {"cluster": "proxy", "user": "user"}}],
            "current-context": "proxy",
        }
        file.write_text(json.dumps(config))
        return file

    async def _forward(self, request: web.Request) -> web.StreamResponse:
        number = 0
        await self.arrive(f"{request.method} {request.path}")
        if request.method in _WRITES and "/leases" not in request.path and "/events" not in request.path:
            write = f"{request.method} {request.path}"
            self.writes.append(write)
            number = len(self.writes)
            await self.before(number, write)
            self.moments.append(time.time())
        headers = {name: value for name, value in request.headers.items() if name.lower() not in HOP_BY_HOP}
        async with self._session.request(
            request.method,
            self.target.server + request.path_qs,
            headers=headers,
            data=await request.read() or None,
            timeout=aiohttp.ClientTimeout(total=None),
        ) as answer:
            body = b""
            if number:
                body = await answer.read()
                self.after(number)
            passed = {name: value for name, value in answer.headers.items() if name.lower() not in HOP_BY_HOP}
            response = web.StreamResponse(status=answer.status, headers=passed)
            with suppress(ConnectionResetError, aiohttp.ClientError):  # the operator is gone
                await response.prepare(request)
                await response.write(body)  # what is read already does not come again
                async for chunk in answer.content.iter_any():
                    await response.write(chunk)
            return response


class KillingProxy(Proxy):
    """`kill` ends the operator at a write that `arm` chooses; from then on nothing passes."""

    def __init__(self, target: Credentials, kill: Callable[[], None]) -> None:
        super().__init__(target)
        self._kill = kill
        self._at = 0
        self._after = False
        self.killed = asyncio.Event()
        self.killed_at = ""
        """That write."""

    def arm(self, number: int, *, after: bool) -> None:
        """At the write that is the `number`-th from now on."""
        self._at = len(self.writes) + number
        self._after = after

    async def before(self, number: int, write: str) -> None:
        if number == self._at and not self._after:
            self._end()
        if self.killed.is_set():
            raise web.HTTPBadGateway

    def after(self, number: int) -> None:
        if number == self._at and self._after:
            self._end()
        if self.killed.is_set():
            raise web.HTTPBadGateway

    def _end(self) -> None:
        self.killed_at = self.writes[self._at - 1]
        self.killed.set()
        self._kill()


class HoldingProxy(Proxy):
    """Keeps the first write of which `chosen` says so until `release` is set; `held` tells that it has come."""

    def __init__(self, target: Credentials, chosen: Callable[[str], bool]) -> None:
        super().__init__(target)
        self._chosen = chosen
        self.held = asyncio.Event()
        self.release = asyncio.Event()

    async def before(self, number: int, write: str) -> None:
        if self._chosen(write) and not self.held.is_set():
            self.held.set()
            await self.release.wait()


class PartingProxy(Proxy):
    """Keeps every request back of which `cut` was told, until `heal`."""

    def __init__(self, target: Credentials) -> None:
        super().__init__(target)
        self._whole = asyncio.Event()
        self._whole.set()
        self._word = ""

    def cut(self, word: str) -> None:
        """From now on, requests with that word in their path."""
        self._word = word
        self._whole.clear()

    def heal(self) -> None:
        self._whole.set()

    async def arrive(self, request: str) -> None:
        if self._word in request:
            await self._whole.wait()


HOP_BY_HOP = frozenset({"host", "content-length", "transfer-encoding", "connection", "content-encoding"})
