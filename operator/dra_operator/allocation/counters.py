"""Shared counters: what the partitions of one physical device take from each other.

Available is what the pool's counter sets list, less what every device in use consumes as the slices list it now (it
may be negative). A device fits if then *no* counter of the pool is overdrawn: one overcommitted GPU blocks every
counter-consuming device of its pool, as upstream.

Invariant: after its undo is called the book is what it was before the `consume()` that returned it.

Upstream: `checkAvailableCounters` of structured/internal/experimental.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

from dra_operator.allocation.constraints import Undo
from dra_operator.inventory.devices import Device, PoolKey
from dra_operator.inventory.pools import Pool

CounterName: TypeAlias = tuple[str, str]
"""Counter set and counter."""

_NANO: Final = -9


class Totals:
    """What the counter sets of a pool list, and what draws on them elsewhere."""

    __slots__ = ("amounts", "elsewhere", "has_groups")

    def __init__(self, pool: Pool) -> None:
        self.amounts: dict[CounterName, int] = {
            (counters.name, name): counter.value.scaled_value(_NANO)
            for counters in pool.counter_sets
            for name, counter in (counters.counters or {}).items()
        }
        self.elsewhere = tuple(device for device in pool.elsewhere if device.basic.consumes_counters)
        self.has_groups = any(
            consumption.compatibility_groups
            for device in (*pool.devices, *pool.elsewhere)
            for consumption in device.basic.consumes_counters or ()
        )


@dataclass(slots=True)
class Book:
    """What is left of the counters of one pool, in billionths."""

    left: dict[CounterName, int]
    touched: frozenset[str]
    """The counter sets on which a device in use draws."""
    overdrawn: bool

    has_groups: bool
    """Whether any device of the pool has compatibility groups."""

    @classmethod
    def of(cls, totals: Totals, in_use: Iterable[Device]) -> Book:
        """What is left beside the devices in use."""
        left = totals.amounts.copy()
        touched: set[str] = set()
        for device in in_use:
            for name, amount in device.counters:
                if name in left:
                    left[name] -= amount
                    touched.add(name[0])
        return cls(left, frozenset(touched), any(amount < 0 for amount in left.values()), totals.has_groups)

    def has_room(self, device: Device) -> bool:
        """Whether the device would overdraw nothing. It may name a counter twice, which this does not add up."""
        if self.overdrawn:
            return False
        left = self.left
        for name, amount in device.counters:  # noqa: SIM110 - the hottest loop of partitions: a generator costs twice as much
            if left[name] < amount:
                return False
        return True


class Counters:
    """The counters of the pools that one search touches, which begins with the given books."""

    def __init__(self, books: Mapping[PoolKey, Book]) -> None:
        self._books = books
        self._left: dict[PoolKey, dict[CounterName, int]] = {}

    def consume(self, pool: Pool, device: Device) -> Undo | None:
        """Take what the device consumes. Returns how to give it back, or None (and nothing changed)."""
        book = self._books[pool.key]
        if book.overdrawn:
            return None
        left = self._left.get(pool.key)
        if left is None:
            left = self._left[pool.key] = book.left.copy()
        taken = device.counters
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
