"""What an allocation comes to: devices, "not here", or an error that ends the decision for the whole pod.

Expected outcomes are values, not exceptions. Messages name requests, classes, selectors and drivers, never claims or
pods: the answer for one pod is shared by all equal ones.

Upstream: nil without error, `ErrFailedAllocationOnNode`, and any other error of `Allocate`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeAlias

from dra_operator.api.reasons import Reason
from dra_operator.api.resource import AllocationResult
from dra_operator.api.text import cut

_MESSAGE: Final = 4_000
"""Bytes. A tenant writes the expressions, and what they fail with."""


@dataclass(frozen=True, slots=True)
class Allocated:
    """One allocation per claim, in order; `allocationTimestamp` is left to whoever writes it."""

    allocations: tuple[AllocationResult, ...]


@dataclass(frozen=True, slots=True)
class Unschedulable:
    """Not on this node (or, from `place`, not on any); it may be another time."""

    reason: Reason
    message: str


@dataclass(frozen=True, slots=True)
class AllocationError:
    """The pod's objects or a pool have to be corrected first; no node will do."""

    reason: Reason
    message: str


Outcome: TypeAlias = Allocated | Unschedulable | AllocationError


class Abort(Exception):
    """Raised inside a search to end it with an `AllocationError`."""

    def __init__(self, reason: Reason, message: str) -> None:
        message = cut(message, _MESSAGE)
        super().__init__(message)
        self.error = AllocationError(reason, message)
