"""Sizes of values, as far as they can be told beforehand, and arithmetic that stops at the largest 64-bit number.

Upstream: `SizeEstimate` in `checker/cost.go` of cel-go; `sizeEstimator` in k8s.io/dynamic-resource-allocation/cel,
whose limits are those of resource.k8s.io/v1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

UNLIMITED: Final = (1 << 64) - 1
_TWO_TO_64: Final = 2.0**64

# resource.k8s.io/v1: the largest of what a selector can see.
_MAX_PER_DEVICE: Final = 32
_MAX_DOMAIN: Final = 63
_MAX_NAME: Final = 32
_MAX_VALUE: Final = 64

KEYS, VALUES, INDICES, ITEMS = "@keys", "@values", "@indices", "@items"


class Path:
    """Where a value comes from: a name, then steps.

    Two that go on from the same path may share memory, as slices in Go do that are appended to: the later one then
    writes its step over the earlier one's. In `d.all(k, v, ...)`, d being the attributes of a domain, the key is thus
    taken to be as long as a value. That shows in which selectors are too expensive, so it is kept.
    """

    __slots__ = ("_length", "_memory")

    def __init__(self, *steps: str) -> None:
        self._memory: list[str] = list(steps)
        self._length = len(steps)

    @property
    def steps(self) -> tuple[str, ...]:
        return tuple(self._memory[: self._length])

    def then(self, step: str) -> Path:
        further = Path()
        further._length = self._length + 1
        if self._length < len(self._memory):
            further._memory = self._memory
        else:  # full: a copy with twice the room
            further._memory = [*self._memory, *[""] * max(1, self._length)]
        further._memory[self._length] = step
        return further


def plus(*amounts: int) -> int:
    return min(sum(amounts), UNLIMITED)


def times(one: int, other: int) -> int:
    return min(one * other, UNLIMITED)


def scaled(amount: int, factor: float) -> int:
    """`amount x factor`, rounded up, in the doubles that upstream uses."""
    product = float(amount) * factor
    return UNLIMITED if product >= _TWO_TO_64 else math.ceil(product)


def wrapped(amount: int) -> int:
    """What an unsigned 64-bit integer makes of an amount; upstream does not look where this is used."""
    return amount & UNLIMITED


@dataclass(frozen=True, slots=True)
class Size:
    """How many characters, bytes or members there are."""

    least: int
    most: int

    def __or__(self, other: Size) -> Size:
        return Size(min(self.least, other.least), max(self.most, other.most))

    def __add__(self, other: Size) -> Size:
        return Size(plus(self.least, other.least), plus(self.most, other.most))

    def __mul__(self, other: Size) -> Size:
        return Size(times(self.least, other.least), times(self.most, other.most))


UNKNOWN: Final = Size(0, UNLIMITED)
ONE: Final = Size(1, 1)


@dataclass(frozen=True, slots=True)
class Entry:
    """How large the members of a list or map are."""

    is_list: bool
    key: Size
    value: Size

    def __or__(self, other: Entry) -> Entry:
        return Entry(self.is_list, self.key | other.key, self.value | other.value)


@dataclass(frozen=True, slots=True)
class Limit:
    """The size of something below `device`, and of what is below that."""

    size: int
    fields: dict[str, Limit] | None = None
    key: Limit | None = None
    value: Limit | None = None


_ATTRIBUTE: Final = Limit(_MAX_VALUE)
_BY_NAME: Final = Limit(_MAX_PER_DEVICE, key=Limit(_MAX_NAME), value=_ATTRIBUTE)
_CAPACITIES: Final = Limit(_MAX_PER_DEVICE, key=Limit(_MAX_NAME), value=Limit(0))
DEVICE_LIMITS: Final = Limit(
    0,
    fields={
        "driver": Limit(63),
        "allowMultipleAllocations": Limit(1),
        "attributes": Limit(_MAX_PER_DEVICE, key=Limit(_MAX_DOMAIN), value=_BY_NAME),
        "capacity": Limit(_MAX_PER_DEVICE, key=Limit(_MAX_DOMAIN), value=_CAPACITIES),
    },
)


def size_below_device(steps: Sequence[str]) -> Size | None:
    """The limit of the API for what a path leads to, if it has one."""
    if not steps or steps[0] != "device":
        return None
    limit: Limit | None = DEVICE_LIMITS
    for step in steps[1:]:
        assert limit is not None
        if step in (ITEMS, VALUES):
            limit = limit.value
        elif step == KEYS:
            limit = limit.key
        elif limit.fields is not None and step in limit.fields:
            limit = limit.fields[step]
        else:
            limit = limit.value if limit.value is _ATTRIBUTE else None
        if limit is None:
            return None
    assert limit is not None
    return Size(0, limit.size)
