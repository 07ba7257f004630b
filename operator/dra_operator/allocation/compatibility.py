"""Compatibility groups: which partitions may draw on one counter set side by side.

The groups of all devices on a counter set, in use or chosen, must have one in common; a device without groups goes
only with others without. Groups are read as the slices list them now.

Invariant: after its undo is called the book is what it was before the `join()` that returned it.

Upstream: compatibility_groups.go and `checkAndConsumeCompatibilityGroups` of structured/internal/experimental.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from dra_operator.allocation.constraints import Undo
from dra_operator.api.resource import DeviceCounterConsumption
from dra_operator.inventory.devices import Device, DeviceId, PoolKey
from dra_operator.inventory.pools import Pool

Groups: TypeAlias = frozenset[str]

_ALONE: Groups = frozenset({""})
"""Stands for no groups: those without have that in common. No group is named so."""


class Compatibility:
    """The groups on the counter sets of the pools that one search touches."""

    def __init__(self, is_in_use: Callable[[DeviceId], bool]) -> None:
        self._is_in_use = is_in_use
        self._books: dict[PoolKey, dict[str, Groups]] = {}

    def join(self, pool: Pool, device: Device) -> Undo | None:
        """Put the device on its counter sets. Returns how to take it off, or None (and nothing changed)."""
        book = self._books.get(pool.key)
        if book is None:
            book = self._books[pool.key] = self._read(pool)
        before: list[tuple[str, Groups | None]] = []

        def undo() -> None:
            for name, common in reversed(before):
                if common is None:
                    del book[name]
                else:
                    book[name] = common

        for consumption in device.basic.consumes_counters or ():
            name, groups = consumption.counter_set, _groups(consumption)
            common = book.get(name)
            if common is not None and not common & groups:
                undo()
                return None
            before.append((name, common))
            book[name] = _add(common, groups)
        return undo

    def _read(self, pool: Pool) -> dict[str, Groups]:
        """The devices in use. What the slices say about them may have changed since, so they may contradict."""
        book: dict[str, Groups] = {}
        for device in (*pool.devices, *pool.elsewhere):
            if device.basic.consumes_counters and self._is_in_use(device.id):
                for consumption in device.basic.consumes_counters:
                    book[consumption.counter_set] = _add(book.get(consumption.counter_set), _groups(consumption))
        return book


def _groups(consumption: DeviceCounterConsumption) -> Groups:
    return frozenset(consumption.compatibility_groups or _ALONE)


def _add(common: Groups | None, groups: Groups) -> Groups:
    if common is None:
        return groups
    return common if _ALONE in (common, groups) else common & groups
