"""The room that pods take up on a node, kept up to date pod by pod.

Invariant: what `remove` takes off is exactly what `add` put on, whatever became of the pod in between.
"""

from __future__ import annotations

from dra_operator.allocation.podrequests import Resources, pod_requests
from dra_operator.api.core import Pod
from dra_operator.api.meta import Uid
from dra_operator.api.quantity import Quantity

_ZERO = Quantity.parse("0")


class NodeUsage:
    """Requested amounts by resource, and by pod."""

    __slots__ = ("_pods", "_total")

    def __init__(self) -> None:
        self._pods: dict[Uid, Resources] = {}
        self._total: Resources = {}

    def add(self, pod: Pod) -> None:
        """The pod takes up room. Adding it again replaces what it took."""
        self.remove(pod.uid)
        requests = pod_requests(pod)
        self._pods[pod.uid] = requests
        for name, amount in requests.items():
            self._total[name] = self._total.get(name, _ZERO) + amount

    def remove(self, uid: Uid) -> None:
        """The pod takes up no room any more; one that never did changes nothing."""
        for name, amount in self._pods.pop(uid, {}).items():
            self._total[name] = self._total[name] - amount

    def requested(self, name: str, but_for: Uid) -> Quantity:
        """How much of a resource all pods but one take."""
        mine = self._pods.get(but_for, {}).get(name)
        total = self._total.get(name, _ZERO)
        return total if mine is None else total - mine

    def pods(self, but_for: Uid) -> int:
        """How many pods there are but for one."""
        return len(self._pods) - (but_for in self._pods)
