"""Which devices a gated pod gets: all its claims together, on one node, or nothing.

Claims that are allocated already only restrict the node. After a crash between two writes the allocated one fixes the
node; if the rest does not fit there and only this pod uses what is allocated, that is given back first, so that the
pod holds nothing while it waits.

Answers "does not fit" are remembered per signature (what is asked, and where it may go) for as long as nothing has
become free: a thousand equal waiting pods cost one search. Devices and room that are taken meanwhile leave that true,
but not the words for it: where a pod says something else, they are found anew. So words never give way to older ones,
and two operators that see the same do not contradict each other for ever.

The first of equal pods may cost a second where there are thousands of nodes, or a puzzle on one of them; such a look
ends `Unfinished`, and the caller drives the search on, in steps.

Upstream: the dynamicresources plugin of kube-scheduler (PreFilter, Filter, Reserve); here one loop decides serially.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Final, TypeAlias

from dra_operator.access.admin import asks_admin_access, grants_admin_access
from dra_operator.allocation.allocator import AllocationError, Allocator, Plan, Unschedulable
from dra_operator.allocation.asking import TakesLong, spending
from dra_operator.allocation.features import Features
from dra_operator.allocation.nodefit import Fit
from dra_operator.allocation.place import Placement, place_steps
from dra_operator.allocation.strategy import Strategy
from dra_operator.api.codec import encode
from dra_operator.api.core import Pod
from dra_operator.api.names import DEVICES_ALLOCATED
from dra_operator.api.reasons import Reason
from dra_operator.api.resource import ResourceClaim
from dra_operator.lifecycle.generate import Blocked, admin_access_denied
from dra_operator.lifecycle.publish import MESSAGE_MAX_LENGTH
from dra_operator.lifecycle.reservation import Reservation, find_reservation
from dra_operator.lifecycle.view import View
from dra_operator.lifecycle.waiting import Group, turn

_WAKING_STEPS: Final = 20_000
"""What selectors may cost for the question whether a node may serve those who wait: a few milliseconds."""

_Key: TypeAlias = tuple[bytes, str | None]
"""What is asked, and the node that is kept for another."""
Search: TypeAlias = Generator[None, None, None]
_UNFINISHED_MAX: Final = 3
"""Where the cluster changes faster than a search ends, the next look ends all the same: a stall beats no answer."""


@dataclass(frozen=True, slots=True)
class Unfinished:
    """The decision takes longer than one look may: `search` has to be driven to its end, then the pod looked at again.

    What it finds out is remembered, so that the next look has little left to do.
    """

    search: Search


@dataclass(frozen=True, slots=True)
class _Answer:
    """What did not fit, and what was taken when that was found."""

    decision: Unschedulable | AllocationError
    taken: tuple[int, int]

    def is_told(self, pod: Pod) -> bool:
        """Whether the pod says so, or nothing yet."""
        current = pod.condition(DEVICES_ALLOCATED)
        told = self.decision.reason, self.decision.message[:MESSAGE_MAX_LENGTH]
        return current is None or (current.reason, current.message) == told


Decision: TypeAlias = Placement | Unschedulable | AllocationError | Unfinished


@dataclass(slots=True)
class Decider:
    """Places pods with an allocator over a View, and remembers what did not fit."""

    view: View
    features: Features = field(default_factory=Features)
    strategy: Strategy = Strategy.BEST_FIT
    steps_in_one_go: int | None = None
    """What a look may search before it is `Unfinished`, in steps of `place_steps`; None: as long as it takes."""
    allocator: Allocator = field(init=False)
    _refused: dict[_Key, _Answer] = field(init=False, default_factory=dict)
    _hopeless: set[bytes] = field(init=False, default_factory=set)
    """What no node could be kept for."""
    _epoch: int = field(init=False, default=-1)
    _unfinished: int = field(init=False, default=0)
    """Looks in a row that were not finished."""

    def __post_init__(self) -> None:
        view = self.view
        self.allocator = Allocator(view.inventory, view.ledger, view.classes, self.features, strategy=self.strategy)

    def admit(self, pod: Pod, claims: Sequence[ResourceClaim]) -> Blocked | None:
        """The admin-access rule, asked again before devices are given."""
        if grants_admin_access(self.view.namespaces.get(pod.metadata.namespace)):
            return None
        for claim in claims:
            if claim.status.allocation is None and asks_admin_access(claim.spec):
                return Blocked(Reason.ADMIN_ACCESS_DENIED, admin_access_denied(f'ResourceClaim "{claim.key}"', pod))
        return None

    def place(self, pod: Pod, claims: Sequence[ResourceClaim]) -> Decision:
        """A node and allocations for the unallocated of `claims`, in their order; or why there are none."""
        view = self.view
        kept = view.wakeups.reservation
        takes = any(claim.status.allocation is None for claim in claims)
        avoid = kept.node if kept is not None and takes and kept.keeps_out(pod) else None
        signature = self._signature(pod, claims)
        if self._epoch != view.wakeups.epoch:
            self._refused.clear()
            self._hopeless.clear()
            self._epoch = view.wakeups.epoch
        key = None if signature is None else (signature, avoid)
        known = self._refused.get(key) if key is not None else None
        # What a search has just found is good enough, or one that takes long would never be done with.
        if known is not None and (self._unfinished or known.taken == self._taken() or known.is_told(pod)):
            self._unfinished = 0
            return known.decision
        steps = place_steps(
            pod,
            claims,
            nodes=view.nodes,
            usage=view.usage,
            allocator=self.allocator,
            avoid=avoid,
        )
        most = self.steps_in_one_go if self._unfinished < _UNFINISHED_MAX else None
        for number in count():
            try:
                next(steps)
            except StopIteration as end:
                decision: Placement | Unschedulable | AllocationError = end.value
                break
            if number == most:
                self._unfinished += 1
                return Unfinished(self._finish(steps, key))
        self._unfinished = 0
        self._remember(key, decision)
        return decision

    def _finish(
        self, steps: Generator[None, None, Placement | Unschedulable | AllocationError], key: _Key | None
    ) -> Search:
        """The rest of a decision. The cluster may change meanwhile: then the outcome is forgotten."""
        epoch = self.view.wakeups.epoch
        decision = yield from steps
        if epoch == self.view.wakeups.epoch == self._epoch:
            self._remember(key, decision)

    def _remember(self, key: _Key | None, decision: Placement | Unschedulable | AllocationError) -> None:
        if key is not None and not isinstance(decision, Placement):
            self._refused[key] = _Answer(decision, self._taken())

    def _taken(self) -> tuple[int, int]:
        """Changes with every device and all room that is taken."""
        return self.view.ledger.version, self.view.placements.version

    def group(self, pod: Pod, claims: Sequence[ResourceClaim]) -> Group | None:
        """Those for whom the pod's refusal holds too; None where it waits alone."""
        signature, plan = self._signature(pod, claims), self._plan(claims)
        if signature is None or plan is None:
            return None
        view, fit = self.view, Fit(pod, self.view.classes)

        def may_serve(name: str) -> bool:
            node = view.nodes.get(name)
            if node is None or fit.misfits(node, view.usage[name]):
                return False
            try:
                with spending(_WAKING_STEPS):
                    return plan.rank(node) is not None
            except TakesLong:
                return True  # a look finds out

        return Group(signature, may_serve)

    def reserve(self, pod: Pod, claims: Sequence[ResourceClaim]) -> Reservation | None:
        """The node that is kept for a pod that has waited long, from now on or already.

        None if no node would do, or if one is kept for a pod whose turn is before.
        """
        view, kept, plan = self.view, self.view.wakeups.reservation, self._plan(claims)
        if plan is None:
            return None
        if kept is not None and kept.uid == pod.uid and self._would_do(kept.node, pod, plan):
            return kept
        if kept is not None and kept.uid != pod.uid and kept.node in view.nodes and kept.turn <= turn(pod):
            return None
        signature = self._signature(pod, claims)
        if signature is None or signature in self._hopeless:
            return None
        found = find_reservation(pod, plan, view.nodes, view.usage)
        if found is None:
            self._hopeless.add(signature)  # until something changes: a crowd of equal pods asks all nodes once
        return found

    def _would_do(self, name: str, pod: Pod, plan: Plan) -> bool:
        """Whether the node would serve the pod if enough came free on it."""
        node = self.view.nodes.get(name)
        if node is None or Fit(pod, self.view.classes).misfits(node, self.view.usage[name]):
            return False
        return plan.shortage(node) is not None

    def _plan(self, claims: Sequence[ResourceClaim]) -> Plan | None:
        plan = self.allocator.plan([claim for claim in claims if claim.status.allocation is None])
        return None if isinstance(plan, AllocationError) else plan

    def _signature(self, pod: Pod, claims: Sequence[ResourceClaim]) -> bytes | None:
        """What the decision depends on besides the cluster; None where claims of others take part."""
        if any(claim.status.allocation is not None for claim in claims):
            return None
        spec = pod.spec
        return encode(
            (
                [claim.spec for claim in claims],
                spec.node_selector,
                spec.affinity,
                spec.tolerations,
                [container.resources for container in spec.containers],
                [(container.resources, container.restart_policy) for container in spec.init_containers or ()],
                spec.resources,
                spec.overhead,
            )
        )
