"""A node and devices for a pod: the first node, by name, that takes the pod and has all it asks for.

Claims that are allocated already only restrict the node. A node that does not take the pod is not searched, so nothing
that is wrong with its devices matters; one that refused equal claims before is passed over (`refusals.py`). When
nothing fits, one sentence sums up all nodes: how many there are, and what they lack.

Upstream: Filter of kube-scheduler's plugins over all nodes; there one failing node is one line, here they are counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from dra_operator.allocation.allocator import Allocator, Plan
from dra_operator.allocation.explain import Explanation, look_at
from dra_operator.allocation.findings import Finding
from dra_operator.allocation.nodefit import Fit, Misfit
from dra_operator.allocation.outcome import Allocated, AllocationError, Unschedulable
from dra_operator.allocation.refusals import Memory
from dra_operator.allocation.usage import NodeUsage
from dra_operator.api.core import Node, Pod
from dra_operator.api.reasons import Reason
from dra_operator.api.resource import AllocationResult, ResourceClaim
from dra_operator.inventory.devices import DeviceId
from dra_operator.inventory.nodeselector import matches_node_selector

_EMPTY = NodeUsage()


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
    only_node: str | None = None,
) -> Decision:
    """Drive `place_steps` to its end."""
    steps = place_steps(pod, claims, nodes=nodes, usage=usage, allocator=allocator, only_node=only_node)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            decision: Decision = end.value
            return decision


def place_steps(
    pod: Pod,
    claims: Sequence[ResourceClaim],
    *,
    nodes: Mapping[str, Node],
    usage: Mapping[str, NodeUsage],
    allocator: Allocator,
    only_node: str | None = None,
) -> Generator[None, None, Decision]:
    """Node by node; yields between two of them, so that a caller can let others run."""
    plan = allocator.plan([claim for claim in claims if claim.status.allocation is None])
    if isinstance(plan, AllocationError):
        return plan
    memory = plan.recall(nodes)
    scope = _Scope(claims, only_node)
    fit = Fit(pod)
    unsuitable: list[tuple[Node, Misfit]] = []
    for name in memory.open() if only_node is None else (only_node,):
        node = nodes.get(name)
        if node is None or memory.is_refused(name) or not scope.holds(node):
            continue
        if misfits := fit.misfits(node, usage.get(name, _EMPTY)):
            unsuitable.append((node, misfits[0]))
            continue
        outcome = plan.allocate(node)
        if isinstance(outcome, Allocated):
            return Placement(name, outcome.allocations)
        if isinstance(outcome, AllocationError):
            return outcome
        memory.refuse(name)
        yield
    return (yield from _sum_up(plan, memory, scope, nodes, unsuitable))


class _Scope:
    """The nodes that may be considered at all: those that reach what is allocated already."""

    def __init__(self, claims: Sequence[ResourceClaim], only_node: str | None) -> None:
        fixed = [claim.status.allocation for claim in claims if claim.status.allocation is not None]
        self._selectors = [allocation.node_selector for allocation in fixed if allocation.node_selector is not None]
        self._only_node = only_node
        self.is_everywhere = only_node is None and not self._selectors

    def holds(self, node: Node) -> bool:
        if self._only_node is not None and node.metadata.name != self._only_node:
            return False
        return all(matches_node_selector(selector, node) for selector in self._selectors)


def _sum_up(
    plan: Plan,
    memory: Memory[Finding],
    scope: _Scope,
    nodes: Mapping[str, Node],
    unsuitable: Sequence[tuple[Node, Misfit]],
) -> Generator[None, None, Unschedulable]:
    """Why none of the nodes fits: those that have devices and lack something else, then the devices of the others."""
    kinds: Counter[str] = Counter()
    for node, misfit in unsuitable:
        if isinstance(plan.allocate(node), Unschedulable):
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
    if within < len(nodes):
        parts.append(f"{len(nodes) - within} cannot reach devices that are allocated already")
    detail = "; ".join(parts) if parts else "the cluster has no nodes"
    return Unschedulable(reason, f"none of {len(nodes)} node{'' if len(nodes) == 1 else 's'} fits: {detail}")


def _explain(
    plan: Plan, memory: Memory[Finding], scope: _Scope, nodes: Mapping[str, Node]
) -> Generator[None, None, Explanation]:
    """Look at the nodes that refused. Devices that several nodes share count once, so those are not remembered."""
    explanation = Explanation(plan)
    if scope.is_everywhere and plan.allocator.inventory.is_local:
        for name in memory.unexplained():
            memory.explain(name, look_at(plan, nodes[name]))
            yield
        for finding, count in memory.findings.items():
            explanation.add(finding, count)
        return explanation
    seen: set[DeviceId] = set()
    for name, node in sorted(nodes.items()):
        if memory.is_refused(name) and scope.holds(node):
            explanation.add(look_at(plan, node, seen))
            yield
    return explanation
