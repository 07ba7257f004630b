"""How long our decisions take, measured as the controller makes them.

Every decision is followed by what follows in a cluster: the claim that was given devices holds them, and the oldest
ones end, until as many devices are free again as were given. So each decision meets a cluster that has changed since
the one before, and the share in use stays what the row says. When a pod finds nothing, what had ended comes back in
its place.
"""

from __future__ import annotations

import gc
import time
from collections import deque
from dataclasses import dataclass

from dra_operator.allocation.allocator import Allocator
from dra_operator.allocation.place import Decision, Placement, place
from dra_operator.allocation.strategy import Strategy
from dra_operator.api.core import Pod
from dra_operator.api.meta import ObjectMeta, Uid
from dra_operator.api.resource import AllocationResult, ResourceClaim, ResourceClaimStatus
from dra_operator.inventory.inventory import Inventory
from dra_operator.inventory.ledger import Ledger
from dra_operator.inventory.nodes import Nodes
from tests.builders import pod
from tests.perf.inventories import World

_WARM_UP = 50
"""Decisions until every node of the largest cluster has been looked at."""


@dataclass(frozen=True)
class Timing:
    """Seconds. `cold`: the first decision of its kind, which has everything still to find out."""

    median: float
    p99: float
    cold: float
    fits: float
    """The share of decisions that found devices."""


class Bench:
    """An allocator that has seen a world."""

    def __init__(self, world: World, *, strategy: Strategy = Strategy.BEST_FIT) -> None:
        self._inventory, self._ledger = Inventory(), Ledger()
        self._nodes = Nodes()
        self._nodes.update(world.nodes)
        for slice_ in world.slices:
            self._inventory.apply_slice(slice_)
        for claim in world.allocated:
            self._ledger.observe(claim, live=True)
        self._allocator = Allocator(self._inventory, self._ledger, world.classes, strategy=strategy)
        self._held = deque(world.allocated)
        self._count = 0
        self._owed = 1

    def measure(self, claims: tuple[ResourceClaim, ...], *, runs: int, seconds: float) -> Timing:
        asks = pod()
        _, cold = self._step(asks, claims)
        for _ in range(_WARM_UP):
            self._step(asks, claims)
        gc.collect()
        gc.freeze()  # as the controller does once it is synced
        durations: list[float] = []
        fits = 0
        begin = time.perf_counter()
        while len(durations) < runs and (len(durations) < 5 or time.perf_counter() - begin < seconds):
            decision, took = self._step(asks, claims)
            durations.append(took)
            fits += isinstance(decision, Placement)
        durations.sort()
        count = len(durations)
        return Timing(durations[count // 2], durations[count * 99 // 100], cold, fits / count)

    def _step(self, asks: Pod, claims: tuple[ResourceClaim, ...]) -> tuple[Decision, float]:
        ended = self._end()
        start = time.perf_counter()
        decision = place(asks, claims, nodes=self._nodes, usage={}, allocator=self._allocator)
        took = time.perf_counter() - start
        if isinstance(decision, Placement):
            self._owed += sum(len(allocation.devices.results or ()) for allocation in decision.allocations)
            for claim, allocation in zip(claims, decision.allocations, strict=True):
                self._hold(claim, allocation)
        else:
            for claim in ended:
                self._ledger.observe(claim, live=True)
                self._held.append(claim)
                self._owed += _devices(claim)
        return decision, took

    def _end(self) -> list[ResourceClaim]:
        """Claims end until what is owed is free."""
        ended: list[ResourceClaim] = []
        while self._owed > 0 and self._held:
            claim = self._held.popleft()
            self._ledger.remove(claim.uid)
            self._owed -= _devices(claim)
            ended.append(claim)
        return ended

    def _hold(self, claim: ResourceClaim, allocation: AllocationResult) -> None:
        """The claim is written, and comes back through the watch."""
        self._count += 1
        uid = Uid(f"decided-{self._count}")
        metadata = ObjectMeta(name=uid, namespace=claim.metadata.namespace, uid=uid)
        written = ResourceClaim(metadata=metadata, spec=claim.spec, status=ResourceClaimStatus(allocation=allocation))
        self._ledger.assume(uid, allocation)
        self._ledger.observe(written, live=True)
        self._held.append(written)


def _devices(claim: ResourceClaim) -> int:
    allocation = claim.status.allocation
    return 0 if allocation is None else len(allocation.devices.results or ())
