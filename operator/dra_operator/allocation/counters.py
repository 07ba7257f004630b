"""Shared counters: what the partitions of one physical device take from each other.

Available is what the pool's counter sets list, less what every device in use consumes as the slices list it now (it
may be negative). A device fits if then *no* counter of the pool is overdrawn: one overcommitted GPU blocks every
counter-consuming device of its pool, as upstream.

Invariant: after its undo is called the book is what it was before the `consume()` that returned it.

Upstream: `checkAvailableCounters` of structured/internal/experimental.
"""

from __future__ import annotations

from collections.abc import Callable

from dra_operator.api.quantity import Quantity
from dra_operator.inventory.devices import Device, DeviceId, PoolKey
from dra_operator.inventory.pools import Pool

_Book = dict[tuple[str, str], Quantity]
_ZERO = Quantity.parse("0")


class Counters:
    """The counters of the pools that one search touches. `is_in_use` tells what was allocated before it."""

    def __init__(self, is_in_use: Callable[[DeviceId], bool]) -> None:
        self._is_in_use = is_in_use
        self._available: dict[PoolKey, _Book] = {}

    def consume(self, pool: Pool, device: Device) -> Callable[[], None] | None:
        """Take what the device consumes. Returns how to give it back, or None (and nothing changed)."""
        book = self._available.get(pool.key)
        if book is None:
            book = self._available[pool.key] = self._count(pool)
        taken = _consumption(device)
        for name, value in taken:
            book[name] = book.get(name, _ZERO) - value

        def give_back() -> None:
            for name, value in taken:
                book[name] = book[name] + value

        if any(value < _ZERO for value in book.values()):
            give_back()
            return None
        return give_back

    def _count(self, pool: Pool) -> _Book:
        book: _Book = {
            (counters.name, name): counter.value
            for counters in pool.counter_sets
            for name, counter in (counters.counters or {}).items()
        }
        for device in (*pool.devices, *pool.elsewhere):
            if device.basic.consumes_counters and self._is_in_use(device.id):
                for name, value in _consumption(device):
                    if name in book:
                        book[name] = book[name] - value
        return book


def _consumption(device: Device) -> list[tuple[tuple[str, str], Quantity]]:
    return [
        ((consumption.counter_set, name), counter.value)
        for consumption in device.basic.consumes_counters or ()
        for name, counter in (consumption.counters or {}).items()
    ]
