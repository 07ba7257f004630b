"""Taking devices in one search and giving them back: in use, counters, groups, taints, constraints, capacity.

What can fail runs in upstream's order. A device that is taken is marked with its claim; one that allows multiple
allocations is not marked, but what its shares consume adds up. Admin access ignores what others use, and marks the
device all the same for the rest of the search; it pays counters and capacity.

Invariant: `take()` that returns None changed nothing; after `Taken.undo()` all is as before the `take()`. (One that
raises `Abort` may leave traces: the search is over then.)

Upstream: `allocateDevice` and `rollbackDevice` of structured/internal/experimental.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from dra_operator.allocation.capacity import find_consumption, has_room
from dra_operator.allocation.compatibility import Compatibility
from dra_operator.allocation.constraints import Constraint, Undo
from dra_operator.allocation.counters import Counters
from dra_operator.allocation.features import Features
from dra_operator.allocation.outcome import Abort
from dra_operator.allocation.requests import Alternative
from dra_operator.allocation.taints import find_blocking_taint
from dra_operator.api.core import Node
from dra_operator.api.quantity import Quantity
from dra_operator.api.reasons import Reason
from dra_operator.inventory.devices import Device, DeviceId
from dra_operator.inventory.ledger import Amounts, Ledger
from dra_operator.inventory.pools import NodePools

OPTIONAL_NODE_OPERATIONS = "DRAOptionalNodeOperations"
"""The feature a node declares when its kubelet can leave out node operations."""

_NANO = -9
_NOTHING: Mapping[str, Quantity] = {}


@dataclass(slots=True, eq=False)
class Taken:
    """A device for a request. `consumption` is None for a device that is not shared."""

    alternative: Alternative
    device: Device
    consumption: Mapping[str, Quantity] | None
    undos: list[Undo]

    def undo(self) -> None:
        for undo in reversed(self.undos):
            undo()


class Taking:
    """The devices for one node, by position, and what the search has taken of them so far."""

    def __init__(self, node: Node, pools: NodePools, ledger: Ledger, features: Features) -> None:
        self.node = node
        self.devices = pools.devices
        self.features = features
        self._pool_of = pools.pool_of
        self._ledger = ledger
        self._shares = features.consumable_capacity
        self._counters = Counters(self.is_used_by_others)
        self._compatibility = Compatibility(self.is_used_by_others)
        self._marks: dict[int, list[int]] = {}
        self._consumed: dict[int, list[Amounts]] = {}
        self._consumptions: dict[tuple[Alternative, int], Mapping[str, Quantity] | None] = {}

    # --- questions ---------------------------------------------------------------------------------------------------

    def is_used_by_others(self, device: DeviceId) -> bool:
        """Whether an allocated claim has the device or a share of it."""
        return self._ledger.is_held(device) or self._ledger.is_shared(device)

    def is_in_use(self, claim: int, alternative: Alternative, position: int) -> bool:
        """Whether the device is taken, for this request: nobody's share counts, and for admins only their own claim."""
        marks = self._marks.get(position)
        if alternative.admin_access:
            return marks is not None and claim in marks
        if marks:
            return True
        device = self.devices[position].id
        return self._ledger.is_held(device) or (not self._shares and self._ledger.is_shared(device))

    def marks(self, position: int) -> tuple[int, ...]:
        """The claims that the device is taken for."""
        return tuple(self._marks.get(position, ()))

    def is_shareable(self, position: int) -> bool:
        return self._shares and self.devices[position].allow_multiple_allocations

    def is_shared(self, position: int) -> bool:
        """Whether others have shares of the device."""
        return self._ledger.is_shared(self.devices[position].id)

    def is_permitted(self, alternative: Alternative, position: int) -> bool:
        """Whether gates, the node's features and the device's taints allow the request to have the device, ever."""
        device = self.devices[position]
        if device.basic.consumes_counters and not self.features.partitionable_devices:
            return False
        if device.slice.spec.skip_node_operations:
            declared = self.node.status.declared_features or ()
            if not self.features.optional_node_operations or OPTIONAL_NODE_OPERATIONS not in declared:
                return False
        return not self.features.device_taints or find_blocking_taint(device.taints, alternative.tolerations) is None

    def has_capacity(self, alternative: Alternative, position: int) -> bool:
        """Whether the device has, and has left, what the request asks for. Raises `Abort`."""
        if not self._shares:
            return True
        device = self.devices[position]
        own = self._consumed.get(position, ())
        others = self._ledger.consumed(device.id)
        if device.has_plain_capacity and not alternative.capacity and not own and not others:
            return True
        consumption = self.consumption(alternative, position)
        return consumption is not None and has_room(device, consumption, others, *own)

    def could_have_capacity(self, alternative: Alternative, position: int) -> bool:
        """Whether the device, all free, has what the request asks for. Raises `Abort`."""
        if not self._shares or (self.devices[position].has_plain_capacity and not alternative.capacity):
            return True
        return self.consumption(alternative, position) is not None

    def consumption(self, alternative: Alternative, position: int) -> Mapping[str, Quantity] | None:
        """What a share for the request takes; None if the device cannot give that, even all free. Raises `Abort`."""
        key = alternative, position
        if key not in self._consumptions:
            device, fractional = self.devices[position], self.features.fractional_capacity_range
            try:
                self._consumptions[key] = find_consumption(device, alternative.capacity, fractional=fractional)
            except Abort as abort:
                error = abort.error
                raise Abort(
                    error.reason, f'request "{alternative.name}", device {device.id}: {error.message}'
                ) from abort
        return self._consumptions[key]

    # --- taking ------------------------------------------------------------------------------------------------------

    def take(
        self,
        claim: int,
        alternative: Alternative,
        constraints: tuple[Constraint, ...],
        position: int,
        *,
        must: bool,
    ) -> Taken | None:
        """Take the device, which must be selectable. `must`: one of All, which no constraint may keep away.

        Raises `Abort`.
        """
        if self.is_in_use(claim, alternative, position) or not self.is_permitted(alternative, position):
            return None
        undos: list[Undo] = []
        if not self._admit(alternative, constraints, position, undos, must=must):
            for undo in reversed(undos):
                undo()
            return None
        consumption = None
        if self.is_shareable(position):
            consumption = self.consumption(alternative, position) or _NOTHING
            own = self._consumed.setdefault(position, [])
            own.append({name: amount.scaled_value(_NANO) for name, amount in consumption.items()})
            undos.append(own.pop)
        else:
            marks = self._marks.setdefault(position, [])
            marks.append(claim)
            undos.append(marks.pop)
        return Taken(alternative, self.devices[position], consumption, undos)

    def _admit(
        self,
        alternative: Alternative,
        constraints: tuple[Constraint, ...],
        position: int,
        undos: list[Undo],
        *,
        must: bool,
    ) -> bool:
        """Groups, counters, constraints, capacity; what was taken is added to `undos` even if all fails."""
        device = self.devices[position]
        if device.basic.consumes_counters and not self._count(device, position, undos):
            return False
        for constraint in constraints:
            undo = constraint.admit(alternative, device)
            if undo is None:
                if must:
                    raise Abort(
                        Reason.CONSTRAINT_UNSATISFIED,
                        f'request "{alternative.name}" asks for all devices, which a constraint of the claim forbids',
                    )
                return False
            undos.append(undo)
        return self.has_capacity(alternative, position)

    def _count(self, device: Device, position: int, undos: list[Undo]) -> bool:
        if self.is_shareable(position) and (self._consumed.get(position) or self._ledger.is_shared(device.id)):
            return True  # another share of it has paid
        pool = self._pool_of[position]
        if self.features.compatibility_groups:
            leave = self._compatibility.join(pool, device)
            if leave is None:
                return False
            undos.append(leave)
        give_back = self._counters.consume(pool, device)
        if give_back is None:
            return False
        undos.append(give_back)
        return True
