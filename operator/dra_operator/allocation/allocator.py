"""One decision: devices for some claims of one pod, together, on one node.

Reads the inventory, the ledger and the classes; changes nothing. What a decision finds out besides its outcome is the
tally of why devices were left out.

Upstream: `Allocator.Allocate` of k8s.io/dynamic-resource-allocation/structured (the experimental implementation with
all of its gates).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dra_operator.allocation.constraints import build_constraints
from dra_operator.allocation.features import Features
from dra_operator.allocation.outcome import Abort, Allocated, AllocationError, Unschedulable
from dra_operator.allocation.requests import Alternative, expand_claim
from dra_operator.allocation.result import build_allocation
from dra_operator.allocation.search import Search, is_selectable
from dra_operator.allocation.tally import Tally, reason_of
from dra_operator.api.core import Node
from dra_operator.api.reasons import Reason
from dra_operator.api.resource import ALLOCATION_RESULTS_MAX_SIZE, DeviceClass, ResourceClaim
from dra_operator.inventory.devices import Device
from dra_operator.inventory.inventory import Inventory
from dra_operator.inventory.ledger import Ledger
from dra_operator.inventory.pools import Pool

__all__ = ["Allocated", "AllocationError", "Allocator", "Unschedulable"]

STEP_BUDGET = 200_000


@dataclass(slots=True)
class Allocator:
    """`classes` by name, read at each call."""

    inventory: Inventory
    ledger: Ledger
    classes: Mapping[str, DeviceClass]
    features: Features = Features()
    budget: int = STEP_BUDGET

    def allocate(
        self, claims: Sequence[ResourceClaim], node: Node, tally: Tally | None = None
    ) -> Allocated | Unschedulable | AllocationError:
        """Devices for all the claims on the node, or why not. `tally` is added to when there are none."""
        try:
            return self._allocate(claims, node, tally if tally is not None else Tally())
        except Abort as abort:
            return abort.error

    def _allocate(self, claims: Sequence[ResourceClaim], node: Node, tally: Tally) -> Allocated | Unschedulable:
        pools = self.inventory.pools(node)
        requests = [expand_claim(claim, self.classes, self.features) for claim in claims]
        for claim in requests:
            self._enumerate_all(claim, pools, node)
        constraints = [
            build_constraints(claim.spec.devices.constraints, lists=self.features.list_type_attributes)
            for claim in claims
        ]
        search = Search(node, pools, requests, constraints, self.features, self.ledger.is_held, self.budget)
        if not search.run():
            return self._refuse(search, pools, node, tally)
        return Allocated(
            tuple(
                build_allocation(
                    claim,
                    [search.picked[index, request] for request in range(len(requests[index]))],
                    search.chosen[index],
                    node.metadata.name,
                    self.features,
                )
                for index, claim in enumerate(claims)
            )
        )

    def _enumerate_all(self, claim: Sequence[Sequence[Alternative]], pools: Sequence[Pool], node: Node) -> None:
        """Find what All means, for every alternative, and check that the claim's least fits into its results."""
        least = 0
        for alternatives in claim:
            for alternative in alternatives:
                if alternative.all_devices:
                    alternative.all_ = self._all(alternative, pools, node)
            fewest = min(
                len(alternative.all_) if alternative.all_devices else alternative.count for alternative in alternatives
            )
            if fewest > ALLOCATION_RESULTS_MAX_SIZE - least:
                raise Abort(
                    Reason.REQUEST_INVALID,
                    f'request "{alternatives[0].request}" brings the claim to {least + fewest} devices; '
                    f"a claim may have {ALLOCATION_RESULTS_MAX_SIZE}",
                )
            least += fewest

    def _all(self, alternative: Alternative, pools: Sequence[Pool], node: Node) -> tuple[Device, ...]:
        unseen = Tally()
        found: list[Device] = []
        for pool in pools:
            if pool.incomplete or pool.invalid:
                reason = Reason.POOL_INCOMPLETE if pool.incomplete else Reason.POOL_INVALID
                state = "being updated" if pool.incomplete else f"invalid ({pool.invalid})"
                raise Abort(
                    reason,
                    f'request "{alternative.name}" asks for all devices, and pool "{pool.key.pool}" of driver '
                    f'"{pool.key.driver}" is {state}',
                )
            found += [
                device for device in pool.devices if is_selectable(alternative, device, node, self.features, unseen)
            ]
        return tuple(found)

    def _refuse(self, search: Search, pools: Sequence[Pool], node: Node, tally: Tally) -> Unschedulable:
        """Say why, and add to the tally what the search saw; devices in use count only if they would match."""
        for claim in search.requests:
            for alternatives in claim:
                for alternative in alternatives:
                    funnel = search.tally.funnels[alternative.name]
                    for id_ in list(funnel.in_use):
                        device = self.inventory.device(id_)
                        if device is None or not self._would_match(alternative, device, node, search.tally):
                            funnel.in_use.discard(id_)
        tally.add(search.tally)
        for pool in pools:
            if pool.invalid:
                return Unschedulable(
                    Reason.POOL_INVALID,
                    f'pool "{pool.key.pool}" of driver "{pool.key.driver}" is invalid: {pool.invalid}',
                )
        for name, funnel in search.tally.funnels.items():
            return Unschedulable(reason_of(funnel), f'request "{name}" got no devices')
        incomplete = any(pool.incomplete for pool in pools)
        return Unschedulable(
            Reason.POOL_INCOMPLETE if incomplete else Reason.NO_MATCHING_DEVICE, "the node has no devices to offer"
        )

    def _would_match(self, alternative: Alternative, device: Device, node: Node, tally: Tally) -> bool:
        """Asked for the explanation only: a selector that fails on a device in use is no error."""
        try:
            return is_selectable(alternative, device, node, self.features, tally)
        except Abort:
            return False
