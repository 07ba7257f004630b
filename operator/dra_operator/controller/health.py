"""`/healthz`, `/readyz` and `/metrics` over plain HTTP.

Live: the event loop answers, no loop has ended, and the loop of decisions takes what is due. Ready: every mirror is
synced. A missing gate policy
does not make the operator unready (it still generates and collects claims), but `/readyz` says so.
"""

from __future__ import annotations

from collections.abc import Callable

from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest


class HealthServer:
    """Serves on `address` (host:port; port 0 takes a free one) between `start` and `stop`."""

    def __init__(
        self,
        address: str,
        registry: CollectorRegistry,
        alive: Callable[[], str | None],
        ready: Callable[[], str | None],
        remarks: Callable[[], list[str]],
    ) -> None:
        """`alive` and `ready` answer None, or what is wrong."""
        self._address = address
        self._registry = registry
        self._alive = alive
        self._ready = ready
        self._remarks = remarks
        self._runner: web.AppRunner | None = None
        self.port = 0

    async def start(self) -> None:
        """Raises `OSError` where the address cannot be had."""
        app = web.Application()
        app.router.add_get("/healthz", self._healthz)
        app.router.add_get("/readyz", self._readyz)
        app.router.add_get("/metrics", self._metrics)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        host, _, port = self._address.rpartition(":")
        try:
            await web.TCPSite(runner, host.strip("[]") or None, int(port)).start()
        except OSError as error:
            await runner.cleanup()
            raise OSError(f"metrics-address {self._address!r} cannot be served: {error.strerror or error}") from error
        self.port = int(runner.addresses[0][1])
        self._runner = runner

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _healthz(self, _: web.Request) -> web.Response:
        return _answer(self._alive(), [])

    async def _readyz(self, _: web.Request) -> web.Response:
        return _answer(self._ready(), self._remarks())

    async def _metrics(self, _: web.Request) -> web.Response:
        return web.Response(body=generate_latest(self._registry), headers={"Content-Type": CONTENT_TYPE_LATEST})


def _answer(wrong: str | None, remarks: list[str]) -> web.Response:
    text = "\n".join(["ok" if wrong is None else wrong, *remarks]) + "\n"
    return web.Response(text=text, status=200 if wrong is None else 503)
