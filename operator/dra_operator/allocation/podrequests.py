"""What a pod takes from a node's allocatable: the sum that kube-scheduler uses.

Containers run beside each other and beside sidecars (init containers with restartPolicy Always); ordinary init
containers run one after the other beside the sidecars started before them. The larger of both counts, per resource.
Pod-level resources take the place of the sum where given; overhead comes on top.

Upstream: `PodRequests` of k8s.io/component-helpers/resource.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from dra_operator.api.core import Container, Pod
from dra_operator.api.quantity import Quantity

Resources = dict[str, Quantity]
_ZERO = Quantity.parse("0")


def pod_requests(pod: Pod) -> Resources:
    """Requested amounts by resource name."""
    spec = pod.spec
    total = _sum(_requests(container) for container in spec.containers)
    sidecars: Resources = {}
    peak: Resources = {}
    for container in spec.init_containers or ():
        if container.restart_policy == "Always":
            sidecars = _sum((sidecars, _requests(container)))
            peak = _max(peak, sidecars)
        else:
            peak = _max(peak, _sum((sidecars, _requests(container))))
    total = _max(_sum((total, sidecars)), peak)
    if spec.resources is not None and spec.resources.requests:
        total = {**total, **spec.resources.requests}
    return _sum((total, spec.overhead or {}))


def _requests(container: Container) -> Mapping[str, Quantity]:
    return container.resources.requests or {}


def _sum(parts: Iterable[Mapping[str, Quantity]]) -> Resources:
    total: Resources = {}
    for part in parts:
        for name, amount in part.items():
            total[name] = total[name] + amount if name in total else amount
    return total


def _max(one: Mapping[str, Quantity], other: Mapping[str, Quantity]) -> Resources:
    names = one.keys() | other.keys()
    return {name: max(one.get(name, _ZERO), other.get(name, _ZERO)) for name in names}
