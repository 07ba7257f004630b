"""Devices that were released and are not given out yet: their driver may still have to let go of them.

When a pod that ran is gone, its claim is deallocated at once, and the kubelet unprepares it a moment later. A driver
that finds a device prepared for two claims fails the second pod, or worse does not notice. So a released device stays
taken for a while. Not held back: devices of a pod that was never bound to a node, and devices that our own agent
publishes, which taints what is not unprepared yet (`dra-operator.io/unpreparing`) and so is exact.

Held back is what this process saw released; after a restart nothing is.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field

from dra_operator.api.meta import Uid
from dra_operator.api.names import FIELD_MANAGER
from dra_operator.api.resource import AllocationResult, DeviceAllocationResult, ResourceClaim
from dra_operator.inventory.devices import DeviceId, PoolKey
from dra_operator.inventory.inventory import Inventory
from dra_operator.inventory.ledger import Ledger


@dataclass(slots=True)
class HoldBack:
    """See the module. `seconds` may be 0: nothing is held back. `now` is the caller's clock."""

    inventory: Inventory
    ledger: Ledger
    seconds: float = 0.0
    now: Callable[[], float] = lambda: 0.0
    _until: dict[Uid, tuple[float, frozenset[PoolKey]]] = field(default_factory=dict)
    _count: Iterator[int] = field(default_factory=itertools.count)

    def released(self, claim: ResourceClaim) -> None:
        """The claim's allocation, which a pod on a node used, is gone."""
        allocation = claim.status.allocation
        if self.seconds <= 0 or allocation is None:
            return
        results = tuple(
            result
            for result in allocation.devices.results or ()
            if not result.admin_access and self._is_of_others(DeviceId(result.driver, result.pool, result.device))
        )
        if not results:
            return
        holder = Uid(f"released/{next(self._count)}/{claim.uid}")  # a claim may release again while this is held
        self.ledger.assume(holder, AllocationResult(devices=DeviceAllocationResult(results=results)))
        pools = frozenset(PoolKey(result.driver, result.pool) for result in results)
        self._until[holder] = (self.now() + self.seconds, pools)

    def expire(self) -> Collection[PoolKey]:
        """Give up what was held back for long enough. Returns the pools of which something became free."""
        now = self.now()
        latest = now + self.seconds  # nothing is held longer; until then it may seem where the clock was set back
        over = {holder: pools for holder, (until, pools) in self._until.items() if not now < until <= latest}
        for holder in over:
            del self._until[holder]
            self.ledger.forget_assumed(holder)
        return {pool for pools in over.values() for pool in pools}

    def _is_of_others(self, id_: DeviceId) -> bool:
        device = self.inventory.device(id_)
        managers = {entry.manager for entry in device.slice.metadata.managed_fields or ()} if device else set()
        return FIELD_MANAGER not in managers
