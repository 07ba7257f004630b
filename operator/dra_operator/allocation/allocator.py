"""One decision: devices for some claims of one pod, together, on one node.

Reads the inventory, the ledger and the classes; changes nothing. Outcomes are values: devices, "not on this node", or
an error that ends the decision for the pod on all nodes.

Upstream: `Allocator.Allocate` of k8s.io/dynamic-resource-allocation/structured, the experimental implementation, which
honours all gates.
"""

from __future__ import annotations

import uuid
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from dra_operator.allocation.candidates import Ask, Candidates
from dra_operator.allocation.constraints import Constraint, build_constraints
from dra_operator.allocation.features import Features
from dra_operator.allocation.findings import Finding
from dra_operator.allocation.gauge import UNKNOWN, Gauge, Rank
from dra_operator.allocation.greedy import Greedy
from dra_operator.allocation.longsearches import Ended, LongSearches
from dra_operator.allocation.outcome import Abort, Allocated, AllocationError, Outcome, Unschedulable
from dra_operator.allocation.refusals import Memory, Refusals
from dra_operator.allocation.requests import Alternative, expand_claim
from dra_operator.allocation.result import build_allocation
from dra_operator.allocation.search import Search
from dra_operator.allocation.sites import Site, Sites
from dra_operator.allocation.stepwise import Steps, finish
from dra_operator.allocation.strategy import Strategy, choose_strategy
from dra_operator.allocation.taking import Taking
from dra_operator.api.codec import encode
from dra_operator.api.core import Node
from dra_operator.api.reasons import Reason
from dra_operator.api.resource import ALLOCATION_RESULTS_MAX_SIZE, DeviceClass, ResourceClaim
from dra_operator.inventory.inventory import Inventory
from dra_operator.inventory.ledger import Ledger
from dra_operator.inventory.pools import NodePools, NodeSelectorInvalid, Pool

__all__ = ["Allocated", "AllocationError", "Allocator", "Outcome", "Unschedulable"]

STEP_BUDGET: Final = 10_000
"""Devices taken in the search of one node: a few tenths of a second. Upstream gives up after ten seconds."""
_MAX_WANTS: Final = 256


def new_share_id() -> str:
    return str(uuid.uuid4())


@dataclass(frozen=True, slots=True)
class Wants:
    """What equal claims ask for, worked out once."""

    requests: tuple[tuple[tuple[Alternative, ...], ...], ...]
    """By claim and request, the alternatives."""
    classes: tuple[DeviceClass, ...]
    gauge: Gauge


@dataclass(slots=True)
class Costs:
    """What searches have cost so far."""

    steps: int = 0


