"""Which node each pod takes up room on: where it says it is, or where we are about to send it.

A pod counts from the moment that a decision assumes it on a node until it has ended, is gone, or the assumption is
taken back. What the pod itself says (bound, or ungated and pinned) always wins.

Invariant: a pod counts on one node at most.

Upstream: NodeInfo of kube-scheduler's cache, with its assumed pods.
"""

from __future__ import annotations

from dra_operator.allocation.usage import NodeUsage
from dra_operator.api.core import Pod
from dra_operator.api.meta import Uid
from dra_operator.lifecycle.pin import pinned_node


class _ByNode(dict[str, NodeUsage]):
    """Nothing is taken up on a node that is not listed; to ask about it does not list it."""

    def __missing__(self, node: str) -> NodeUsage:
        return NodeUsage()


class Placements:
    """See the module. `usage` is what is taken up, by node: those that pods are on. `version` grows as it changes."""

    def __init__(self) -> None:
        self.version = 0
        self.usage: dict[str, NodeUsage] = _ByNode()
        self._nodes: dict[Uid, str] = {}

    def node_of(self, uid: Uid) -> str | None:
        return self._nodes.get(uid)

    def observe(self, pod: Pod, *, resized: bool = False) -> str | None:
        """Count the pod where it says it is. Returns the node on which room became free.

        `resized`: what it asks for may have changed where it is (in-place resize).
        """
        if pod.terminal:
            return self.remove(pod.uid)
        node = pod.spec.node_name or (None if pod.spec.scheduling_gates else pinned_node(pod))
        if node is None:
            return None
        if resized and self._nodes.get(pod.uid) == node:
            self.version += 1
            return node if self.usage[node].add(pod) else None
        return self.assume(pod, node)

    def assume(self, pod: Pod, node: str) -> str | None:
        """Count the pod on the node. Returns another node, on which room became free by that."""
        if self._nodes.get(pod.uid) == node:
            return None
        left = self.remove(pod.uid)
        self.version += 1
        self._nodes[pod.uid] = node
        self.usage.setdefault(node, NodeUsage()).add(pod)
        return left

    def remove(self, uid: Uid) -> str | None:
        """Count the pod nowhere. Returns the node on which room became free."""
        node = self._nodes.pop(uid, None)
        if node is not None:
            self.version += 1
            self.usage[node].remove(uid)
            if not self.usage[node].pods(uid):
                del self.usage[node]
        return node
