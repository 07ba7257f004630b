"""The room that pods take up on a node, kept up to date pod by pod.

Invariant: what `remove` takes off is exactly what `add` put on, whatever became of the pod in between.

Upstream: `NodeInfo.AddPod` and `RemovePod` of kube-scheduler's framework.
"""

from __future__ import annotations

from dra_operator.allocation.podrequests import Amounts, pod_requests
from dra_operator.api.core import Pod
from dra_operator.api.meta import Uid


class NodeUsage:
    """Requested amounts by resource, in billionths, and by pod."""

    __slots__ = ("_pods", "_total")

    def __init__(self) -> None:
        self._pods: dict[Uid, Amounts] = {}
        self._total: Amounts = {}

    def add(self, pod: Pod) -> bool:
        """The pod takes up room. Adding it again replaces what it took; returns whether it takes less of something."""
        before = self._pods.get(pod.uid, {})
        self.remove(pod.uid)
        requests = self._pods[pod.uid] = pod_requests(pod)
        for name, amount in requests.items():
            self._total[name] = self._total.get(name, 0) + amount
        return any(requests.get(name, 0) < amount for name, amount in before.items())

    def remove(self, uid: Uid) -> None:
        """The pod takes up no room any more; one that never did changes nothing."""
        for name, amount in self._pods.pop(uid, {}).items():
            self._total[name] -= amount

    def requested(self, name: str, but_for: Uid) -> int:
        """How much of a resource all pods but one take."""
        mine = self._pods.get(but_for)
        total = self._total.get(name, 0)
        return total if mine is None else total - mine.get(name, 0)

    def pods(self, but_for: Uid) -> int:
        """How many pods there are but for one."""
        return len(self._pods) - (but_for in self._pods)
