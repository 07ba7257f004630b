"""The health of this node's devices, for whoever reports it: the kubelet's health stream, metrics, slices.

`HealthReports` is all that a reader needs: what is known now, and to be told of every change.

    async for devices in reports.changes():      # at once with the state as it is, then after each change
        for health in devices.values():
            send(health.device, health.state, health.message)

A reader that is slow misses states in between and never the last one. Who must repeat itself in time (the kubelet
forgets what it has not heard for a while) asks `current()` whenever it likes, and `looked` for how old that is.

Not here: how health is found out (`monitor.py`), and what is wrong (`signs.py`).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Protocol

from dra_operator.agent.signs import Severity


class HealthState(StrEnum):
    """As the kubelet names it."""

    HEALTHY = "Healthy"
    UNHEALTHY = "Unhealthy"
    UNKNOWN = "Unknown"
    """Nobody has looked yet."""


@dataclass(frozen=True, slots=True)
class DeviceHealth:
    """What is known of one device."""

    device: str
    """Its name, as slices and allocation results have it."""
    state: HealthState = HealthState.UNKNOWN
    reason: str = ""
    """One word for what is wrong; empty if nothing is."""
    message: str = ""
    severity: Severity | None = None
    since: float = 0.0
    """When the state began, in seconds of the epoch."""


class HealthReports(Protocol):
    """What readers of health stand on."""

    def current(self) -> Mapping[str, DeviceHealth]:
        """Every device that is published, by name."""
        ...

    @property
    def looked(self) -> float:
        """When somebody last looked at the devices, in seconds of the epoch."""
        ...

    def changes(self) -> AsyncGenerator[Mapping[str, DeviceHealth]]:
        """The state as it is, then anew after each change. Never ends."""
        ...


class HealthBoard:
    """The one place where the monitor writes and others read. Of one event loop."""

    def __init__(self, *, now: Callable[[], float] = time.time) -> None:
        self.looked = 0.0
        self._now = now
        self._devices: Mapping[str, DeviceHealth] = MappingProxyType({})
        self._changed = asyncio.Condition()

    def current(self) -> Mapping[str, DeviceHealth]:
        return self._devices

    async def changes(self) -> AsyncGenerator[Mapping[str, DeviceHealth]]:
        seen = self._devices
        yield seen
        while True:
            async with self._changed:
                while self._devices is seen:
                    await self._changed.wait()
                seen = self._devices
            yield seen

    async def post(self, devices: Mapping[str, DeviceHealth]) -> None:
        """This is what is known from now on; said again at each look."""
        self.looked = self._now()
        if devices == self._devices:
            return
        async with self._changed:
            self._devices = MappingProxyType(dict(devices))
            self._changed.notify_all()
