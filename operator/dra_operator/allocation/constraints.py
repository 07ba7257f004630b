"""Constraints between the devices of one claim.

The search adds devices one by one and takes them back when a branch fails. A constraint holds what the devices added
so far have fixed, and answers whether one more may join them.

Invariant: after its undo is called a constraint is exactly what it was before the `admit()` that returned it.

A scalar counts as a set of one (list attributes): devices match while the intersection of their values is not empty,
and are distinct while their values are disjoint. Values of different types never match and are always distinct;
versions are compared as written. With the gate of list attributes off there are only scalars, but a first device may
join with any attribute, even a list.

Upstream: `matchAttributeConstraint` and `distinctAttributeConstraint` of structured/internal/experimental.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Protocol, TypeAlias

from dra_operator.allocation.derived import lookup_attribute
from dra_operator.allocation.outcome import Abort
from dra_operator.allocation.requests import Alternative
from dra_operator.api.reasons import Reason
from dra_operator.api.resource import DeviceAttribute, DeviceConstraint
from dra_operator.inventory.devices import Device

Undo: TypeAlias = Callable[[], object]
Values: TypeAlias = frozenset[tuple[str, bool | int | str]]
"""With the type's name, since 1 is neither true nor "1"."""

Groups: TypeAlias = Mapping[tuple[str, bool | int | str], int]
"""The devices of a node by each value of an attribute, as bit sets; one with a list is in several groups."""

_NO_VALUES: Values = frozenset()


class Constraint(Protocol):
    @property
    def attribute(self) -> str:
        """The fully qualified name of the attribute that it compares."""

    @property
    def matches(self) -> bool:
        """Whether the devices have to be alike; otherwise they have to differ."""

    def covers(self, alternative: Alternative) -> bool:
        """Whether it is about devices of the request."""

    def admit(self, alternative: Alternative, device: Device) -> Undo | None:
        """Let the device join. Returns how to take that back, or None (and nothing changed) if it may not."""

    def narrow(self, bits: int, groups: Groups) -> int:
        """The devices that may still join, of those in the bit set. Derived attributes are not looked at."""

    def at_most(self, bits: int, groups: Groups) -> int:
        """How many of these devices may join at most, together."""


def build_constraints(constraints: Iterable[DeviceConstraint], *, lists: bool) -> list[Constraint]:
    """The constraints of a claim, in order. `lists`: the gate of list attributes. Raises `Abort`."""
    built: list[Constraint] = []
    for constraint in constraints:
        requests = frozenset(constraint.requests or ())
        if constraint.match_attribute is not None:
            built.append(MatchAttribute(requests, constraint.match_attribute, lists=lists))
        elif constraint.distinct_attribute is not None:
            built.append(DistinctAttribute(requests, constraint.distinct_attribute, lists=lists))
        else:
            raise Abort(Reason.REQUEST_INVALID, "a constraint names neither matchAttribute nor distinctAttribute")
    return built


class _Scoped:
    """A constraint on one attribute of the devices of some requests."""

    def __init__(self, requests: frozenset[str], attribute: str, *, lists: bool) -> None:
        self.attribute = attribute
        self._requests = requests
        self._values = values_of if lists else scalar_of

    def covers(self, alternative: Alternative) -> bool:
        return not self._requests or alternative.request in self._requests or alternative.name in self._requests


class MatchAttribute(_Scoped):
    """All devices share a value of the attribute. Without the attribute none may join."""

    matches = True

    def __init__(self, requests: frozenset[str], attribute: str, *, lists: bool) -> None:
        super().__init__(requests, attribute, lists=lists)
        self._lists = lists
        self._shared: Values | None = None

    def admit(self, alternative: Alternative, device: Device) -> Undo | None:
        attribute = lookup_attribute(alternative, device, self.attribute)
        if attribute is None:
            return None
        values, before = self._values(attribute), self._shared
        if before is not None:
            values &= before
        if not values and (self._lists or before is not None):
            return None
        self._shared = values

        def undo() -> None:
            self._shared = before

        return undo

    def narrow(self, bits: int, groups: Groups) -> int:
        return bits if self._shared is None else bits & _union(groups, self._shared)

    def at_most(self, bits: int, groups: Groups) -> int:
        if self._shared is not None:
            return self.narrow(bits, groups).bit_count()
        most = max(((bits & group).bit_count() for group in groups.values()), default=0)
        return most if self._lists else max(most, 1)  # a single device may have any attribute


class DistinctAttribute(_Scoped):
    """No two devices share a value of the attribute. Without the attribute none may join."""

    matches = False

    def __init__(self, requests: frozenset[str], attribute: str, *, lists: bool) -> None:
        super().__init__(requests, attribute, lists=lists)
        self._lists = lists
        self._seen: list[Values] = []

    def admit(self, alternative: Alternative, device: Device) -> Undo | None:
        attribute = lookup_attribute(alternative, device, self.attribute)
        if attribute is None:
            return None
        values = self._values(attribute)
        if not values and (self._lists or self._seen):
            return None
        if any(values & seen for seen in self._seen):
            return None
        self._seen.append(values)
        return self._seen.pop

    def narrow(self, bits: int, groups: Groups) -> int:
        for seen in self._seen:
            bits &= ~_union(groups, seen)
        return bits

    def at_most(self, bits: int, groups: Groups) -> int:
        bits = self.narrow(bits, groups)
        different = sum(1 for group in groups.values() if bits & group)
        return different if self._lists or self._seen else different + 1  # the first may have any attribute


def _union(groups: Groups, values: Values) -> int:
    bits = 0
    for value in values:
        bits |= groups.get(value, 0)
    return bits


def values_of(attribute: DeviceAttribute) -> Values:
    """The values of a list or scalar; empty if there are none."""
    if attribute.int_values:
        return frozenset(("int", value) for value in attribute.int_values)
    if attribute.bool_values:
        return frozenset(("bool", value) for value in attribute.bool_values)
    if attribute.string_values:
        return frozenset(("string", value) for value in attribute.string_values)
    if attribute.version_values:
        return frozenset(("version", value) for value in attribute.version_values)
    return scalar_of(attribute)


def scalar_of(attribute: DeviceAttribute) -> Values:
    """The value of a scalar; empty for anything else."""
    if attribute.int_value is not None:
        return frozenset((("int", attribute.int_value),))
    if attribute.bool_value is not None:
        return frozenset((("bool", attribute.bool_value),))
    if attribute.string_value is not None:
        return frozenset((("string", attribute.string_value),))
    if attribute.version_value is not None:
        return frozenset((("version", attribute.version_value),))
    return _NO_VALUES
