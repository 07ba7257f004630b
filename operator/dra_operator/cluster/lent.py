"""The connection, lent to a library that speaks HTTP by itself: Kopf, which lists and watches.

Every request of such a session goes out as one of ours: it waits for its turn in the limit and for what Retry-After has
asked for (`pace.py`), carries the credentials of that moment (a token file is read again when it changes), uses the TLS
settings of the client, and is counted.

A 401 or 403 is not handed over: the request waits, and is sent again until it is answered otherwise. Kopf ends after
some of them, all of it and not only what asks for the one resource, and as long as a right is missing starting it again
makes nothing better. Its other resources are watched meanwhile, and when the right is there it goes on.

Neither is a 429: Kopf would wait for as long as Retry-After says, were it an hour, and end where that is a date. It is
sent again after that time, but no later than others of our requests (`LATER_MAX`).

Only reads are lent. What changes something goes through `Wire.request`, which knows what may be repeated.

Upstream: client-go's `rest.HTTPClientFor`, which informers share with everybody else.
"""

from __future__ import annotations

import asyncio
from typing import Final

import aiohttp

from dra_operator.cluster.errors import ApiError, NoAnswer, error_of
from dra_operator.cluster.pace import endpoint_of
from dra_operator.cluster.wire import REQUEST_SECONDS, Wire

_NOT_HANDED_OVER: Final = (401, 403, 429)
_PAUSE_MIN: Final = 1.0
_PAUSE_MAX: Final = 15.0


class Lent:
    """See the module. The middleware of the session."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    async def __call__(self, request: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        """One request, as often as we are not let in, or asked to come later."""
        request.server_hostname = self._wire.server_name
        pause, refused = _PAUSE_MIN, False
        while True:
            later: float | None = None
            try:
                sign = await self._wire.authenticator.authorization(refused=refused)
            except (ApiError, NoAnswer):
                pass  # nobody can sign in now, and the mirrors say why
            else:
                if sign.header:
                    request.headers["Authorization"] = sign.header
                else:  # known by a certificate, if at all: only another connection begins with a newer one
                    request.headers["Connection"] = "close"
                answer, error = await self._attempt(request, send, again=refused)
                if error is None or error.status not in _NOT_HANDED_OVER:
                    return answer
                refused, later = error.status == 401, error.retry_after
            if later is None:
                later, pause = pause, min(2 * pause, _PAUSE_MAX)
            await asyncio.sleep(later)

    async def _attempt(
        self, request: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType, *, again: bool
    ) -> tuple[aiohttp.ClientResponse, ApiError | None]:
        """In its turn, and counted. What is not a success has been read.

        `again`: the last one was refused for its credentials. The first such refusal is no news: there may be others.
        """
        wire, path = self._wire, request.url.path
        endpoint = endpoint_of(request.method, path, watch="watch" in request.url.query)
        await wire.pace.wait(endpoint)
        try:
            async with asyncio.timeout(REQUEST_SECONDS):  # of a watch, until it begins
                answer = await send(request)
                content = b"" if answer.status < 300 else await answer.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            wire.failed(request.method, error)
            raise
        wire.called(request.method, answer.status)
        if answer.status < 300:
            wire.answered(endpoint, path, None)
            return answer, None
        said = error_of(answer.status, answer.headers, content)
        return answer, said if said.status == 401 and not again else wire.heard(endpoint, path, said)
