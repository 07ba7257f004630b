"""A node and devices for a pod: the first node, by name, that takes the pod and has all it asks for.

Claims that are allocated already only restrict the node. When nothing fits, one sentence sums up all nodes: how many
there are, and what each lacks.

Upstream: Filter of kube-scheduler's plugins over all nodes; there one failing node is one line, here they are counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field

from dra_operator.allocation.allocator import Allocated, AllocationError, Allocator, Unschedulable
from dra_operator.allocation.nodefit import fits
from dra_operator.allocation.tally import Funnel, Tally, reason_of
from dra_operator.allocation.usage import NodeUsage
from dra_operator.api.core import Node, Pod
from dra_operator.api.reasons import Reason
from dra_operator.api.resource import AllocationResult, ResourceClaim
from dra_operator.inventory.nodeselector import matches_node_selector

_EMPTY = NodeUsage()


@dataclass(frozen=True, slots=True)
class Placement:
    """`allocations` are for the unallocated claims, in order."""

    node: str
    allocations: tuple[AllocationResult, ...]


@dataclass(slots=True)
class _Summary:
    """What became of the nodes that did not do."""

    tally: Tally = field(default_factory=Tally)
    unsuitable: Counter[str] = field(default_factory=Counter)
    refused: list[Unschedulable] = field(default_factory=list)
    elsewhere: int = 0


def place(
    pod: Pod,
    claims: Sequence[ResourceClaim],
    *,
    nodes: Mapping[str, Node],
    usage: Mapping[str, NodeUsage],
    allocator: Allocator,
    only_node: str | None = None,
) -> Placement | Unschedulable | AllocationError:
    """Drive `place_steps` to its end."""
    steps = place_steps(pod, claims, nodes=nodes, usage=usage, allocator=allocator, only_node=only_node)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: Placement | Unschedulable | AllocationError = end.value
            return result


def place_steps(
    pod: Pod,
    claims: Sequence[ResourceClaim],
    *,
    nodes: Mapping[str, Node],
    usage: Mapping[str, NodeUsage],
    allocator: Allocator,
    only_node: str | None = None,
) -> Generator[None, None, Placement | Unschedulable | AllocationError]:
    """Node by node; yields between two of them, so that a caller can let others run."""
    wanted = [claim for claim in claims if claim.status.allocation is None]
    fixed = [claim.status.allocation for claim in claims if claim.status.allocation is not None]
    selectors = [allocation.node_selector for allocation in fixed if allocation.node_selector is not None]
    summary = _Summary()
    for name in sorted(nodes) if only_node is None else [only_node] if only_node in nodes else []:
        node = nodes[name]
        if not all(matches_node_selector(selector, node) for selector in selectors):
            summary.elsewhere += 1
            continue
        if wanted:
            outcome = allocator.allocate(wanted, node, summary.tally)
            if isinstance(outcome, AllocationError):
                return outcome
            if isinstance(outcome, Unschedulable):
                summary.refused.append(outcome)
                yield
                continue
        else:
            outcome = Allocated(())
        if misfits := fits(pod, node, usage.get(name, _EMPTY)):
            summary.unsuitable[misfits[0].kind] += 1
            yield
            continue
        return Placement(name, outcome.allocations)
    return _sum_up(summary, len(nodes))


def _sum_up(summary: _Summary, count: int) -> Unschedulable:
    parts: list[str] = []
    if summary.unsuitable:
        parts += [f"{number} with devices {kind}" for kind, number in sorted(summary.unsuitable.items())]
    if summary.elsewhere:
        parts.append(f"{summary.elsewhere} cannot reach devices that are allocated already")
    reason, why = _devices(summary)
    if summary.refused:
        parts.append(f"{len(summary.refused)} {'has' if len(summary.refused) == 1 else 'have'} {why}")
    if (summary.unsuitable and (not summary.refused or reason is Reason.NO_MATCHING_DEVICE)) or not summary.refused:
        reason = Reason.NODE_UNSUITABLE
    detail = "; ".join(parts) if parts else "the cluster has no nodes"
    return Unschedulable(reason, f"none of {count} node{'' if count == 1 else 's'} fits: {detail}")


def _devices(summary: _Summary) -> tuple[Reason, str]:
    """The reason that devices were not given, over all nodes, and how it reads after "2 have …"."""
    for refusal in summary.refused:
        if refusal.reason is Reason.POOL_INVALID:
            return refusal.reason, f"no devices for it: {refusal.message}"
    stuck: list[tuple[str, Funnel]] = [
        (name, funnel)
        for name, funnel in summary.tally.funnels.items()
        if reason_of(funnel) is not Reason.NO_MATCHING_DEVICE
    ]
    empty = [name for name, funnel in summary.tally.funnels.items() if reason_of(funnel) is Reason.NO_MATCHING_DEVICE]
    hopeless = [name for name in empty if not summary.tally.funnels[name].matching]
    if hopeless and not stuck:
        funnel = summary.tally.funnels[hopeless[0]]
        return (
            Reason.NO_MATCHING_DEVICE,
            f'no device that request "{hopeless[0]}" asks for '
            f"({len(funnel.published)} published, {len(funnel.in_class)} in its class, none match its selectors)",
        )
    if stuck:
        name, funnel = stuck[0]
        reason = reason_of(funnel)
        counts = {
            Reason.DEVICES_IN_USE: f"{len(funnel.in_use)} matching, all in use",
            Reason.DEVICES_TAINTED: f"{len(funnel.tainted)} free and matching, but tainted",
            Reason.COUNTERS_EXHAUSTED: f"{len(funnel.no_counters)} matching, but the counters they share are used up",
            Reason.CONSTRAINT_UNSATISFIED: f"{len(funnel.constrained)} matching, but the constraints part them",
        }[reason]
        return reason, f'too few free devices for request "{name}" ({counts})'
    if any(refusal.reason is Reason.POOL_INCOMPLETE for refusal in summary.refused):
        return Reason.POOL_INCOMPLETE, "only pools that are being published"
    names = ", ".join(f'"{name}"' for name in summary.tally.funnels)
    matching = sum(len(funnel.matching) for funnel in summary.tally.funnels.values())
    if matching:
        return Reason.DEVICES_IN_USE, f"too few free devices for request {names} ({matching} free)"
    return Reason.NO_MATCHING_DEVICE, "no devices for it"
