"""Devices that were released and are not given out yet: their driver may still have to let go of them.

When a pod that ran is gone, its claim is deallocated at once, and the kubelet unprepares it a moment later. A driver
that finds a device prepared for two claims fails the second pod, or worse does not notice. So a released device stays
taken for a while, but for those of a pod that was never bound to a node.

Our own agent taints what is not unprepared yet (`dra-operator.io/unpreparing`) and so is exact, a moment after it could
see the release, and later where the claim had just been prepared: it begins to watch a claim seconds after that. So its
devices are held back for as long as that may take, and not at all where the kubelet has said that the pod ended: it
unprepares before it says so.

Held back is what this process saw released; after a restart nothing is.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from typing import Final

from dra_operator.api.meta import Uid
from dra_operator.api.names import FIELD_MANAGER
from dra_operator.api.resource import (
    AllocationResult,
    DeviceAllocationResult,
    DeviceRequestAllocationResult,
    ResourceClaim,
)
from dra_operator.inventory.devices import DeviceId, PoolKey
from dra_operator.inventory.inventory import Inventory
from dra_operator.inventory.ledger import Ledger

OWN_SECONDS: Final = 5.0
"""Three until an agent watches a claim that it has prepared, then a LIST and the write of a slice."""


@dataclass(slots=True)
class HoldBack:
    """See the module. `seconds` may be 0: nothing is held back. `now` is the caller's clock."""

    inventory: Inventory
    ledger: Ledger
    seconds: float = 0.0
    now: Callable[[], float] = lambda: 0.0
    _until: dict[Uid, tuple[float, frozenset[PoolKey]]] = field(default_factory=dict)
    _count: Iterator[int] = field(default_factory=itertools.count)

    def released(self, claim: ResourceClaim, *, ended: bool = False) -> None:
        """The claim's allocation, which a pod on a node used, is gone. `ended`: all that used it are known to have."""
        allocation = claim.status.allocation
        results = (allocation.devices.results if allocation is not None else None) or ()
        taken = [result for result in results if not result.admin_access]
        others = tuple(one for one in taken if self._is_of_others(DeviceId(one.driver, one.pool, one.device)))
        self._hold(claim, others, self.seconds)
        if not ended:
            self._hold(claim, tuple(one for one in taken if one not in others), min(OWN_SECONDS, self.seconds))

    def _hold(self, claim: ResourceClaim, results: tuple[DeviceRequestAllocationResult, ...], seconds: float) -> None:
        if seconds <= 0 or not results:
            return
        holder = Uid(f"released/{next(self._count)}/{claim.uid}")  # a claim may release again while this is held
        self.ledger.assume(holder, AllocationResult(devices=DeviceAllocationResult(results=results)))
        pools = frozenset(PoolKey(result.driver, result.pool) for result in results)
        self._until[holder] = (self.now() + seconds, pools)

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
