"""Constraints between the devices of one claim.

The search adds devices one by one and takes them back when a branch fails. A constraint holds what the devices added
so far have fixed, and answers whether one more may join them.

Invariant: after its undo is called a constraint is exactly what it was before the `admit()` that returned it.

A scalar counts as a set of one (list attributes): devices match while the intersection of their values is not empty.
Values of different types never match, and are always distinct.

Upstream: `matchAttributeConstraint` and `distinctAttributeConstraint` of structured/internal/experimental.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeAlias

from dra_operator.allocation.outcome import Abort
from dra_operator.api.reasons import Reason
from dra_operator.api.resource import DeviceConstraint
from dra_operator.cel.device import AttributeValue, Scalar
from dra_operator.inventory.devices import Device

Undo: TypeAlias = Callable[[], None]
Values: TypeAlias = frozenset[tuple[type, Scalar]]


class Constraint(Protocol):
    def covers(self, request: str, subrequest: str) -> bool:
        """Whether it is about devices of the request (and its chosen subrequest, or "")."""

    def admit(self, device: Device) -> Undo | None:
        """Let the device join. Returns how to take that back, or None (and nothing changed) if it may not."""


def build_constraints(constraints: tuple[DeviceConstraint, ...] | None, *, lists: bool) -> list[Constraint]:
    """The constraints of a claim, in order. `lists`: the gate of list attributes."""
    built: list[Constraint] = []
    for constraint in constraints or ():
        requests = frozenset(constraint.requests or ())
        if constraint.match_attribute is not None:
            built.append(MatchAttribute(requests, constraint.match_attribute, lists=lists))
        elif constraint.distinct_attribute is not None:
            built.append(DistinctAttribute(requests, constraint.distinct_attribute, lists=lists))
        else:
            raise Abort(Reason.REQUEST_INVALID, "a constraint names neither matchAttribute nor distinctAttribute")
    return built


class _Scoped:
    def __init__(self, requests: frozenset[str], attribute: str, *, lists: bool) -> None:
        self._requests = requests
        self._attribute = attribute
        self._lists = lists

    def covers(self, request: str, subrequest: str) -> bool:
        return not self._requests or request in self._requests or f"{request}/{subrequest}" in self._requests

    def _values(self, device: Device) -> Values | None:
        """The device's values, or None if it lacks the attribute or a list is not allowed."""
        value = device.attribute(self._attribute)
        if value is None or (isinstance(value, tuple) and not self._lists):
            return None
        return _as_set(value)


def _as_set(value: AttributeValue) -> Values:
    scalars = value if isinstance(value, tuple) else (value,)
    return frozenset((type(scalar), scalar) for scalar in scalars)


class MatchAttribute(_Scoped):
    """All devices share a value of the attribute. Without the attribute none may join."""

    def __init__(self, requests: frozenset[str], attribute: str, *, lists: bool) -> None:
        super().__init__(requests, attribute, lists=lists)
        self._shared: Values | None = None

    def admit(self, device: Device) -> Undo | None:
        values = self._values(device)
        before = self._shared
        if values is None or not values:
            return None
        shared = values if before is None else before & values
        if not shared:
            return None
        self._shared = shared

        def undo() -> None:
            self._shared = before

        return undo


class DistinctAttribute(_Scoped):
    """No two devices share a value of the attribute. Without the attribute none may join."""

    def __init__(self, requests: frozenset[str], attribute: str, *, lists: bool) -> None:
        super().__init__(requests, attribute, lists=lists)
        self._seen: list[Values] = []

    def admit(self, device: Device) -> Undo | None:
        values = self._values(device)
        if values is None or not values or any(values & seen for seen in self._seen):
            return None
        self._seen.append(values)
        return self._undo

    def _undo(self) -> None:
        self._seen.pop()
