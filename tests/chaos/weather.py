"""A proxy in front of an API server through which things go wrong, in ways that networks and API servers have.

How often is set while it runs: calm, drizzle, storm. Every fault is counted by its kind.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from enum import StrEnum
from typing import Any, Final

import aiohttp
from aiohttp import web

from dra_operator.cluster.kubeconfig import Credentials
from tests.e2e.proxy import HOP_BY_HOP, Proxy

_LATENCY: Final = (0.02, 0.6)
"""Seconds by which a request is late."""
_CHUNK_LATENCY: Final = (0.05, 0.5)
_CUT_AFTER: Final = 4000
"""Most bytes of a watch that come through before it breaks off, most often within a line."""
_RETRY_AFTER: Final = "1"


class Fault(StrEnum):
    LATE = "late by up to 0.6 s"
    RESET = "connection reset before the request arrived"
    LOST = "connection reset after the request took effect"
    CONFLICT = "409 Conflict"
    EXPIRED = "410 Gone"
    THROTTLED = "429 Too Many Requests"
    INTERNAL = "500 Internal Server Error"
    UNAVAILABLE = "503 Service Unavailable"
    CUT = "watch cut within a line"
    ERROR_EVENT = "watch ended by an ERROR event"
    SLOW = "watch slowed down"
    PARTED = "not answered: cut off from the API server"


_ANYTHING: Final = (
    *(Fault.LATE, Fault.LATE, Fault.RESET, Fault.LOST, Fault.THROTTLED, Fault.INTERNAL, Fault.UNAVAILABLE),
)
_OF_WRITES: Final = (*_ANYTHING, Fault.LOST, Fault.CONFLICT)
_OF_READS: Final = (*_ANYTHING, Fault.EXPIRED)
_OF_WATCHES: Final = (*_OF_READS, Fault.CUT, Fault.CUT, Fault.CUT, Fault.ERROR_EVENT, Fault.ERROR_EVENT, Fault.SLOW)

_REFUSALS: Final = {
    Fault.CONFLICT: (409, "Conflict"),
    Fault.EXPIRED: (410, "Expired"),
    Fault.THROTTLED: (429, "TooManyRequests"),
    Fault.INTERNAL: (500, "InternalError"),
    Fault.UNAVAILABLE: (503, "ServiceUnavailable"),
}


class Weather(Proxy):
    """See the module. `chance` is how likely a request meets a fault.

    Between `part` and `heal` nothing passes, in no direction, and nobody is told so: as when a cable is pulled.
    """

    def __init__(self, target: Credentials, rng: random.Random, counts: Counter[Fault]) -> None:
        super().__init__(target)
        self._rng = rng
        self._counts = counts
        self.chance = 0.0
        self._whole = asyncio.Event()
        self._whole.set()

    def part(self) -> None:
        self._whole.clear()

    def heal(self) -> None:
        self._whole.set()

    async def _forward(self, request: web.Request) -> web.StreamResponse:
        if not self._whole.is_set():
            self._counts[Fault.PARTED] += 1
            await self._whole.wait()
            return _reset(request)
        fault = self._choose(request)
        if fault is not None:
            self._counts[fault] += 1
        if fault in _REFUSALS:
            return _refusal(*_REFUSALS[fault])
        if fault is Fault.ERROR_EVENT:
            return await self._end_watch(request)
        if fault is Fault.RESET:
            return _reset(request)
        if fault is Fault.LATE:
            await asyncio.sleep(self._rng.uniform(*_LATENCY))
        return await self._pass_on(request, fault)

    def _choose(self, request: web.Request) -> Fault | None:
        if self._rng.random() >= self.chance:
            return None
        if request.method != "GET":
            faults: tuple[Fault, ...] = _OF_WRITES
        else:
            faults = _OF_WATCHES if "watch" in request.query else _OF_READS
        return self._rng.choice(faults)

    async def _pass_on(self, request: web.Request, fault: Fault | None) -> web.StreamResponse:
        try:
            async with self._session.request(
                request.method,
                self.target.server + request.path_qs,
                headers={name: value for name, value in request.headers.items() if name.lower() not in HOP_BY_HOP},
                data=await request.read() or None,
                timeout=aiohttp.ClientTimeout(total=None),
            ) as answer:
                if fault is Fault.LOST:
                    if "watch" not in request.query:
                        await answer.read()
                    return _reset(request)
                return await self._answer(request, answer, fault)
        except (aiohttp.ClientError, ConnectionError):  # the API server is down, or the client is gone
            return _reset(request)

    async def _answer(
        self, request: web.Request, answer: aiohttp.ClientResponse, fault: Fault | None
    ) -> web.StreamResponse:
        passed = {name: value for name, value in answer.headers.items() if name.lower() not in HOP_BY_HOP}
        response = web.StreamResponse(status=answer.status, headers=passed)
        await response.prepare(request)
        left = self._rng.randrange(_CUT_AFTER) if fault is Fault.CUT else -1
        async for chunk in answer.content.iter_any():
            await self._whole.wait()
            if fault is Fault.SLOW:
                await asyncio.sleep(self._rng.uniform(*_CHUNK_LATENCY))
            if 0 <= left < len(chunk):
                await response.write(chunk[:left])
                return _reset(request, response)
            left -= len(chunk) if left >= 0 else 0
            await response.write(chunk)
        return response

    async def _end_watch(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        reason = self._rng.choice(((410, "Expired"), (500, "InternalError")))
        await response.write(json.dumps({"type": "ERROR", "object": _status(*reason)}).encode() + b"\n")
        return response


def _refusal(code: int, reason: str) -> web.Response:
    headers = {"Retry-After": _RETRY_AFTER} if code == 429 else {}
    return web.json_response(_status(code, reason), status=code, headers=headers)


def _status(code: int, reason: str) -> dict[str, Any]:
    body = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure"}
    return {**body, "message": "the weather is bad", "reason": reason, "code": code}


def _reset(request: web.Request, response: web.StreamResponse | None = None) -> web.StreamResponse:
    if request.transport is not None:
        request.transport.abort()
    return response or web.Response(status=502)