@dataclass(frozen=True, slots=True)
class Allocator:
    """`classes` by name, read at each decision."""

    inventory: Inventory
    ledger: Ledger
    classes: Mapping[str, DeviceClass]
    features: Features = Features()
    budget: int = STEP_BUDGET
    share_id: Callable[[], str] = new_share_id
    strategy: Strategy = Strategy.FIRST
    """Where no class says otherwise."""
    refusals: Refusals[Finding] = field(default_factory=Refusals, compare=False, repr=False)
    sites: Sites = field(default_factory=Sites, compare=False, repr=False)
    long_searches: LongSearches = field(default_factory=LongSearches, compare=False, repr=False)
    costs: Costs = field(default_factory=Costs, compare=False, repr=False)
    _wants: OrderedDict[bytes, Wants] = field(default_factory=OrderedDict, init=False, compare=False, repr=False)

    def allocate(self, claims: Sequence[ResourceClaim], node: Node) -> Outcome:
        """Devices for all the claims on the node, or why not."""
        plan = self.plan(claims)
        return plan if isinstance(plan, AllocationError) else plan.allocate(node)

    def plan(self, claims: Sequence[ResourceClaim]) -> Plan | AllocationError:
        """What the claims ask for, checked once for all nodes."""
        key = encode([claim.spec.devices for claim in claims])
        wants = self._wants.get(key)
        if wants is None or any(self.classes.get(class_.metadata.name) is not class_ for class_ in wants.classes):
            try:
                wants = self._wants[key] = self._expand(claims)
            except Abort as abort:
                return abort.error
            if len(self._wants) > _MAX_WANTS:
                self._wants.popitem(last=False)
        self._wants.move_to_end(key)
        return Plan(self, tuple(claims), key, wants)

    def _expand(self, claims: Sequence[ResourceClaim]) -> Wants:
        """Raises `Abort`."""
        requests = tuple(expand_claim(claim, self.classes, self.features) for claim in claims)
        constraints = tuple(tuple(self.constraints(claim)) for claim in claims)
        classes = tuple(
            alternative.class_ for claim in requests for alternatives in claim for alternative in alternatives
        )
        strategy = choose_strategy(classes, self.strategy)
        return Wants(requests, classes, Gauge(requests, constraints, self.features, strategy))

    def constraints(self, claim: ResourceClaim) -> list[Constraint]:
        """The claim's constraints, with no device in them. Raises `Abort`."""
        return build_constraints(claim.spec.devices.constraints or (), lists=self.features.list_type_attributes)

    def pools(self, node: Node) -> NodePools:
        """The pools that the allocator sees for the node. Raises `Abort`."""
        return self.site(node).source

    def site(self, node: Node, *, by_value: bool = False) -> Site:
        """The devices that the allocator sees for the node. Raises `Abort`."""
        try:
            return self.sites.of(node, self.inventory, self.ledger, self.features, by_value=by_value)
        except NodeSelectorInvalid as error:
            raise Abort(Reason.POOL_INVALID, f"a ResourceSlice has an invalid node selector: {error}") from error


@dataclass(slots=True)
class Effort:
    """The steps that one decision may still take, over all nodes."""

    left: int


