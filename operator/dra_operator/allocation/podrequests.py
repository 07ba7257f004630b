"""What a pod takes from a node's allocatable: the sum that kube-scheduler uses.

Containers run beside each other and beside sidecars (init containers with restartPolicy Always); ordinary init
containers run one after the other beside the sidecars started before them. The larger of both counts, per resource.
Pod-level requests take the place of the sum for the resources that may be set there; overhead comes on top.

Amounts are whole billionths, the finest unit of a quantity: integers add and compare fast and exactly.

Upstream: `PodRequests` of k8s.io/component-helpers/resource. Not here: a running pod that is being resized.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, TypeAlias

from dra_operator.api.core import Container, Pod
from dra_operator.api.quantity import Quantity

Amounts: TypeAlias = dict[str, int]
"""Billionths by resource name."""

_NANO: Final = -9
_POD_LEVEL: Final = frozenset({"cpu", "memory"})
_HUGE_PAGES: Final = "hugepages-"
_SIDECAR: Final = "Always"


def pod_requests(pod: Pod) -> Amounts:
    """Requested amounts by resource name."""
    spec = pod.spec
    total = _sum(_requests(container) for container in spec.containers)
    sidecars: Amounts = {}
    peak: Amounts = {}
    for container in spec.init_containers or ():
        own = _sum((sidecars, _requests(container)))
        if container.restart_policy == _SIDECAR:
            sidecars = own
        peak = _max(peak, own)
    total = _max(_sum((total, sidecars)), peak)
    if spec.resources is not None:
        total |= {name: amount for name, amount in in_nanos(spec.resources.requests).items() if _is_pod_level(name)}
    return _sum((total, in_nanos(spec.overhead)))


def in_nanos(quantities: Mapping[str, Quantity] | None) -> Amounts:
    return {name: quantity.scaled_value(_NANO) for name, quantity in (quantities or {}).items()}


def _is_pod_level(name: str) -> bool:
    return name in _POD_LEVEL or name.startswith(_HUGE_PAGES)


def _requests(container: Container) -> Amounts:
    return in_nanos(container.resources.requests)


def _sum(parts: Iterable[Mapping[str, int]]) -> Amounts:
    total: Amounts = {}
    for part in parts:
        for name, amount in part.items():
            total[name] = total.get(name, 0) + amount
    return total


def _max(one: Mapping[str, int], other: Mapping[str, int]) -> Amounts:
    return {name: max(one.get(name, 0), other.get(name, 0)) for name in one.keys() | other.keys()}
