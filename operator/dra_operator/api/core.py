"""The parts of core/v1 that allocation depends on: Pod, Node, Namespace, node selectors, tolerations.

Upstream: k8s.io/api/core/v1. A Pod here is a projection: what placement and the claims' lifecycle read, no more.
"""

from __future__ import annotations

from typing import Any

from msgspec import field

from dra_operator.api.meta import Condition, Object, Struct
from dra_operator.api.quantity import Quantity

POD_SUCCEEDED = "Succeeded"
POD_FAILED = "Failed"


class NodeSelectorRequirement(Struct, frozen=True):
    key: str
    operator: str
    values: tuple[str, ...] = ()


class NodeSelectorTerm(Struct, frozen=True):
    match_expressions: tuple[NodeSelectorRequirement, ...] = ()
    match_fields: tuple[NodeSelectorRequirement, ...] = ()


class NodeSelector(Struct, frozen=True):
    node_selector_terms: tuple[NodeSelectorTerm, ...] = ()


class NodeAffinity(Struct, frozen=True):
    required: NodeSelector | None = field(default=None, name="requiredDuringSchedulingIgnoredDuringExecution")


class PodAffinity(Struct, frozen=True):
    """Inter-pod (anti-)affinity: only whether there are hard terms is read."""

    required: tuple[Any, ...] | None = field(default=None, name="requiredDuringSchedulingIgnoredDuringExecution")


class Affinity(Struct, frozen=True):
    node_affinity: NodeAffinity | None = None
    pod_affinity: PodAffinity | None = None
    pod_anti_affinity: PodAffinity | None = None


class Toleration(Struct, frozen=True):
    key: str = ""
    operator: str = ""
    value: str = ""
    effect: str = ""
    toleration_seconds: int | None = None


class Taint(Struct, frozen=True):
    key: str
    effect: str
    value: str = ""


class ContainerClaim(Struct, frozen=True):
    """A container's use of one of the pod's claims, optionally of one request of it."""

    name: str
    request: str = ""


class ResourceRequirements(Struct, frozen=True):
    requests: dict[str, Quantity] | None = None
    limits: dict[str, Quantity] | None = None
    claims: tuple[ContainerClaim, ...] | None = None


class ContainerPort(Struct, frozen=True):
    host_port: int = 0


class Container(Struct, frozen=True):
    name: str = ""
    resources: ResourceRequirements = ResourceRequirements()
    ports: tuple[ContainerPort, ...] | None = None
    restart_policy: str | None = None


class PodResourceClaim(Struct, frozen=True):
    """An entry of `spec.resourceClaims`: exactly one of the two names is set."""

    name: str
    resource_claim_name: str | None = None
    resource_claim_template_name: str | None = None


class PodSchedulingGate(Struct, frozen=True):
    name: str


class TopologySpreadConstraint(Struct, frozen=True):
    when_unsatisfiable: str = ""


class NamedReference(Struct, frozen=True):
    """A reference by name within the namespace; the name may be spelled `name` or `claimName`."""

    name: str = ""
    claim_name: str = ""


class Volume(Struct, frozen=True):
    """Only the sources that can tie a pod to a node are read."""

    name: str = ""
    persistent_volume_claim: NamedReference | None = None
    ephemeral: Any = None


class PodSchedulingGroup(Struct, frozen=True):
    pod_group_name: str | None = None


class PodSpec(Struct, frozen=True):
    node_name: str = ""
    node_selector: dict[str, str] | None = None
    affinity: Affinity | None = None
    tolerations: tuple[Toleration, ...] | None = None
    topology_spread_constraints: tuple[TopologySpreadConstraint, ...] | None = None
    containers: tuple[Container, ...] = ()
    init_containers: tuple[Container, ...] | None = None
    resources: ResourceRequirements | None = None
    overhead: dict[str, Quantity] | None = None
    volumes: tuple[Volume, ...] | None = None
    scheduling_gates: tuple[PodSchedulingGate, ...] | None = None
    resource_claims: tuple[PodResourceClaim, ...] | None = None
    priority: int | None = None
    priority_class_name: str = ""
    scheduling_group: PodSchedulingGroup | None = None
    restart_policy: str = "Always"


class PodResourceClaimStatus(Struct, frozen=True):
    name: str
    resource_claim_name: str | None = None


class PodStatus(Struct, frozen=True):
    phase: str = ""
    reason: str = ""
    message: str = ""
    conditions: tuple[Condition, ...] | None = None
    resource_claim_statuses: tuple[PodResourceClaimStatus, ...] | None = None
    nominated_node_name: str = ""
    start_time: str | None = None


class Pod(Object, frozen=True):
    spec: PodSpec = PodSpec()
    status: PodStatus = PodStatus()

    @property
    def terminal(self) -> bool:
        return self.status.phase in (POD_SUCCEEDED, POD_FAILED)

    @property
    def done(self) -> bool:
        """No longer a consumer of its claims: it ended, or it is deleted and never got a node.

        A running pod in its grace period is not done. Upstream: `resourceclaim.IsPodDone` of k8s.io/kubernetes.
        """
        return self.terminal or (self.metadata.deletion_timestamp is not None and not self.spec.node_name)

    def condition(self, type_: str) -> Condition | None:
        return next((c for c in self.status.conditions or () if c.type == type_), None)

    def has_gate(self, name: str) -> bool:
        return any(gate.name == name for gate in self.spec.scheduling_gates or ())


class NodeSpec(Struct, frozen=True):
    unschedulable: bool = False
    taints: tuple[Taint, ...] | None = None


class NodeStatus(Struct, frozen=True):
    allocatable: dict[str, Quantity] | None = None
    capacity: dict[str, Quantity] | None = None
    conditions: tuple[Condition, ...] | None = None
    declared_features: tuple[str, ...] | None = None


class Node(Object, frozen=True):
    spec: NodeSpec = NodeSpec()
    status: NodeStatus = NodeStatus()


class NamespaceStatus(Struct, frozen=True):
    phase: str = ""


class Namespace(Object, frozen=True):
    status: NamespaceStatus = NamespaceStatus()
