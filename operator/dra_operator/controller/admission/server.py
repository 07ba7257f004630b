"""Where API servers ask before a pod, claim, template or class is stored: HTTPS, one path a webhook.

The answers are Kopf's (`kopf.on.mutate` and `kopf.on.validate` in `handlers.py`). The server is ours, because it lives
longer than Kopf does: Kopf hands over its function when it starts, and that function goes on answering while Kopf is
started again. Only before Kopf's first start is there nobody to ask; requests wait for it then.

The certificate is replaced without a restart: connections that exist keep theirs, new ones get the new one. Its key
never touches a disk.

Nothing here waits for mirrors or the Lease: every replica answers, from what is in the request.
"""

from __future__ import annotations

import asyncio
import json
import os
import ssl
import tempfile
from collections.abc import AsyncIterator, Collection, Iterator
from contextlib import contextmanager
from typing import Any, Final

import structlog
from aiohttp import web

from dra_operator.controller.admission.certificates import Pair
from dra_operator.controller.kopf_light import kopf

log = structlog.get_logger()

_BODY_MAX: Final = 16 * 1024 * 1024
"""Two objects of the most that etcd takes, as JSON, with room."""
_KOPF_SECONDS: Final = 8.0
"""How long a request waits for Kopf's first start: less than the webhooks' timeoutSeconds."""
_DRAIN_SECONDS: Final = 1.0


class AdmissionServer:
    """Serves on `address` (host:port) from the first `use` until `stop`."""

    def __init__(self, address: str, webhooks: Collection[str]) -> None:
        """`webhooks`: the ids of Kopf's handlers, which are also the paths."""
        host, _, port = address.rpartition(":")
        self._host = host.strip("[]")
        self._port = int(port)
        self._webhooks = frozenset(webhooks)
        self._context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._answer: kopf.WebhookFn | None = None
        self._kopf_is_there = asyncio.Event()
        self._runner: web.AppRunner | None = None
        self._served: Pair | None = None

    @property
    def host(self) -> str:
        """Empty for all addresses."""
        return self._host if self._host not in ("0.0.0.0", "::") else ""  # noqa: S104 - compared, not bound

    @property
    def is_serving(self) -> bool:
        return self._runner is not None

    async def use(self, pair: Pair) -> None:
        """Serve with this certificate from now on. Raises `OSError` if the address cannot be had."""
        if pair != self._served:
            with _as_file(pair.certificate + pair.key) as file:
                self._context.load_cert_chain(file)
            self._served = pair
        if self._runner is None:
            await self._start()

    async def answer_by_kopf(self, answer: kopf.WebhookFn) -> AsyncIterator[kopf.WebhookClientConfig]:
        """What Kopf takes for an admission server. It keeps no webhook configuration, so it needs no client config."""
        self._answer = answer
        self._kopf_is_there.set()
        yield {}
        await asyncio.Event().wait()

    async def stop(self) -> None:
        """Take no more requests, and end those that are here."""
        if self._runner is not None:
            runner, self._runner = self._runner, None
            await runner.cleanup()

    async def _start(self) -> None:
        app = web.Application(client_max_size=_BODY_MAX)
        app.router.add_post("/{webhook}", self._serve)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=_DRAIN_SECONDS)
        await runner.setup()
        # reuse_port: replicas on one host share an address, and the kernel gives each connection to one that is there.
        site = web.TCPSite(
            runner, self._host or None, self._port, ssl_context=self._context, reuse_port=True, backlog=1024
        )
        try:
            await site.start()
        except OSError:
            await runner.cleanup()
            raise
        self._runner = runner
        log.info("serving admission webhooks", address=str(runner.addresses[0]))

    async def _serve(self, request: web.Request) -> web.Response:
        webhook = request.match_info["webhook"]
        if webhook not in self._webhooks:
            raise web.HTTPNotFound(reason=f"no webhook {webhook!r}")
        try:
            async with asyncio.timeout(_KOPF_SECONDS):
                await self._kopf_is_there.wait()
        except TimeoutError as error:
            raise web.HTTPServiceUnavailable(reason="the operator has not started yet") from error
        assert self._answer is not None
        try:
            review: Any = json.loads(await request.read())
        except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
            raise web.HTTPBadRequest(reason="not JSON, or too deep") from error
        try:
            return web.json_response(await self._answer(review, webhook=kopf.HandlerId(webhook)))
        except Exception as error:  # a review of something else; whatever it is, only this request is lost
            log.warning("admission request not answered", webhook=webhook, error=str(error) or type(error).__name__)
            raise web.HTTPBadRequest(reason=f"not a review that {webhook!r} answers") from error


@contextmanager
def _as_file(content: bytes) -> Iterator[str]:
    """A path that the ssl module can read it from; in memory where the system has such files."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("certificate", os.MFD_CLOEXEC)
        try:
            os.write(descriptor, content)
            yield f"/proc/self/fd/{descriptor}"
        finally:
            os.close(descriptor)
    else:
        with tempfile.NamedTemporaryFile() as file:  # readable by us alone
            file.write(content)
            file.flush()
            yield file.name
