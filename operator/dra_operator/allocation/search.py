"""The search for devices: depth first, over claims, requests, alternatives and devices, in upstream's order.

Each chosen device is marked and the search goes on behind it; when a branch fails it is taken back. The first
solution wins. Within a request only ascending positions are tried, so one request never takes a device twice; an
alternative of firstAvailable is tried with everything behind it, but not with other devices before it.

Beyond upstream: a request stops as soon as fewer candidates are left than it still needs, so n+1 of n equal devices
costs n steps and not 2^n; candidates of a request are found once, not once per branch. Neither changes the outcome:
what is left out could not have succeeded, and a candidate's selectors do not depend on the branch.

Upstream: `allocateOne` and `allocateDevice` of structured/internal/experimental.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from dra_operator.allocation.constraints import Constraint
from dra_operator.allocation.counters import Counters
from dra_operator.allocation.features import Features
from dra_operator.allocation.outcome import Abort
from dra_operator.allocation.requests import Alternative
from dra_operator.allocation.selectors import in_class, matches_request
from dra_operator.allocation.taints import find_blocking_taint
from dra_operator.allocation.tally import Tally
from dra_operator.api.core import Node
from dra_operator.api.reasons import Reason
from dra_operator.api.resource import ALLOCATION_RESULTS_MAX_SIZE
from dra_operator.inventory.devices import Device, DeviceId
from dra_operator.inventory.pools import Pool, device_serves

OPTIONAL_NODE_OPERATIONS = "DRAOptionalNodeOperations"
"""The feature a node declares when its kubelet can leave out node operations."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """A device for a request, as the search found it."""

    alternative: Alternative
    device: Device


class _TooManyDevicesError(Exception):
    """The claim would have more results than it may: abandons the choices of requests before, as upstream."""


class Search:
    """One search on one node. `is_held` tells which devices other claims hold exclusively."""

    def __init__(
        self,
        node: Node,
        pools: Sequence[Pool],
        requests: Sequence[Sequence[Sequence[Alternative]]],
        constraints: Sequence[Sequence[Constraint]],
        features: Features,
        is_held: Callable[[DeviceId], bool],
        budget: int,
    ) -> None:
        """`requests`: by claim and request, the alternatives. `budget`: steps after which the search is given up."""
        self._node = node
        self._pools = [pool for pool in pools if not pool.incomplete and not pool.invalid]
        self._positions = [(pool, device) for pool in self._pools for device in pool.devices]
        self._pool_of = {device.id: pool for pool, device in self._positions}
        self.requests = requests
        self._constraints = constraints
        self._features = features
        self._is_held = is_held
        self._counters = Counters(is_held)
        self._marked: dict[DeviceId, set[int]] = {}
        self._selectable: dict[tuple[int, int, str], dict[int, bool]] = {}
        self._steps_left = budget
        self.chosen: list[list[Chosen]] = [[] for _ in requests]
        self.picked: dict[tuple[int, int], Alternative] = {}
        self.tally = Tally()

    def run(self) -> bool:
        """Whether there is a solution; `chosen` and `picked` then hold it. Raises `Abort`."""
        try:
            return self._claim(0)
        except _TooManyDevicesError:
            return False

    # --- descent ---------------------------------------------------------------------------------------------------

    def _claim(self, claim: int) -> bool:
        if claim == len(self.requests):
            return True
        return self._request(claim, 0)

    def _request(self, claim: int, request: int) -> bool:
        if request == len(self.requests[claim]):
            try:
                return self._claim(claim + 1)
            except _TooManyDevicesError:
                return False
        alternatives = self.requests[claim][request]
        if not alternatives[0].subrequest:
            self.picked[claim, request] = alternatives[0]
            return self._devices(claim, request, alternatives[0], 0, 0)
        too_many = True
        for alternative in alternatives:
            self.picked[claim, request] = alternative
            try:
                if self._devices(claim, request, alternative, 0, 0):
                    # Deeper alternatives of the same request do not exist, but a failed branch may have left its pick.
                    self.picked[claim, request] = alternative
                    return True
            except _TooManyDevicesError:
                continue
            too_many = False
        if too_many:
            raise _TooManyDevicesError
        return False

    def _devices(self, claim: int, request: int, alternative: Alternative, got: int, start: int) -> bool:
        """Give the request its device number `got` and all that follow; candidates from position `start` on."""
        if alternative.all_devices and not alternative.all_:
            return False
        wanted = len(alternative.all_) if alternative.all_devices else alternative.count
        if got >= wanted:
            return self._request(claim, request + 1)
        if wanted - got > ALLOCATION_RESULTS_MAX_SIZE - len(self.chosen[claim]):
            raise _TooManyDevicesError
        if alternative.all_devices:
            return self._try(claim, request, alternative, alternative.all_[got], got, 0, must=True)
        last = len(self._positions) - (wanted - got) + 1
        for position in range(start, last):
            _, device = self._positions[position]
            if self._in_use(claim, alternative, device):
                self.tally.in_use(alternative, device)
                continue
            if not self._is_selectable(claim, request, alternative, position):
                continue
            if self._try(claim, request, alternative, device, got, position + 1, must=False):
                return True
        return False

    def _try(
        self, claim: int, request: int, alternative: Alternative, device: Device, got: int, then: int, *, must: bool
    ) -> bool:
        """Take the device and go on behind it; take it back if that leads nowhere."""
        self._steps_left -= 1
        if self._steps_left < 0:
            raise Abort(Reason.SEARCH_BUDGET_EXCEEDED, "the search was given up after its budget of steps")
        undo = self._take(claim, alternative, device, must=must)
        if undo is None:
            return False
        done = False
        try:
            done = self._devices(claim, request, alternative, got + 1, then)
        finally:
            if not done:
                for step in reversed(undo):
                    step()
        return done

    def _take(
        self, claim: int, alternative: Alternative, device: Device, *, must: bool
    ) -> list[Callable[[], None]] | None:
        """Mark the device as chosen. Returns how to take that back, or None (and nothing changed)."""
        if self._in_use(claim, alternative, device):
            self.tally.in_use(alternative, device)
            return None
        if not self._node_operates(device):
            return None
        undo: list[Callable[[], None]] = []
        admitted = self._admit(claim, alternative, device, undo, must=must)
        if not admitted:
            for step in reversed(undo):
                step()
            return None
        marks = self._marked.setdefault(device.id, set())
        marks.add(claim)
        undo.append(lambda: marks.discard(claim))
        results = self.chosen[claim]
        results.append(Chosen(alternative, device))
        undo.append(lambda: results.__delitem__(-1))
        return undo

    def _admit(
        self, claim: int, alternative: Alternative, device: Device, undo: list[Callable[[], None]], *, must: bool
    ) -> bool:
        """Counters, taints and constraints, in upstream's order; each that took something adds how to give it back."""
        if device.basic.consumes_counters:
            if not self._features.partitionable_devices:
                return False
            give_back = self._counters.consume(self._pool_of[device.id], device)
            if give_back is None:
                self.tally.no_counters(alternative, device)
                return False
            undo.append(give_back)
        if self._features.device_taints and find_blocking_taint(device.taints, alternative.tolerations) is not None:
            self.tally.tainted(alternative, device)
            return False
        for constraint in self._constraints[claim]:
            if not constraint.covers(alternative.request, alternative.subrequest):
                continue
            release = constraint.admit(device)
            if release is None:
                self.tally.constrained(alternative, device)
                if must:
                    raise Abort(
                        Reason.CONSTRAINT_UNSATISFIED,
                        f'request "{alternative.name}" asks for all devices, which a constraint of the claim forbids',
                    )
                return False
            undo.append(release)
        return True

    # --- single devices --------------------------------------------------------------------------------------------

    def _in_use(self, claim: int, alternative: Alternative, device: Device) -> bool:
        marks = self._marked.get(device.id)
        if alternative.admin_access:
            return marks is not None and claim in marks
        return bool(marks) or self._is_held(device.id)

    def _node_operates(self, device: Device) -> bool:
        if not device.slice.spec.skip_node_operations:
            return True
        declared = self._node.status.declared_features or ()
        return self._features.optional_node_operations and OPTIONAL_NODE_OPERATIONS in declared

    def _is_selectable(self, claim: int, request: int, alternative: Alternative, position: int) -> bool:
        known = self._selectable.setdefault((claim, request, alternative.subrequest), {})
        result = known.get(position)
        if result is None:
            result = known[position] = is_selectable(
                alternative, self._positions[position][1], self._node, self._features, self.tally
            )
        return result


def is_selectable(alternative: Alternative, device: Device, node: Node, features: Features, tally: Tally) -> bool:
    """Whether the request may have the device at all: gates, class, selectors, the device's own node selection."""
    if device.basic.binding_conditions and not features.device_binding_and_status:
        return False
    if device.allow_multiple_allocations:
        return False  # shares are not given out: see docs/features
    tally.published(alternative, device)
    if not in_class(alternative, device):
        return False
    tally.in_class(alternative, device)
    if not matches_request(alternative, device):
        return False
    if device.slice.spec.per_device_node_selection and not device_serves(device.basic, node):
        return False
    tally.matching(alternative, device)
    return True
