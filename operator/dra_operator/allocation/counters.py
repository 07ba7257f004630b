"""Shared counters: what the partitions of one physical device take from each other.

Available is what the pool's counter sets list (`sharedCounters`), less what every device in use consumes as the slices
list it now (`consumesCounters`); it may be negative. A device fits if then *no* counter of the pool is overdrawn: one
overcommitted GPU blocks every counter-consuming device of its pool, as upstream.

Invariant: after its undo is called the book is what it was before the `consume()` that returned it.

Upstream: `checkAvailableCounters` of structured/internal/experimental.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
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

    def of_set(self, name: str) -> dict[CounterName, int]:
        """What one counter set lists."""
        return {counter: amount for counter, amount in self.amounts.items() if counter[0] == name}


@dataclass(slots=True)
class Book:
    """What is left of the counters of one pool, in billionths."""

    left: dict[CounterName, int]
    overdrawn: bool

    @classmethod
    def of(cls, totals: Totals, in_use: Iterable[Device], only: str | None = None) -> Book:
        """What is left beside the devices in use; of one counter set only, if it is named."""
        left = totals.amounts.copy() if only is None else totals.of_set(only)
        for device in in_use:
            for name, amount in device.counters:
                if name in left:
                    left[name] -= amount
        return cls(left, any(amount < 0 for amount in left.values()))

    def has_room(self, device: Device, only: str | None = None) -> bool:
        """Whether the device would overdraw nothing. It may name a counter twice, which this does not add up."""
        if self.overdrawn:
            return False
        return all(self.left[name] >= amount for name, amount in device.counters if only is None or name[0] == only)


class Counters:
    """The counters of the pools that one search touches. `book`: what is left before it."""

    def __init__(self, book: Callable[[Pool], Book]) -> None:
        self._book = book
        self._left: dict[PoolKey, dict[CounterName, int]] = {}

    def consume(self, pool: Pool, device: Device) -> Undo | None:
        """Take what the device consumes. Returns how to give it back, or None (and nothing changed)."""
        book = self._book(pool)
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
