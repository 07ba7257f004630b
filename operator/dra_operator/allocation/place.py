"""A node and devices for a pod: the best node, by the strategy, that takes the pod and has all it asks for.

Claims that are allocated already only restrict the node. A node that does not take the pod is not searched, so nothing
that is wrong with its devices matters; one that refused equal claims before is passed over (`refusals.py`). When
nothing fits, one sentence sums up all nodes: how many there are, and what they lack.

The first pod of a new ask does not wait until all nodes are ranked: it takes the best of a hundred, and the pods after
it rank on. A node whose search was given up does not stop the others; if none of them fits, that is the outcome.

Upstream: Filter of kube-scheduler's plugins over all nodes; there one failing node is one line, here they are counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from dra_operator.allocation.allocator import Allocator, Effort, Plan
from dra_operator.allocation.explain import Explanation, look_at
from dra_operator.allocation.findings import Finding
from dra_operator.allocation.nodefit import Fit, Misfit
from dra_operator.allocation.outcome import Allocated, AllocationError, Unschedulable
from dra_operator.allocation.refusals import Memory
from dra_operator.allocation.stepwise import Steps, finish
from dra_operator.allocation.usage import NodeUsage
from dra_operator.api.core import Node, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, Pod
from dra_operator.api.reasons import Reason
from dra_operator.api.resource import AllocationResult, ResourceClaim
from dra_operator.inventory.devices import DeviceId
from dra_operator.inventory.nodeselector import matches_node_selector

_EMPTY = NodeUsage()
_ENOUGH: Final = 128
"""Fresh nodes that are ranked before the best of all ranked ones is tried."""
_RANKED_PER_TRY: Final = 64
_RANKED_PER_STEP: Final = 8
"""A step is to cost about as much as the search of one node, be the selectors asked for the first time."""
_EFFORT: Final = 3
"""A decision may take as many steps as the searches of so many nodes."""


@dataclass(frozen=True, slots=True)
class Placement:
    """`allocations` are for the unallocated claims, in order."""

    node: str
    allocations: tuple[AllocationResult, ...]


Decision: TypeAlias = Placement | Unschedulable | AllocationError


def place(
    pod: Pod,
    claims: Sequence[ResourceClaim],
    *,
    nodes: Mapping[str, Node],
    usage: Mapping[str, NodeUsage],
    allocator: Allocator,
    avoid: str | None = None,
) -> Decision:
    """Drive `place_steps` to its end."""
    return finish(place_steps(pod, claims, nodes=nodes, usage=usage, allocator=allocator, avoid=avoid))


def place_steps(
    pod: Pod,
    claims: Sequence[ResourceClaim],
    *,
    nodes: Mapping[str, Node],
    usage: Mapping[str, NodeUsage],
    allocator: Allocator,
    avoid: str | None = None,
) -> Steps[Decision]:
    """Node by node; yields between two of them, and in a long search of one, so that a caller can let others run.
    `avoid` is kept for another.

    What happens to the cluster meanwhile may outdate a refusal, and a placement that was found in more than one step. A
    decision that is made anew at once takes both from memory if they still hold.
    """
    plan = allocator.plan([claim for claim in claims if claim.status.allocation is None])
    if isinstance(plan, AllocationError):
        return plan
    walk = _Walk(plan, Fit(pod, allocator.classes), _Scope(claims, avoid), nodes, usage)
    if (decision := (yield from walk.run())) is not None:
        return decision
    return (yield from _sum_up(walk, nodes))


class _Walk:
    """From node to node, best first, until one takes the pod."""

    def __init__(
        self, plan: Plan, fit: Fit, scope: _Scope, nodes: Mapping[str, Node], usage: Mapping[str, NodeUsage]
    ) -> None:
        self.plan = plan
        self._fit = fit
        self._nodes = nodes
        self._usage = usage
        self.effort = Effort(_EFFORT * plan.allocator.budget)
        self._given_up: AllocationError | None = None
        self._tried: set[str] = set()
        self.scope = scope
        self.memory = plan.recall(nodes)
        self.unsuitable: list[tuple[Node, Misfit]] = []

    def run(self) -> Steps[Placement | AllocationError | None]:
        """A node that takes the pod, an error that ends the decision, or None: the nodes have all been tried."""
        if self.scope.only_node is not None:
            if self.memory.is_refused(self.scope.only_node):
                return self._given_up
            return (yield from self._try(self.scope.only_node)) or self._given_up
        for ranked, name in enumerate(self.memory.fresh(), 1):
            node = self._nodes.get(name)
            rank = None if node is None else self.plan.rank(node)
            if rank is None:
                self.memory.refuse(name)
            else:
                self.memory.rank(name, rank)
            if ranked % _RANKED_PER_STEP == 0:
                yield
            if ranked >= _ENOUGH and ranked % _RANKED_PER_TRY == 0 and (decision := (yield from self._walk())):
                return decision
        return (yield from self._walk()) or self._given_up

    def _walk(self) -> Steps[Placement | AllocationError | None]:
        position = 0
        while (name := self.memory.open(position)) is not None:
            if name in self._tried:
                position += 1
                continue
            if decision := (yield from self._try(name)):
                return decision
            if self.memory.is_refused(name):
                yield
            else:
                position += 1
                if position % _RANKED_PER_STEP == 0:
                    yield
        return None

    def _try(self, name: str) -> Steps[Placement | AllocationError | None]:
        self._tried.add(name)
        node = self._nodes.get(name)
        if node is None or not self.scope.holds(node):
            return None
        if misfits := self._fit.misfits(node, self._usage.get(name, _EMPTY)):
            self.unsuitable.append((node, misfits[0]))
            return None
        if self._given_up and self.effort.left <= 0:
            return self._given_up
        outcome = yield from self.plan.allocating(node, self.effort, self.memory.rank_of(name))
        if isinstance(outcome, Allocated):
            return Placement(name, outcome.allocations)
        if isinstance(outcome, Unschedulable):
            self.memory.refuse(name)
        elif outcome.reason is Reason.SEARCH_BUDGET_EXCEEDED:
            self._given_up = outcome
        else:
            return outcome
        return None


class _Scope:
    """The nodes that may be considered at all: those that reach what is allocated already."""

    def __init__(self, claims: Sequence[ResourceClaim], avoid: str | None) -> None:
        fixed = [claim.status.allocation for claim in claims if claim.status.allocation is not None]
        self._selectors = [allocation.node_selector for allocation in fixed if allocation.node_selector is not None]
        self.avoid = avoid
        self.is_everywhere = avoid is None and not self._selectors
        names = (_only_name(selector) for selector in self._selectors)
        self.only_node = next((name for name in names if name is not None), None)

    def holds(self, node: Node) -> bool:
        return node.metadata.name != self.avoid and self.reaches(node)

    def reaches(self, node: Node) -> bool:
        """Whether what is allocated already can be had there."""
        if self.only_node is not None and node.metadata.name != self.only_node:
            return False
        return all(matches_node_selector(selector, node) for selector in self._selectors)


def _only_name(selector: NodeSelector) -> str | None:
    """The one node that an allocation ties its pods to, if it does."""
    match selector.node_selector_terms:
        case (NodeSelectorTerm(match_fields=(NodeSelectorRequirement("metadata.name", "In", (name,)),)),):
            return name
    return None


def _sum_up(walk: _Walk, nodes: Mapping[str, Node]) -> Steps[Unschedulable]:
    """Why none of the nodes fits: those that have devices and lack something else, then the devices of the others."""
    plan, memory, scope = walk.plan, walk.memory, walk.scope
    kinds: Counter[str] = Counter()
    for node, misfit in walk.unsuitable:
        outcome = yield from plan.allocating(node, walk.effort)
        if isinstance(outcome, Unschedulable):
            memory.refuse(node.metadata.name)
        else:
            kinds[misfit.kind] += 1
        yield
    parts = [f"{count} with devices {'is' if count == 1 else 'are'} {kind}" for kind, count in sorted(kinds.items())]
    reason = Reason.NODE_UNSUITABLE
    within = len(nodes) if scope.is_everywhere else sum(scope.holds(node) for node in nodes.values())
    if within > kinds.total():
        explanation = yield from _explain(plan, memory, scope, nodes)
        why, sentence = explanation.sum_up()
        parts.append(sentence)
        reason = reason if kinds else why
    avoided = nodes.get(scope.avoid) if scope.avoid is not None else None
    kept = avoided is not None and scope.reaches(avoided)
    if avoided is not None and kept and reason is Reason.NO_MATCHING_DEVICE and plan.shortage(avoided) is not None:
        reason = Reason.DEVICES_IN_USE  # the others have none; it has, and they are spoken for
    if within + kept < len(nodes):
        parts.append(f"{len(nodes) - within - kept} cannot reach devices that are allocated already")
    if kept:
        parts.append("1 is kept for a pod that has waited longer")
    detail = "; ".join(parts) if parts else "the cluster has no nodes"
    return Unschedulable(reason, f"none of {len(nodes)} node{'' if len(nodes) == 1 else 's'} fits: {detail}")


def _explain(plan: Plan, memory: Memory[Finding], scope: _Scope, nodes: Mapping[str, Node]) -> Steps[Explanation]:
    """Look at the nodes that refused. Devices that several nodes share count once, so those are not remembered."""
    explanation = Explanation(plan)
    is_local = plan.allocator.inventory.is_local
    if scope.is_everywhere and is_local:
        for name in memory.unexplained():
            if name in nodes:
                memory.explain(name, look_at(plan, nodes[name]))
            yield
        for finding, count in memory.findings.items():
            explanation.add(finding, count)
        return explanation
    seen: set[DeviceId] = set()
    for name, node in sorted(nodes.items()):
        if memory.is_refused(name) and scope.holds(node):
            explanation.add(look_at(plan, node, None if is_local else seen), whole=is_local)
            yield
    return explanation
