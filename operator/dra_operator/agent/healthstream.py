"""The DRAResourceHealth service: tells the kubelet how each device is, for `allocatedResourcesStatus` of its pods.

Whoever watches the devices puts what he found on the `HealthBoard`; each stream sends the whole board at once, at every
change, and again every few seconds, for the kubelet takes a report for half a minute only. It is not sent any more when
the board itself is older than that: of devices that nobody watches the kubelet shall say Unknown.

Upstream: KEP-4680; kubeletplugin's `healthServerBridge`; pkg/kubelet/cm/dra `healthInfoCache`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from enum import StrEnum
from typing import Final

import grpc

from dra_operator.agent.protos import health_v1_pb2 as v1
from dra_operator.agent.protos import health_v1alpha1_pb2 as v1alpha1
from dra_operator.agent.services import WATCH_V1, WATCH_V1ALPHA1, Context
from dra_operator.api.meta import Struct

VALID_SECONDS: Final = 30
"""How long the kubelet takes a report for."""
RESEND_SECONDS: Final = 10.0
_MESSAGE_MAX: Final = 1024
"""Characters of a message that the kubelet keeps whole."""


class Health(StrEnum):
    """By their names on the wire."""

    UNKNOWN = "UNKNOWN"
    HEALTHY = "HEALTHY"
    UNHEALTHY = "UNHEALTHY"


class DeviceHealth(Struct, frozen=True, kw_only=True):
    device: str
    health: Health
    message: str = ""


class HealthBoard:
    """What is known of the devices of one pool, and since when. For one event loop."""

    def __init__(self, pool: str, *, now: Callable[[], float] = time.time) -> None:
        self.pool: Final = pool
        self._now = now
        self._devices: tuple[DeviceHealth, ...] | None = None
        self._updated = 0.0
        self._changed = asyncio.Event()

    def update(self, devices: Sequence[DeviceHealth]) -> None:
        """All devices as they are now; to be called again within `VALID_SECONDS`, also if nothing has changed."""
        self._updated = self._now()
        if self._devices != (devices := tuple(devices)):
            self._devices = devices
            self._changed.set()
            self._changed = asyncio.Event()

    async def reports(self, resend: float = RESEND_SECONDS) -> AsyncIterator[tuple[Sequence[DeviceHealth], int]]:
        """The devices and the Unix time that this was found: at once, at every change, and every `resend` seconds."""
        while True:
            changed = self._changed
            if self._devices is not None and self._now() - self._updated <= VALID_SECONDS:
                yield self._devices, int(self._updated)
            try:
                async with asyncio.timeout(resend):
                    await changed.wait()
            except TimeoutError:
                continue


class HealthService:
    """Serves a board in both versions."""

    def __init__(self, board: HealthBoard, *, resend: float = RESEND_SECONDS) -> None:
        self._board = board
        self._resend = resend

    def handlers(self) -> list[grpc.GenericRpcHandler]:
        return [WATCH_V1.serve_stream(self._watch_v1), WATCH_V1ALPHA1.serve_stream(self._watch_v1alpha1)]

    async def _watch_v1(
        self, request: v1.NodeWatchResourcesRequest, context: Context
    ) -> AsyncIterator[v1.NodeWatchResourcesResponse]:
        async for devices, updated in self._board.reports(self._resend):
            yield v1.NodeWatchResourcesResponse(
                devices=[
                    v1.DeviceHealth(
                        device=v1.DeviceIdentifier(pool_name=self._board.pool, device_name=one.device),
                        health=one.health.value,
                        last_updated_time=updated,
                        health_check_timeout_seconds=VALID_SECONDS,
                        message=_shortened(one.message),
                    )
                    for one in devices
                ]
            )

    async def _watch_v1alpha1(
        self, request: v1alpha1.NodeWatchResourcesRequest, context: Context
    ) -> AsyncIterator[v1alpha1.NodeWatchResourcesResponse]:
        async for devices, updated in self._board.reports(self._resend):
            yield v1alpha1.NodeWatchResourcesResponse(
                devices=[
                    v1alpha1.DeviceHealth(
                        device=v1alpha1.DeviceIdentifier(pool_name=self._board.pool, device_name=one.device),
                        health=one.health.value,
                        last_updated_time=updated,
                        health_check_timeout_seconds=VALID_SECONDS,
                        message=_shortened(one.message),
                    )
                    for one in devices
                ]
            )


def _shortened(message: str) -> str:
    return message if len(message) <= _MESSAGE_MAX else message[: _MESSAGE_MAX - 1] + "…"
