"""A proxy between an operator and the API server that ends the operator at a chosen write.

Writes to leases and events do not count: they are not part of what a pod needs. The operator is killed either before
the write reaches the API server, or after it took effect and before the answer is passed on.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import aiohttp
from aiohttp import web

from dra_operator.cluster.kubeconfig import Credentials

_WRITES = frozenset({"POST", "PUT", "PATCH", "DELETE"})


class KillingProxy:
    """Serves on loopback between `async with` and its end. `kill` ends the operator."""

    def __init__(self, target: Credentials, kill: Callable[[], None], at: int, *, after: bool) -> None:
        self._target = target
        self._kill = kill
        self._at = at
        self._after = after
        self.writes: list[str] = []
        self.killed = asyncio.Event()
        self.port = 0

    async def __aenter__(self) -> Self:
        connector = aiohttp.TCPConnector(ssl=self._target.tls(), limit=0)
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
            "users": [{"name": "user", "user": {"token": self._target.token}}],
            "contexts": [{"name": "proxy", "context": {"cluster": "proxy", "user": "user"}}],
            "current-context": "proxy",
        }
        file.write_text(json.dumps(config))
        return file

    async def _forward(self, request: web.Request) -> web.StreamResponse:
        counts = request.method in _WRITES and "/leases" not in request.path and "/events" not in request.path
        if counts:
            self.writes.append(f"{request.method} {request.path}")
        hit = counts and len(self.writes) == self._at
        if hit and not self._after:
            self._end()
        if self.killed.is_set():
            raise web.HTTPBadGateway
        headers = {name: value for name, value in request.headers.items() if name.lower() not in _HOP_BY_HOP}
        async with self._session.request(
            request.method,
            self._target.server + request.path_qs,
            headers=headers,
            data=await request.read() or None,
            timeout=aiohttp.ClientTimeout(total=None),
        ) as answer:
            if hit:
                await answer.read()
                self._end()
                raise web.HTTPBadGateway
            passed = {name: value for name, value in answer.headers.items() if name.lower() not in _HOP_BY_HOP}
            response = web.StreamResponse(status=answer.status, headers=passed)
            with suppress(ConnectionResetError, aiohttp.ClientError):  # the operator is gone
                await response.prepare(request)
                async for chunk in answer.content.iter_any():
                    await response.write(chunk)
            return response

    def _end(self) -> None:
        self.killed.set()
        self._kill()


_HOP_BY_HOP = frozenset({"host", "content-length", "transfer-encoding", "connection", "content-encoding"})
