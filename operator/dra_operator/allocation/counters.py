"""Shared counters: what the partitions of one physical device take from each other.

Available is what the pool's counter sets list, less what every device in use consumes as the slices list it now (it
may be negative). A device fits if then *no* counter of the pool is overdrawn: one overcommitted GPU blocks every
counter-consuming device of its pool, as upstream.

Invariant: after its undo is called the book is what it was before the `consume()` that returned it.

Upstream: `checkAvailableCounters` of structured/internal/experimental.
"""

from __future__ import annotations

from collections.abc import Callable

from dra_operator.allocation.constraints import Undo
from dra_operator.inventory.devices import Device, DeviceId, PoolKey
from dra_operator.inventory.pools import Pool

_NANO = -9


class _Book:
    """The counters of one pool: what is left of each, in billionths."""

    __slots__ = ("left", "overdrawn")

    def __init__(self, pool: Pool, is_in_use: Callable[[DeviceId], bool]) -> None:
        self.left = {
            (counters.name, name): counter.value.scaled_value(_NANO)
            for counters in pool.counter_sets
            for name, counter in (counters.counters or {}).items()
        }
        for device in (*pool.devices, *pool.elsewhere):
            if device.basic.consumes_counters and is_in_use(device.id):
                for name, amount in device.counters:
                    if name in self.left:
                        self.left[name] -= amount
        self.overdrawn = any(amount < 0 for amount in self.left.values())


class Counters:
    """The counters of the pools that one search touches. `is_in_use` tells what was allocated before it."""

    def __init__(self, is_in_use: Callable[[DeviceId], bool]) -> None:
        self._is_in_use = is_in_use
        self._books: dict[PoolKey, _Book] = {}

    def consume(self, pool: Pool, device: Device) -> Undo | None:
        """Take what the device consumes. Returns how to give it back, or None (and nothing changed)."""
        book = self._books.get(pool.key)
        if book is None:
            book = self._books[pool.key] = _Book(pool, self._is_in_use)
        if book.overdrawn:
            return None
        left, taken = book.left, device.counters
        fits = True
        for name, amount in taken:
            left[name] -= amount
            fits = fits and left[name] >= 0

        def give_back() -> None:
            for name, amount in taken:
                left[name] += amount

        if not fits:
            give_back()
            return None
        return give_back
