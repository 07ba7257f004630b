"""Watches over the health of a node's devices: looks at intervals and at every event, and says what it finds.

What counts (`diagnosis.py`) becomes a taint of the device, `dra-operator.io/unhealthy` with the reason as its value:
NoSchedule where the device is degraded, so that nothing new comes and who is there may finish; NoExecute where it is
lost. The same goes to the board that the kubelet's health stream is read from. Trouble of a GPU is trouble of all its
partitions. A source that cannot be asked is trouble of all devices, after the second time: a driver that is loaded
anew is back before that.

Not here: what NVML or a file says (`Source.signs`), and publishing (`node.py`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import Final

import structlog

from dra_operator.agent.diagnosis import Diagnosis, Finding
from dra_operator.agent.health import DeviceHealth, HealthBoard, HealthState
from dra_operator.agent.signs import Severity, Sign, driver_unavailable
from dra_operator.agent.sources import NodeDevices, Source, SourceError
from dra_operator.agent.taints import DeviceTaints
from dra_operator.api.names import UNHEALTHY_TAINT
from dra_operator.api.resource import BasicDevice, DeviceTaint

log = structlog.get_logger()

WAIT_SECONDS: Final = 1.0
"""How long one wait for events may block its thread, and so the end of the process."""
_EFFECTS: Final = {Severity.DEGRADED: "NoSchedule", Severity.LOST: "NoExecute"}


class HealthMonitor:
    """See the module. `now` is seconds of the epoch."""

    def __init__(
        self,
        source: Source,
        taints: DeviceTaints,
        board: HealthBoard,
        *,
        now: Callable[[], float],
        interval: float = 5.0,
    ) -> None:
        self._source = source
        self._taints = taints
        self._board = board
        self._now = now
        self._interval = interval
        self._diagnosis = Diagnosis()
        self._node = NodeDevices()
        self._incarnation: object = None

    async def saw(self, node: NodeDevices) -> None:
        """These are the devices from now on."""
        if node != self._node:
            self._node = node
            await self._report()

    async def run(self) -> None:
        """Look, for ever."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._look_at_intervals(), name="health, at intervals")
            tasks.create_task(self._look_at_events(), name="health, at events")

    async def look(self, events: Iterable[Sign] = ()) -> None:
        """One look, after `events` if there were any."""
        try:
            signs: Iterable[Sign] = await asyncio.to_thread(self._source.signs)
        except SourceError as error:
            signs = [driver_unavailable(device.name, str(error)) for device in self._node.devices]
        incarnation = self._source.incarnation
        if incarnation != self._incarnation:
            self._diagnosis, self._incarnation = Diagnosis(), incarnation
        self._diagnosis.note(self._now(), events)
        self._diagnosis.observe(self._now(), signs)
        await self._report()

    async def _look_at_intervals(self) -> None:
        while True:
            await self.look()
            await asyncio.sleep(self._interval)

    async def _look_at_events(self) -> None:
        while True:
            events = await asyncio.to_thread(self._source.wait, WAIT_SECONDS)
            if events is not None:
                await self.look(events)

    async def _report(self) -> None:
        findings = self._diagnosis.findings(self._now())
        before = self._board.current()
        devices: dict[str, DeviceHealth] = {}
        taints: dict[str, DeviceTaint] = {}
        for device in self._node.devices:
            finding = _worst_of(device, findings)
            health = devices[device.name] = _health(device.name, finding, before.get(device.name), self._now())
            if finding is not None:
                taints[device.name] = _taint(finding.sign)
            if _differs(health, before.get(device.name)):
                tell = log.warning if health.state is HealthState.UNHEALTHY else log.info
                tell(
                    "device health",
                    device=device.name,
                    state=health.state.value,
                    reason=health.reason,
                    message=health.message,
                )
        self._taints.replace(UNHEALTHY_TAINT, taints)
        await self._board.post(devices)


def _worst_of(device: BasicDevice, findings: Mapping[str, Finding]) -> Finding | None:
    values = [(device.attributes or {}).get(name) for name in ("uuid", "parentUUID")]
    targets = [device.name, *(value.string_value for value in values if value is not None and value.string_value)]
    found = [findings[target] for target in targets if target in findings]
    return min(found, key=lambda one: (one.sign.severity is not Severity.LOST, one.since), default=None)


def _health(device: str, finding: Finding | None, before: DeviceHealth | None, now: float) -> DeviceHealth:
    if finding is not None:
        sign = finding.sign
        return DeviceHealth(device, HealthState.UNHEALTHY, sign.reason, sign.message, sign.severity, finding.since)
    well = before is not None and before.state is HealthState.HEALTHY
    return before if well and before is not None else DeviceHealth(device, HealthState.HEALTHY, since=now)


def _differs(health: DeviceHealth, before: DeviceHealth | None) -> bool:
    if before is None:
        return health.state is HealthState.UNHEALTHY
    return (health.state, health.reason, health.severity) != (before.state, before.reason, before.severity)


def _taint(sign: Sign) -> DeviceTaint:
    return DeviceTaint(key=UNHEALTHY_TAINT, value=sign.reason, effect=_EFFECTS[sign.severity])
