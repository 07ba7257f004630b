"""One decision: devices for some claims of one pod, together, on one node.

Reads the inventory, the ledger and the classes; changes nothing. Outcomes are values: devices, "not on this node", or
an error that ends the decision for the pod on all nodes.

Upstream: `Allocator.Allocate` of k8s.io/dynamic-resource-allocation/structured, the experimental implementation, which
honours all gates.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from dra_operator.allocation.candidates import Ask, Candidates
from dra_operator.allocation.constraints import build_constraints
from dra_operator.allocation.features import Features
from dra_operator.allocation.findings import Finding
from dra_operator.allocation.outcome import Abort, Allocated, AllocationError, Outcome, Unschedulable
from dra_operator.allocation.refusals import Memory, Refusals
from dra_operator.allocation.requests import Alternative, expand_claim
from dra_operator.allocation.result import build_allocation
from dra_operator.allocation.search import Search
from dra_operator.allocation.taking import Taking
from dra_operator.api.core import Node
from dra_operator.api.reasons import Reason
from dra_operator.api.resource import ALLOCATION_RESULTS_MAX_SIZE, DeviceClass, ResourceClaim
from dra_operator.inventory.inventory import Inventory
from dra_operator.inventory.ledger import Ledger
from dra_operator.inventory.pools import NodePools, NodeSelectorInvalid, Pool, PoolGates

__all__ = ["Allocated", "AllocationError", "Allocator", "Outcome", "Unschedulable"]

STEP_BUDGET = 100_000
"""About a second. Upstream gives up after ten."""


def new_share_id() -> str:
    return str(uuid.uuid4())


@dataclass(frozen=True, slots=True)
class Allocator:
    """`classes` by name, read at each decision."""

    inventory: Inventory
    ledger: Ledger
    classes: Mapping[str, DeviceClass]
    features: Features = Features()
    budget: int = STEP_BUDGET
    share_id: Callable[[], str] = new_share_id
    refusals: Refusals[Finding] = field(default_factory=Refusals, compare=False, repr=False)

    def allocate(self, claims: Sequence[ResourceClaim], node: Node) -> Outcome:
        """Devices for all the claims on the node, or why not."""
        plan = self.plan(claims)
        return plan if isinstance(plan, AllocationError) else plan.allocate(node)

    def plan(self, claims: Sequence[ResourceClaim]) -> Plan | AllocationError:
        """What the claims ask for, checked once for all nodes."""
        try:
            requests = tuple(expand_claim(claim, self.classes, self.features) for claim in claims)
            for claim in claims:
                build_constraints(claim.spec.devices.constraints or (), lists=self.features.list_type_attributes)
        except Abort as abort:
            return abort.error
        return Plan(self, tuple(claims), requests)

    def pools(self, node: Node) -> NodePools:
        """The pools that the allocator sees for the node. Raises `Abort`."""
        gates = PoolGates(self.features.partitionable_devices, self.features.compatibility_groups)
        try:
            return self.inventory.pools(node, gates)
        except NodeSelectorInvalid as error:
            raise Abort(Reason.POOL_INVALID, f"a ResourceSlice has an invalid node selector: {error}") from error


@dataclass(frozen=True, slots=True)
class Plan:
    """Claims to allocate together, ready to be tried on node after node."""

    allocator: Allocator
    claims: tuple[ResourceClaim, ...]
    requests: tuple[tuple[tuple[Alternative, ...], ...], ...]
    """By claim and request, the alternatives."""

    def allocate(self, node: Node) -> Outcome:
        """Devices for all the claims on the node, or why not."""
        try:
            return self._allocate(node)
        except Abort as abort:
            return abort.error

    def recall(self, nodes: Mapping[str, Node]) -> Memory[Finding]:
        """What is known about the nodes from plans like this one."""
        allocator = self.allocator
        classes = [
            alternative.class_
            for requests in self.requests
            for alternatives in requests
            for alternative in alternatives
        ]
        return allocator.refusals.recall(self.claims, classes, nodes, allocator.inventory, allocator.ledger)

    def _allocate(self, node: Node) -> Allocated | Unschedulable:
        allocator = self.allocator
        pools = allocator.pools(node)
        taking = Taking(node, pools, allocator.ledger, allocator.features)
        asks = [self._asks(index, taking, pools.pools) for index in range(len(self.claims))]
        search = Search(taking, asks, allocator.budget)
        if not search.run():
            return _refuse(pools.pools)
        return Allocated(
            tuple(
                build_allocation(
                    claim,
                    [search.picked[index, request].alternative for request in range(len(self.requests[index]))],
                    search.taken[index],
                    node.metadata.name,
                    allocator.features,
                    allocator.share_id,
                )
                for index, claim in enumerate(self.claims)
            )
        )

    def _asks(self, claim: int, taking: Taking, pools: Sequence[Pool]) -> list[list[Ask]]:
        """A claim's requests on the node, with what All means there; its least must fit into its results."""
        requests = self.requests[claim]
        constraints = build_constraints(
            self.claims[claim].spec.devices.constraints or (), lists=taking.features.list_type_attributes
        )
        may_prune = not any(alternative.derived for request in requests for alternative in request)
        asks: list[list[Ask]] = []
        least = 0
        for request in requests:
            asks.append([])
            for alternative in request:
                candidates = Candidates(alternative, taking, may_prune=may_prune)
                covering = tuple(constraint for constraint in constraints if constraint.covers(alternative))
                ask = Ask(alternative, candidates, covering)
                if alternative.all_devices:
                    ask.all_ = _all(alternative, candidates, taking, pools)
                asks[-1].append(ask)
            fewest = min(ask.wanted for ask in asks[-1])
            if fewest > ALLOCATION_RESULTS_MAX_SIZE - least:
                raise Abort(
                    Reason.REQUEST_INVALID,
                    f'request "{request[0].request}" brings the claim to {least + fewest} devices; '
                    f"a claim may have {ALLOCATION_RESULTS_MAX_SIZE}",
                )
            least += fewest
        return asks


def _all(alternative: Alternative, candidates: Candidates, taking: Taking, pools: Sequence[Pool]) -> tuple[int, ...]:
    """The devices that All means on the node: those that the request may have if all were free. Raises `Abort`."""
    for pool in pools:
        if not pool.usable:
            state = "being updated" if pool.incomplete else f"invalid ({pool.invalid})"
            raise Abort(
                Reason.POOL_INCOMPLETE if pool.incomplete else Reason.POOL_INVALID,
                f'request "{alternative.name}" asks for all devices, and pool "{pool.key.pool}" of driver '
                f'"{pool.key.driver}" is {state}',
            )
    return tuple(
        position
        for position in range(len(taking.devices))
        if candidates.is_selectable(position) and taking.could_have_capacity(alternative, position)
    )


def _refuse(pools: Sequence[Pool]) -> Unschedulable:
    for pool in pools:
        if pool.invalid:
            return Unschedulable(
                Reason.POOL_INVALID,
                f'pool "{pool.key.pool}" of driver "{pool.key.driver}" is invalid: {pool.invalid}',
            )
    return Unschedulable(Reason.NO_MATCHING_DEVICE, "the node cannot serve all requests together")
