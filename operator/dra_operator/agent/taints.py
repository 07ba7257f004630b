"""Taints that the agent itself puts on its devices, on top of what the source says.

Several parts of the agent have reasons to taint: the health monitor, and the kubelet plugin for devices that are
prepared for a claim which holds them no longer. Each owns the taints of its key and says them anew as a whole; the
publisher puts all of them on the devices. When a taint was added the slice remembers (`slices.py`).

    taints.replace(UNPREPARING_TAINT, {"gpu-3": DeviceTaint(key=UNPREPARING_TAINT, effect="NoSchedule")})
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from msgspec import structs

from dra_operator.agent.sources import NodeDevices
from dra_operator.api.resource import BasicDevice, DeviceTaint


class DeviceTaints:
    """Who taints which device. Of one event loop."""

    def __init__(self) -> None:
        self._by_key: dict[str, dict[str, DeviceTaint]] = {}
        self.changed = asyncio.Event()
        """Set at every change; whoever publishes clears it."""

    def replace(self, key: str, taints: Mapping[str, DeviceTaint]) -> None:
        """From now on the taints of `key` are these, by device, and no others."""
        if self._by_key.get(key, {}) != taints:
            self._by_key[key] = dict(taints)
            self.changed.set()

    def on(self, node: NodeDevices) -> NodeDevices:
        """The node's devices with their taints, those of the source first."""
        return NodeDevices(tuple(self._tainted(device) for device in node.devices), node.shared_counters)

    def _tainted(self, device: BasicDevice) -> BasicDevice:
        more = [taints[device.name] for _, taints in sorted(self._by_key.items()) if device.name in taints]
        return structs.replace(device, taints=(*(device.taints or ()), *more)) if more else device
