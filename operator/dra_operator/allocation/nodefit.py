"""Whether kube-scheduler could put a pod on a node: its hard rules that do not depend on other pods' placement.

Resource requests, pod count, taints, cordon, nodeSelector, required node affinity. A pod with further hard rules
(`covers` is False) is not pinned: the scheduler then chooses.

`Fit` reads the pod once and is asked for many nodes; `fits` asks for one. Extended resources that are devices
(`extended.py`) are looked at where a node offers them by itself; elsewhere the scheduler finds devices.

Upstream: plugins noderesources, tainttoleration, nodeunschedulable and nodeaffinity of kube-scheduler.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from dra_operator.allocation.extended import backed_by_devices
from dra_operator.allocation.podrequests import pod_requests
from dra_operator.allocation.usage import NodeUsage
from dra_operator.api.core import Node, Pod, Taint, Toleration
from dra_operator.api.resource import DeviceClass
from dra_operator.inventory.nodeselector import matches_node_selector

_UNSCHEDULABLE: Final = Taint(key="node.kubernetes.io/unschedulable", effect="NoSchedule")
_BLOCKING: Final = frozenset({"NoSchedule", "NoExecute"})
_NANO: Final = -9


@dataclass(frozen=True, slots=True)
class Misfit:
    """One rule that the node breaks; `kind` groups nodes in a summary: "2 are …"."""

    kind: str
    message: str


_SELECTOR: Final = Misfit("not matched by the pod's nodeSelector", "the pod's nodeSelector does not match it")
_AFFINITY: Final = Misfit("not matched by the pod's node affinity", "the pod's node affinity does not match it")
_CORDONED: Final = Misfit("cordoned", "it is cordoned")
_FULL: Final = Misfit("full (no room for another pod)", "it has no room for another pod")


def fits(pod: Pod, node: Node, usage: NodeUsage, classes: Mapping[str, DeviceClass]) -> tuple[Misfit, ...]:
    """Every rule that the node breaks for the pod; none means that it fits. Its own room is not held against it."""
    return Fit(pod, classes).misfits(node, usage)


def covers(pod: Pod, classes: Mapping[str, DeviceClass]) -> bool:
    """Whether the rules of `fits` are all the hard rules that the pod has."""
    spec = pod.spec
    if spec.affinity is not None:
        for affinity in (spec.affinity.pod_affinity, spec.affinity.pod_anti_affinity):
            if affinity is not None and affinity.required:
                return False
    spread = spec.topology_spread_constraints or ()
    if any(constraint.when_unsatisfiable in ("", "DoNotSchedule") for constraint in spread):
        return False
    volumes = spec.volumes or ()
    if any(volume.persistent_volume_claim is not None or volume.ephemeral is not None for volume in volumes):
        return False
    containers = (*spec.containers, *(spec.init_containers or ()))
    if any(port.host_port for container in containers for port in container.ports or ()):
        return False
    return not backed_by_devices(pod_requests(pod), classes)


class Fit:
    """The hard rules of one pod."""

    def __init__(self, pod: Pod, classes: Mapping[str, DeviceClass]) -> None:
        spec = pod.spec
        affinity = spec.affinity.node_affinity if spec.affinity is not None else None
        self._uid = pod.uid
        self._selector = tuple((spec.node_selector or {}).items())
        self._required = affinity.required if affinity is not None else None
        self._tolerations = spec.tolerations or ()
        self._ignores_cordon = self._tolerates(_UNSCHEDULABLE)
        self._requests = tuple((name, amount) for name, amount in pod_requests(pod).items() if amount > 0)
        self._by_devices = backed_by_devices((name for name, _ in self._requests), classes)

    def misfits(self, node: Node, usage: NodeUsage) -> tuple[Misfit, ...]:
        """Every rule that the node breaks; none means that it fits."""
        return (*self._placement(node), *self._room(node, usage))

    def _placement(self, node: Node) -> Iterator[Misfit]:
        labels = node.metadata.labels or {}
        if any(labels.get(key) != value for key, value in self._selector):
            yield _SELECTOR
        if self._required is not None and not matches_node_selector(self._required, node):
            yield _AFFINITY
        if node.spec.unschedulable and not self._ignores_cordon:
            yield _CORDONED
            return  # the node carries the taint of the same name too: one reason is enough
        for taint in node.spec.taints or ():
            if taint.effect in _BLOCKING and not self._tolerates(taint):
                kind = "tainted (not tolerated by the pod)"
                yield Misfit(kind, f'the pod does not tolerate its taint "{taint.key}"')
                return

    def _tolerates(self, taint: Taint) -> bool:
        return any(_tolerates(toleration, taint) for toleration in self._tolerations)

    def _room(self, node: Node, usage: NodeUsage) -> Iterator[Misfit]:
        allocatable = node.status.allocatable or {}
        limit = allocatable.get("pods")
        if limit is not None and usage.pods(self._uid) >= limit.value():
            yield _FULL
        for name, amount in self._requests:
            there = allocatable[name].scaled_value(_NANO) if name in allocatable else 0
            if there == 0 and name in self._by_devices:
                continue
            if usage.requested(name, self._uid) + amount > there:
                yield Misfit(f"short of {name}", f"it has too little {name}")


def _tolerates(toleration: Toleration, taint: Taint) -> bool:
    if toleration.effect and toleration.effect != taint.effect:
        return False
    if toleration.key and toleration.key != taint.key:
        return False
    if toleration.operator in ("", "Equal"):
        return toleration.value == taint.value
    return toleration.operator == "Exists"