@dataclass(frozen=True, slots=True)
class Plan:
    """Claims to allocate together, ready to be tried on node after node."""

    allocator: Allocator
    claims: tuple[ResourceClaim, ...]
    key: bytes
    """Equal for plans that ask for the same."""
    wants: Wants

    @property
    def requests(self) -> tuple[tuple[tuple[Alternative, ...], ...], ...]:
        return self.wants.requests

    @property
    def strategy(self) -> Strategy:
        return self.wants.gauge.strategy

    def allocate(self, node: Node) -> Outcome:
        """Devices for all the claims on the node, or why not."""
        return finish(self.allocating(node))

    def allocating(self, node: Node, effort: Effort | None = None, rank: Rank | None = None) -> Steps[Outcome]:
        """Devices for all the claims on the node, or why not, in steps. `rank`: the node's, if it is known.

        Where something may fail on the way, devices are visited in upstream's order: it decides whether that is met.
        """
        try:
            site = self.site(node)
            known = self.wants.gauge.rank(site) if rank is None else rank
            if known is None:
                return _refuse(site.pools)
            if known == UNKNOWN:
                return (yield from self._allocate(self.allocator.site(node), effort))
            return (yield from self._allocate(site, effort))
        except Abort as abort:
            return abort.error

    def site(self, node: Node) -> Site:
        """The node's devices in the order that the strategy wants. Raises `Abort`."""
        return self.allocator.site(node, by_value=self.strategy is Strategy.BEST_FIT)

    def rank(self, node: Node) -> Rank | None:
        """How well the node would suit; None if it is certain to refuse."""
        try:
            return self.wants.gauge.rank(self.site(node))
        except Abort:
            return UNKNOWN

    def shortage(self, node: Node) -> int | None:
        """How many devices have to come free on the node, about; None if all of them would not do."""
        try:
            return self.wants.gauge.shortage(self.site(node))
        except Abort:
            return None

    def recall(self, nodes: Mapping[str, Node]) -> Memory[Finding]:
        """What is known about the nodes from plans like this one."""
        allocator = self.allocator
        return allocator.refusals.recall(
            self.key,
            self.wants.classes,
            nodes,
            allocator.inventory,
            allocator.ledger,
            ranked=self.strategy is not Strategy.FIRST,
        )

    def _allocate(self, site: Site, effort: Effort | None) -> Steps[Allocated | Unschedulable]:
        """Raises `Abort`."""
        effort = effort or Effort(self.allocator.budget)
        found = yield from self._find(site, effort)
        if found is None:
            return _refuse(site.pools)
        if site.is_by_value and (compromises := self._compromises(found)):
            # Devices for an earlier request are not taken back for a better alternative: upstream's may have left one.
            listed = self.allocator.site(site.node)
            with suppress(Abort):  # gave up
                other = yield from self._find(listed, effort)
                if other is not None and self._compromises(other) < compromises:
                    return self._build(listed, other)
        return self._build(site, found)

    def _find(self, site: Site, effort: Effort) -> Steps[Greedy | Search | None]:
        """Devices for all requests, or None. Raises `Abort`."""
        allocator = self.allocator
        taking = Taking(site, allocator.ledger, allocator.features)
        asks = [self._asks(index, taking) for index in range(len(self.claims))]
        if site.is_by_value and (greedy := Greedy(taking, asks)).run():
            return greedy
        budget = min(allocator.budget, effort.left)
        ended = allocator.long_searches.recall(self.wants, site, budget)
        if ended is None:
            ended = yield from self._search(site, Search(taking, asks, budget), budget)
        effort.left -= ended.search.steps
        if isinstance(ended.outcome, Abort):
            raise ended.outcome.with_traceback(None)
        return ended.search if ended.outcome else None

    def _search(self, site: Site, search: Search, budget: int) -> Steps[Ended]:
        """Search; others may have their turn meanwhile."""
        readings = site.readings
        try:
            outcome: bool | Abort = yield from search.run()
        except Abort as abort:
            outcome = abort
        self.allocator.costs.steps += search.steps
        ended = Ended(self.wants, site, readings, budget, search, outcome)
        self.allocator.long_searches.note(ended)
        return ended

    def _compromises(self, found: Greedy | Search) -> int:
        """The indexes of the chosen alternatives, summed up. Upstream scores nodes by them."""
        return sum(
            self.requests[claim][request].index(ask.alternative) for (claim, request), ask in found.picked.items()
        )

    def _build(self, site: Site, found: Greedy | Search) -> Allocated:
        """Raises `Abort`."""
        allocator = self.allocator
        return Allocated(
            tuple(
                build_allocation(
                    claim,
                    [found.picked[index, request].alternative for request in range(len(self.requests[index]))],
                    found.taken[index],
                    site.node.metadata.name,
                    allocator.features,
                    allocator.share_id,
                )
                for index, claim in enumerate(self.claims)
            )
        )

    def _asks(self, claim: int, taking: Taking) -> list[list[Ask]]:
        """A claim's requests on the node, with what All means there; its least must fit into its results."""
        requests = self.requests[claim]
        constraints = self.allocator.constraints(self.claims[claim])
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
                    ask.all_ = _all(alternative, candidates, taking)
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


def _all(alternative: Alternative, candidates: Candidates, taking: Taking) -> tuple[int, ...]:
    """The devices that All means on the node: those that the request may have if all were free. Raises `Abort`."""
    for pool in taking.site.pools:
        if not pool.usable:
            state = "being updated" if pool.incomplete else f"invalid ({pool.invalid})"
            raise Abort(
                Reason.POOL_INCOMPLETE if pool.incomplete else Reason.POOL_INVALID,
                f'request "{alternative.name}" asks for all devices, and pool "{pool.key.pool}" of driver '
                f'"{pool.key.driver}" is {state}',
            )
    return tuple(
        position
        for position in taking.site.listed
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
