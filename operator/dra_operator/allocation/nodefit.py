"""Whether kube-scheduler could put a pod on a node: its hard rules that do not depend on other pods' placement.

Resource requests, pod count, taints, cordon, nodeSelector, required node affinity. A pod with further hard rules
(`covers` is False) is not pinned: the scheduler then chooses.

Upstream: plugins noderesources, tainttoleration, nodeunschedulable and nodeaffinity of kube-scheduler.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from dra_operator.allocation.podrequests import pod_requests
from dra_operator.allocation.usage import NodeUsage
from dra_operator.api.core import Node, Pod, Taint, Toleration
from dra_operator.api.quantity import Quantity
from dra_operator.inventory.nodeselector import matches_node_selector

_UNSCHEDULABLE: Final = Taint(key="node.kubernetes.io/unschedulable", effect="NoSchedule")
_ZERO: Final = Quantity.parse("0")
_BLOCKING: Final = frozenset({"NoSchedule", "NoExecute"})


@dataclass(frozen=True, slots=True)
class Misfit:
    """One rule that the node breaks; `kind` groups nodes in a summary ("2 are cordoned")."""

    kind: str
    message: str


def fits(pod: Pod, node: Node, usage: NodeUsage) -> tuple[Misfit, ...]:
    """Every rule that the node breaks for the pod; none means that it fits. Its own room is not held against it."""
    misfits = [*_labels(pod, node), *_taints(pod, node), *_room(pod, node, usage)]
    return tuple(misfits)


def covers(pod: Pod) -> bool:
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
    return not any(port.host_port for container in containers for port in container.ports or ())


def _labels(pod: Pod, node: Node) -> list[Misfit]:
    labels = node.metadata.labels or {}
    misfits = []
    if any(labels.get(key) != value for key, value in (pod.spec.node_selector or {}).items()):
        misfits.append(Misfit("do not match the pod's nodeSelector", "the pod's nodeSelector does not match it"))
    affinity = pod.spec.affinity.node_affinity if pod.spec.affinity is not None else None
    if affinity is not None and affinity.required is not None and not matches_node_selector(affinity.required, node):
        misfits.append(Misfit("do not match the pod's node affinity", "the pod's node affinity does not match it"))
    return misfits


def _taints(pod: Pod, node: Node) -> list[Misfit]:
    tolerations = pod.spec.tolerations or ()
    if node.spec.unschedulable and not any(_tolerates(toleration, _UNSCHEDULABLE) for toleration in tolerations):
        return [Misfit("are cordoned", "it is cordoned")]
    for taint in node.spec.taints or ():
        if taint.effect in _BLOCKING and not any(_tolerates(toleration, taint) for toleration in tolerations):
            return [
                Misfit(
                    "have a taint that the pod does not tolerate", f'the pod does not tolerate its taint "{taint.key}"'
                )
            ]
    return []


def _tolerates(toleration: Toleration, taint: Taint) -> bool:
    if toleration.effect and toleration.effect != taint.effect:
        return False
    if toleration.key and toleration.key != taint.key:
        return False
    if toleration.operator in ("", "Equal"):
        return toleration.value == taint.value
    return toleration.operator == "Exists"


def _room(pod: Pod, node: Node, usage: NodeUsage) -> list[Misfit]:
    allocatable = node.status.allocatable or {}
    misfits = []
    limit = allocatable.get("pods")
    if limit is not None and usage.pods(pod.uid) >= limit.value():
        misfits.append(Misfit("have no room for another pod", "it has no room for another pod"))
    for name, amount in pod_requests(pod).items():
        if amount > _ZERO and usage.requested(name, pod.uid) + amount > allocatable.get(name, _ZERO):
            misfits.append(Misfit(f"have too little {name}", f"it has too little {name}"))
    return misfits
