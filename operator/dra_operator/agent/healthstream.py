"""The DRAResourceHealth service: tells the kubelet how each device is, for `allocatedResourcesStatus` of its pods.

A stream sends all devices at once, at every change, and again every few seconds, for the kubelet takes a report for
half a minute only. Nothing is sent any more when nobody has looked at the devices for that long: the kubelet shall say
Unknown of them then, not what was true once.

Upstream: KEP-4680; kubeletplugin's `healthServerBridge`; pkg/kubelet/cm/dra `healthInfoCache`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Final

import grpc

from dra_operator.agent.health import DeviceHealth, HealthReports, HealthState
from dra_operator.agent.protos import health_v1_pb2 as v1
from dra_operator.agent.protos import health_v1alpha1_pb2 as v1alpha1
from dra_operator.agent.services import WATCH_V1, WATCH_V1ALPHA1, Context

VALID_SECONDS: Final = 30
"""How long the kubelet takes a report for."""
RESEND_SECONDS: Final = 10.0
_MESSAGE_MAX: Final = 1024
"""Characters of a message that the kubelet keeps whole."""
_NAMES: Final = {HealthState.HEALTHY: "HEALTHY", HealthState.UNHEALTHY: "UNHEALTHY", HealthState.UNKNOWN: "UNKNOWN"}


class HealthService:
    """Serves what is known of the devices of one pool, in both versions."""

    def __init__(self, pool: str, health: HealthReports, *, now: Callable[[], float] = time.time) -> None:
        self._pool = pool
        self._health = health
        self._now = now

    def handlers(self) -> list[grpc.GenericRpcHandler]:
        return [WATCH_V1.serve_stream(self._watch_v1), WATCH_V1ALPHA1.serve_stream(self._watch_v1alpha1)]

    async def reports(self) -> AsyncIterator[Sequence[DeviceHealth]]:
        """What is to be sent, when it is to be sent."""
        changes = self._health.changes()
        change: asyncio.Future[Mapping[str, DeviceHealth]] = asyncio.ensure_future(anext(changes))
        try:
            while True:
                done, _ = await asyncio.wait({change}, timeout=RESEND_SECONDS)
                if done:
                    change = asyncio.ensure_future(anext(changes))
                if self._now() - self._health.looked <= VALID_SECONDS:
                    yield list(self._health.current().values())
        finally:
            change.cancel()
            await asyncio.wait({change})
            await changes.aclose()

    async def _watch_v1(
        self, request: v1.NodeWatchResourcesRequest, context: Context
    ) -> AsyncIterator[v1.NodeWatchResourcesResponse]:
        async for devices in self.reports():
            yield v1.NodeWatchResourcesResponse(
                devices=[
                    v1.DeviceHealth(
                        device=v1.DeviceIdentifier(pool_name=self._pool, device_name=one.device),
                        health=_NAMES[one.state],
                        last_updated_time=int(self._health.looked),
                        health_check_timeout_seconds=VALID_SECONDS,
                        message=_shortened(one.message),
                    )
                    for one in devices
                ]
            )

    async def _watch_v1alpha1(
        self, request: v1alpha1.NodeWatchResourcesRequest, context: Context
    ) -> AsyncIterator[v1alpha1.NodeWatchResourcesResponse]:
        async for devices in self.reports():
            yield v1alpha1.NodeWatchResourcesResponse(
                devices=[
                    v1alpha1.DeviceHealth(
                        device=v1alpha1.DeviceIdentifier(pool_name=self._pool, device_name=one.device),
                        health=_NAMES[one.state],
                        last_updated_time=int(self._health.looked),
                        health_check_timeout_seconds=VALID_SECONDS,
                        message=_shortened(one.message),
                    )
                    for one in devices
                ]
            )


def _shortened(message: str) -> str:
    return message if len(message) <= _MESSAGE_MAX else message[: _MESSAGE_MAX - 1] + "…"
