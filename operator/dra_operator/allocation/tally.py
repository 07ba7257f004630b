"""What became of the candidates of each request in one search: the funnel that explains a refusal.

Each step holds the devices that reached it, so a device that many branches tried counts once. Counts only; no names
of other tenants come out of here.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

from dra_operator.allocation.requests import Alternative
from dra_operator.api.reasons import Reason
from dra_operator.inventory.devices import Device, DeviceId


@dataclass(slots=True)
class Funnel:
    """Devices of one request (or subrequest), by how far they came. A device in use is not looked at further."""

    published: set[DeviceId] = field(default_factory=set)
    in_class: set[DeviceId] = field(default_factory=set)
    matching: set[DeviceId] = field(default_factory=set)
    in_use: set[DeviceId] = field(default_factory=set)
    tainted: set[DeviceId] = field(default_factory=set)
    no_counters: set[DeviceId] = field(default_factory=set)
    constrained: set[DeviceId] = field(default_factory=set)

    def add(self, other: Funnel) -> None:
        """Take in another node's funnel."""
        self.published |= other.published
        self.in_class |= other.in_class
        self.matching |= other.matching
        self.in_use |= other.in_use
        self.tainted |= other.tainted
        self.no_counters |= other.no_counters
        self.constrained |= other.constrained


class Tally:
    """Funnels by request name, in the order in which requests were first tried."""

    def __init__(self) -> None:
        self.funnels: defaultdict[str, Funnel] = defaultdict(Funnel)

    def published(self, alternative: Alternative, device: Device) -> None:
        self.funnels[alternative.name].published.add(device.id)

    def in_class(self, alternative: Alternative, device: Device) -> None:
        self.funnels[alternative.name].in_class.add(device.id)

    def matching(self, alternative: Alternative, device: Device) -> None:
        self.funnels[alternative.name].matching.add(device.id)

    def in_use(self, alternative: Alternative, device: Device) -> None:
        self.funnels[alternative.name].in_use.add(device.id)

    def tainted(self, alternative: Alternative, device: Device) -> None:
        self.funnels[alternative.name].tainted.add(device.id)

    def no_counters(self, alternative: Alternative, device: Device) -> None:
        self.funnels[alternative.name].no_counters.add(device.id)

    def constrained(self, alternative: Alternative, device: Device) -> None:
        self.funnels[alternative.name].constrained.add(device.id)

    def add(self, other: Tally) -> None:
        for name, funnel in other.funnels.items():
            self.funnels[name].add(funnel)


def reason_of(funnel: Funnel) -> Reason:
    """The most telling reason why the request got nothing: the last hurdle that stopped devices otherwise usable."""
    if funnel.constrained:
        return Reason.CONSTRAINT_UNSATISFIED
    if funnel.no_counters:
        return Reason.COUNTERS_EXHAUSTED
    if funnel.tainted:
        return Reason.DEVICES_TAINTED
    if funnel.in_use:
        return Reason.DEVICES_IN_USE
    return Reason.NO_MATCHING_DEVICE
