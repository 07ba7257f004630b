"""Devices that are alike for one search, so that what failed with one need not be tried with another.

Two devices of one pool are alike if every request, constraint and counter of the search sees the same in them, and both
are as free. If the rest of a search cannot be completed with one it cannot with the other: any solution would stay one
with the two swapped.

Devices whose capacity matters are never alike here, nor are any where requests derive attributes.
"""

from __future__ import annotations

from collections.abc import Sequence

from dra_operator.allocation.candidates import Ask
from dra_operator.allocation.constraints import values_of
from dra_operator.allocation.outcome import Abort
from dra_operator.allocation.selectors import matches
from dra_operator.allocation.taking import Taking
from dra_operator.inventory.devices import Device


class Twins:
    """See the module. Asking a selector that fails here is no error: the device just has no like."""

    def __init__(self, taking: Taking, asks: Sequence[Ask]) -> None:
        self._taking = taking
        self._asks = asks
        self._attributes = sorted({constraint.attribute for ask in asks for constraint in ask.constraints})
        self._differ = any(ask.alternative.derived or ask.alternative.capacity for ask in asks)
        self._kinds: dict[object, int] = {}
        self._kind_of: dict[int, int | None] = {}

    def key(self, position: int) -> object | None:
        """Equal for devices that are alike now; None for a device that is like no other."""
        if position not in self._kind_of:
            described = self._describe(position)
            known = None if described is None else self._kinds.setdefault(described, len(self._kinds))
            self._kind_of[position] = known
        kind = self._kind_of[position]
        return None if kind is None else (kind, self._taking.marks(position))

    def _describe(self, position: int) -> object | None:
        device, basic = self._taking.devices[position], self._taking.devices[position].basic
        if device.allow_multiple_allocations or self._differ or not device.has_plain_capacity:
            return None
        site = self._taking.site
        if site.shared >> position & 1:
            return None
        try:
            answers = tuple(self._answer(ask, device) for ask in self._asks)
        except Abort:
            return None
        attributes = (device.attribute(name) for name in self._attributes)
        return (
            device.slice.metadata.name,
            answers,
            tuple(None if attribute is None else values_of(attribute) for attribute in attributes),
            site.is_in_use(device.id),
            tuple(sorted(device.counters)),
            tuple(tuple(c.compatibility_groups or ()) for c in basic.consumes_counters or ()),
            basic.taints,
            bool(basic.binding_conditions),
            basic.node_name,
            basic.node_selector,
            basic.all_nodes,
        )

    def _answer(self, ask: Ask, device: Device) -> bool:
        return matches(ask.alternative, device)
