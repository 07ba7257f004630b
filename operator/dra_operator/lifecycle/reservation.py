"""A node that is kept for the pod whose turn it is, once it has waited long enough.

Devices come free one by one. A pod that needs one takes it; a pod that needs eight on one node would be overtaken for
ever. So the first pod by priority, then age, of those that have waited for `reserve_after` seconds gets a node: the one
where the fewest devices have to come free for it. Pods that do not outrank it pass that node over until it has its
devices, wherever it finds them first, or is gone. One node at a time, so that little stands idle.

Upstream: nothing for devices; `nominatedNodeName` of kube-scheduler's preemption keeps a node in the same way.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from dra_operator.allocation.allocator import Plan
from dra_operator.allocation.nodefit import Fit
from dra_operator.allocation.usage import NodeUsage
from dra_operator.api.core import Node, Pod
from dra_operator.api.meta import Uid
from dra_operator.lifecycle.waiting import Turn, turn


@dataclass(frozen=True, slots=True)
class Reservation:
    """`node` is kept for the pod `uid`."""

    uid: Uid
    turn: Turn
    node: str

    def keeps_out(self, pod: Pod) -> bool:
        """Whether the pod has to pass the node over: it is another one, of no higher priority."""
        return pod.uid != self.uid and turn(pod)[0] >= self.turn[0]


def find_reservation(
    pod: Pod, plan: Plan, nodes: Mapping[str, Node], usage: Mapping[str, NodeUsage]
) -> Reservation | None:
    """The node that lacks the fewest devices for the pod; None where all devices of no node would do."""
    fit, best = Fit(pod, plan.allocator.classes), None
    for name in sorted(nodes):
        if fit.misfits(nodes[name], usage.get(name, _EMPTY)):
            continue
        shortage = plan.shortage(nodes[name])
        if shortage is not None and (best is None or shortage < best[0]):
            best = shortage, name
    return None if best is None else Reservation(pod.uid, turn(pod), best[1])


_EMPTY = NodeUsage()
