"""Which pods are ours to allocate: the gate, and what is left alone.

A pod that should wait for its devices has `dra-operator.io/allocation` among its `schedulingGates` from creation (put
there by the admission policy in `manifests/base`, or by the webhook, which asks `find_gates`). Ours to allocate is a
pod with that gate, unless its namespace has opted out since, or all its claims name only classes that another
allocator serves; such a pod is ungated at once.

We act only when ours is the last gate left: holding devices for a pod that someone else still gates is theft.

The rules here, in the policy and in the webhook's configuration must agree; tests compare them, and what becomes of
the same pods.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from dra_operator.api.core import Namespace, Pod, PodSchedulingGate
from dra_operator.api.meta import Struct
from dra_operator.api.names import ALLOCATE_ANNOTATION, ALLOCATION_LABEL, GATE
from dra_operator.api.resource import DeviceClass, ResourceClaimSpec
from dra_operator.lifecycle.policy import Policy

EXCLUDED_NAMESPACES = frozenset({"kube-system"})
EXCLUDED_NAMESPACE_PREFIX = "openshift-"


class NewPodSpec(Struct, frozen=True):
    """What decides whether a new pod is gated. Nobody has validated it yet, so nothing else of it is read."""

    node_name: str | None = None
    resource_claims: tuple[Any, ...] | None = None
    scheduling_gates: tuple[PodSchedulingGate, ...] | None = None
    scheduling_group: Any = None
    workload_ref: Any = None
    """What `schedulingGroup` was called in 1.35."""


class NewPod(Struct, frozen=True):
    """A pod that an API server is about to store."""

    spec: NewPodSpec = NewPodSpec()


def find_gates(pod: NewPod, namespace: str, policy: Policy) -> tuple[str, ...] | None:
    """The gates that the new pod should have, ours behind those that it has; None if it stays as it is.

    Labels of the namespace are for the caller to judge: an API server does, by the webhook's namespaceSelector.
    """
    spec = pod.spec
    gates = tuple(gate.name for gate in spec.scheduling_gates or ())
    if (
        not spec.resource_claims
        or spec.node_name  # the API refuses gates there
        or spec.scheduling_group is not None  # all pods of a group are scheduled at once
        or spec.workload_ref is not None
        or GATE in gates
        or excludes_namespace(namespace, None, policy)
    ):
        return None
    return (*gates, GATE)


def is_gated(pod: Pod) -> bool:
    return pod.has_gate(GATE)


def other_gates(pod: Pod) -> tuple[str, ...]:
    """Gates that others have to lift before we act."""
    return tuple(gate.name for gate in pod.spec.scheduling_gates or () if gate.name != GATE)


def excludes_namespace(name: str, namespace: Namespace | None, policy: Policy) -> bool:
    """Whether pods of the namespace are neither gated nor allocated."""
    return (
        name in EXCLUDED_NAMESPACES
        or name.startswith(EXCLUDED_NAMESPACE_PREFIX)
        or name == policy.operator_namespace
        or (namespace is not None and namespace.metadata.label(ALLOCATION_LABEL) == "disabled")
    )


def class_names(spec: ResourceClaimSpec) -> Iterable[str]:
    """Every DeviceClass that a claim names, alternatives included."""
    for request in spec.devices.requests or ():
        if request.exactly is not None:
            yield request.exactly.device_class_name
        for sub in request.first_available or ():
            yield sub.device_class_name


def leaves_to_others(specs: Iterable[ResourceClaimSpec], classes: dict[str, DeviceClass]) -> bool:
    """Whether all classes that the claims name are annotated as another allocator's."""
    names = {name for spec in specs for name in class_names(spec)}
    return bool(names) and all(
        name in classes and classes[name].metadata.annotation(ALLOCATE_ANNOTATION) == "false" for name in names
    )
