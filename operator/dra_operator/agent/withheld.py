"""Which devices must not be published where the API server drops a feature that keeps them safe. Pure.

Without `DRADeviceTaints` an unhealthy device would look like a healthy one: it is left out while it is tainted.
Without `DRAPartitionableDevices` partitions that overlap would all look free: none is published. Other features only
add to what is known of a device.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

from msgspec import structs

from dra_operator.agent.slices import PARTITIONS_FEATURE, TAINTS_FEATURE, SliceContent
from dra_operator.api.resource import BasicDevice

_BLOCKING: Final = frozenset({"NoSchedule", "NoExecute"})


def needed_features(content: SliceContent) -> set[str]:
    """The features without which the devices of this slice would be given to whom they must not."""
    needed = set()
    if any(_blocked(device) for device in content.devices):
        needed.add(TAINTS_FEATURE)
    if content.shared_counters or any(device.consumes_counters for device in content.devices):
        needed.add(PARTITIONS_FEATURE)
    return needed


def withhold(slices: Sequence[SliceContent], dropped: Collection[str]) -> list[SliceContent]:
    """What may be published where these features are dropped. Devices that leave move no other to another slice."""
    left = list(slices)
    if TAINTS_FEATURE in dropped:
        left = [_untainted(content) for content in left]
    if PARTITIONS_FEATURE in dropped:
        whole = [
            SliceContent(tuple(device for device in content.devices if not device.consumes_counters))
            for content in left
        ]
        left = [content for content in whole if content.devices] or [SliceContent()]
    return left


def _untainted(content: SliceContent) -> SliceContent:
    """Without those that a taint keeps others away from, and without the taints that are left."""
    devices = tuple(structs.replace(device, taints=None) for device in content.devices if not _blocked(device))
    return SliceContent(devices, content.shared_counters)


def _blocked(device: BasicDevice) -> bool:
    return any(taint.effect in _BLOCKING for taint in device.taints or ())
