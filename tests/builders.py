"""Objects of a cluster in one line each: what a test does not mention has a value that does not matter.

    node("node-a")                                    a node with plenty of room
    slice_of(gpus=8, node="node-a")                   one complete pool of eight equal GPUs, named after the node
    device_class()                                    class "gpu": every device of the default driver
    claim(request(count=2), name="training")          a claim of two of them
    allocated(claim(), "node-a/gpu-0")                the same with `status.allocation`
    pod(claims=["training"], requests={"cpu": "1"})   a pod that names it

Names are unique only where the test makes them so. A UID is derived from the kind, namespace and name: the same call
twice is the same object.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec

from dra_operator.api.core import (
    Affinity,
    Container,
    Node,
    NodeAffinity,
    NodeSelector,
    NodeSelectorRequirement,
    NodeSelectorTerm,
    NodeSpec,
    NodeStatus,
    Pod,
    PodResourceClaim,
    PodSchedulingGate,
    PodSpec,
    PodStatus,
    ResourceRequirements,
    Taint,
    Toleration,
)
from dra_operator.api.meta import ObjectMeta, OwnerReference, Uid
from dra_operator.api.quantity import Quantity
from dra_operator.api.resource import (
    AllocationResult,
    BasicDevice,
    CapacityRequirements,
    CELDeviceSelector,
    Counter,
    CounterSet,
    DeviceAllocationResult,
    DeviceAttribute,
    DeviceCapacity,
    DeviceClaim,
    DeviceClass,
    DeviceClassSpec,
    DeviceConstraint,
    DeviceCounterConsumption,
    DeviceRequest,
    DeviceRequestAllocationResult,
    DeviceSelector,
    DeviceSubRequest,
    DeviceTaint,
    DeviceTaintRule,
    DeviceTaintRuleSpec,
    DeviceTaintSelector,
    DeviceToleration,
    ExactDeviceRequest,
    ResourceClaim,
    ResourceClaimConsumerReference,
    ResourceClaimSpec,
    ResourceClaimStatus,
    ResourceClaimTemplate,
    ResourceClaimTemplateSpec,
    ResourcePool,
    ResourceSlice,
    ResourceSliceSpec,
)

DRIVER: Final = "gpu.example.com"
CLASS: Final = "gpu"
NAMESPACE: Final = "default"
PLENTY: Final[Mapping[str, str]] = {"cpu": "64", "memory": "512Gi", "pods": "110"}

AttributeLiteral = bool | int | str | Sequence[bool] | Sequence[int] | Sequence[str]


def meta(
    kind: str,
    name: str,
    namespace: str = "",
    *,
    uid: str | None = None,
    labels: Mapping[str, str] | None = None,
    annotations: Mapping[str, str] | None = None,
    owner: OwnerReference | None = None,
    version: int = 1,
    finalizers: Sequence[str] = (),
    deleted: bool = False,
) -> ObjectMeta:
    return ObjectMeta(
        name=name,
        namespace=namespace,
        uid=Uid(uid if uid is not None else "-".join(part for part in (kind, namespace, name) if part)),
        labels=dict(labels) if labels else None,
        annotations=dict(annotations) if annotations else None,
        owner_references=(owner,) if owner else None,
        resource_version=str(version),
        finalizers=tuple(finalizers) or None,
        deletion_timestamp="2026-01-01T00:00:00Z" if deleted else None,
    )


# --- nodes and pods --------------------------------------------------------------------------------------------------


def node(
    name: str = "node-a",
    *,
    labels: Mapping[str, str] | None = None,
    taints: Sequence[Taint] = (),
    cordoned: bool = False,
    allocatable: Mapping[str, str] = PLENTY,
    declared_features: Sequence[str] = (),
) -> Node:
    return Node(
        metadata=meta("node", name, labels=labels),
        spec=NodeSpec(unschedulable=cordoned, taints=tuple(taints) or None),
        status=NodeStatus(allocatable=amounts(allocatable), declared_features=tuple(declared_features) or None),
    )


def nodes(*names: str) -> dict[str, Node]:
    return {name: node(name) for name in names}


def pod(
    name: str = "pod",
    namespace: str = NAMESPACE,
    *,
    claims: Sequence[str] = (),
    templates: Sequence[str] = (),
    requests: Mapping[str, str] | None = None,
    containers: Sequence[Container] | None = None,
    init_containers: Sequence[Container] = (),
    overhead: Mapping[str, str] | None = None,
    pod_requests: Mapping[str, str] | None = None,
    node_name: str = "",
    node_selector: Mapping[str, str] | None = None,
    required: NodeSelector | None = None,
    tolerations: Sequence[Toleration] = (),
    gates: Sequence[str] = (),
    phase: str = "Pending",
    uid: str | None = None,
    deleted: bool = False,
    version: int = 1,
    owner: OwnerReference | None = None,
) -> Pod:
    """`claims` and `templates` name a ResourceClaim or ResourceClaimTemplate per entry of spec.resourceClaims."""
    entries = [PodResourceClaim(name=name, resource_claim_name=name) for name in claims]
    entries += [PodResourceClaim(name=name, resource_claim_template_name=name) for name in templates]
    return Pod(
        metadata=meta("pod", name, namespace, uid=uid, deleted=deleted, version=version, owner=owner),
        spec=PodSpec(
            node_name=node_name,
            node_selector=dict(node_selector) if node_selector else None,
            affinity=Affinity(node_affinity=NodeAffinity(required=required)) if required else None,
            tolerations=tuple(tolerations) or None,
            containers=tuple(containers) if containers is not None else (container(requests),),
            init_containers=tuple(init_containers) or None,
            resources=ResourceRequirements(requests=amounts(pod_requests)) if pod_requests else None,
            overhead=amounts(overhead) if overhead else None,
            scheduling_gates=tuple(PodSchedulingGate(name=gate) for gate in gates) or None,
            resource_claims=tuple(entries) or None,
        ),
        status=PodStatus(phase=phase),
    )


def container(requests: Mapping[str, str] | None = None, *, sidecar: bool = False) -> Container:
    """`sidecar`: as an init container it keeps running."""
    return Container(
        name="main",
        resources=ResourceRequirements(requests=amounts(requests) if requests else None),
        restart_policy="Always" if sidecar else None,
    )


def selector(*terms: NodeSelectorTerm) -> NodeSelector:
    return NodeSelector(node_selector_terms=terms)


def term(*expressions: NodeSelectorRequirement, fields: Sequence[NodeSelectorRequirement] = ()) -> NodeSelectorTerm:
    return NodeSelectorTerm(match_expressions=expressions, match_fields=tuple(fields))


def need(key: str, operator: str, *values: str) -> NodeSelectorRequirement:
    return NodeSelectorRequirement(key=key, operator=operator, values=values)


def amounts(texts: Mapping[str, str]) -> dict[str, Quantity]:
    return {name: Quantity.parse(text) for name, text in texts.items()}


# --- devices ---------------------------------------------------------------------------------------------------------


def device(
    name: str = "gpu-0",
    *,
    attributes: Mapping[str, AttributeLiteral] | None = None,
    capacity: Mapping[str, str | DeviceCapacity] | None = None,
    taints: Sequence[DeviceTaint] = (),
    consumes: Mapping[str, Mapping[str, str]] | None = None,
    groups: Sequence[str] = (),
    shared: bool = False,
    node_name: str | None = None,
    node_selector: NodeSelector | None = None,
    all_nodes: bool | None = None,
    binds_to_node: bool | None = None,
    binding_conditions: Sequence[str] = (),
) -> BasicDevice:
    """`consumes`: amounts by counter set and counter. `shared`: the device allows multiple allocations."""
    return BasicDevice(
        name=name,
        attributes={key: attribute(value) for key, value in attributes.items()} if attributes else None,
        capacity={
            key: value if isinstance(value, DeviceCapacity) else DeviceCapacity(value=Quantity.parse(value))
            for key, value in (capacity or {}).items()
        }
        or None,
        taints=tuple(taints) or None,
        consumes_counters=tuple(
            DeviceCounterConsumption(
                counter_set=set_name, counters=_counters(counters), compatibility_groups=tuple(groups) or None
            )
            for set_name, counters in (consumes or {}).items()
        )
        or None,
        allow_multiple_allocations=True if shared else None,
        node_name=node_name,
        node_selector=node_selector,
        all_nodes=all_nodes,
        binds_to_node=binds_to_node,
        binding_conditions=tuple(binding_conditions) or None,
    )


def attribute(value: AttributeLiteral) -> DeviceAttribute:
    """An attribute of the type of the value; versions are written `DeviceAttribute(version_value=…)`."""
    if isinstance(value, bool):
        return DeviceAttribute(bool_value=value)
    if isinstance(value, int):
        return DeviceAttribute(int_value=value)
    if isinstance(value, str):
        return DeviceAttribute(string_value=value)
    texts = tuple(each for each in value if isinstance(each, str))
    flags = tuple(each for each in value if isinstance(each, bool))
    numbers = tuple(each for each in value if isinstance(each, int) and not isinstance(each, bool))
    return DeviceAttribute(string_values=texts or None, bool_values=flags or None, int_values=numbers or None)


def slice_of(
    devices: Iterable[BasicDevice] | None = None,
    *,
    gpus: int = 1,
    node: str | None = "node-a",
    driver: str = DRIVER,
    pool: str | None = None,
    name: str | None = None,
    generation: int = 1,
    count: int = 1,
    all_nodes: bool = False,
    node_selector: NodeSelector | None = None,
    per_device: bool = False,
    counters: Mapping[str, Mapping[str, str]] | None = None,
    attributes: Mapping[str, AttributeLiteral] | None = None,
    skips: Sequence[str] = (),
) -> ResourceSlice:
    """A slice with `devices`, or with `gpus` equal ones named gpu-0, gpu-1, …; `count` slices make the pool complete.

    The pool is named after the node unless `pool` says otherwise, the slice after driver and pool.
    """
    somewhere = all_nodes or node_selector is not None or per_device
    where = None if somewhere else node
    pool = pool if pool is not None else where or "pool"
    if devices is None:
        devices = [] if counters else [device(f"gpu-{i}", attributes=attributes) for i in range(gpus)]
    return ResourceSlice(
        metadata=meta("slice", name if name is not None else f"{driver}-{pool}"),
        spec=ResourceSliceSpec(
            driver=driver,
            pool=ResourcePool(name=pool, generation=generation, resource_slice_count=count),
            node_name=where,
            all_nodes=True if all_nodes else None,
            node_selector=node_selector,
            per_device_node_selection=True if per_device else None,
            devices=tuple(devices) or None,
            shared_counters=tuple(
                CounterSet(name=set_name, counters=_counters(of)) for set_name, of in (counters or {}).items()
            )
            or None,
            skip_node_operations=tuple(skips) or None,
        ),
    )


def _counters(texts: Mapping[str, str]) -> dict[str, Counter]:
    return {name: Counter(value=Quantity.parse(text)) for name, text in texts.items()}


def device_class(
    name: str = CLASS,
    *expressions: str,
    annotations: Mapping[str, str] | None = None,
    version: int = 1,
    resource: str | None = None,
) -> DeviceClass:
    """A class of the devices that all `expressions` select; by default all of the default driver."""
    return DeviceClass(
        metadata=meta("class", name, annotations=annotations, version=version),
        spec=DeviceClassSpec(
            selectors=cel(*(expressions or (f"device.driver == '{DRIVER}'",))), extended_resource_name=resource
        ),
    )


def classes(*of: DeviceClass) -> dict[str, DeviceClass]:
    return {each.metadata.name: each for each in of or (device_class(),)}


def cel(*expressions: str) -> tuple[DeviceSelector, ...] | None:
    return tuple(DeviceSelector(cel=CELDeviceSelector(expression=each)) for each in expressions) or None


# --- claims ----------------------------------------------------------------------------------------------------------


def exactly(
    *selectors: str,
    count: int = 1,
    class_name: str = CLASS,
    mode: str = "ExactCount",
    admin: bool | None = None,
    tolerations: Sequence[DeviceToleration] = (),
    capacity: Mapping[str, str] | None = None,
) -> ExactDeviceRequest:
    return ExactDeviceRequest(
        device_class_name=class_name,
        selectors=cel(*selectors),
        allocation_mode=mode,
        count=count,
        admin_access=admin,
        tolerations=tuple(tolerations) or None,
        capacity=CapacityRequirements(requests=amounts(capacity)) if capacity else None,
    )


def request(
    name: str = "gpu",
    *selectors: str,
    count: int = 1,
    class_name: str = CLASS,
    mode: str = "ExactCount",
    admin: bool | None = None,
    tolerations: Sequence[DeviceToleration] = (),
    capacity: Mapping[str, str] | None = None,
) -> DeviceRequest:
    exact = exactly(
        *selectors,
        count=count,
        class_name=class_name,
        mode=mode,
        admin=admin,
        tolerations=tolerations,
        capacity=capacity,
    )
    return DeviceRequest(name=name, exactly=exact)


def first_available(name: str = "gpu", **alternatives: ExactDeviceRequest) -> DeviceRequest:
    """`first_available("gpu", big=exactly(count=2), small=exactly())`: subrequests in order."""
    return DeviceRequest(
        name=name,
        first_available=tuple(
            DeviceSubRequest(
                name=sub,
                device_class_name=ask.device_class_name,
                selectors=ask.selectors,
                allocation_mode=ask.allocation_mode,
                count=ask.count,
                tolerations=ask.tolerations,
                capacity=ask.capacity,
            )
            for sub, ask in alternatives.items()
        ),
    )


def match_attribute(name: str, *requests: str) -> DeviceConstraint:
    return DeviceConstraint(match_attribute=name, requests=requests or None)


def distinct_attribute(name: str, *requests: str) -> DeviceConstraint:
    return DeviceConstraint(distinct_attribute=name, requests=requests or None)


def claim_spec(*requests: DeviceRequest, constraints: Sequence[DeviceConstraint] = ()) -> ResourceClaimSpec:
    return ResourceClaimSpec(
        devices=DeviceClaim(requests=requests or (request(),), constraints=tuple(constraints) or None)
    )


def claim(
    *requests: DeviceRequest,
    name: str = "claim",
    namespace: str = NAMESPACE,
    constraints: Sequence[DeviceConstraint] = (),
    uid: str | None = None,
    owner: OwnerReference | None = None,
    annotations: Mapping[str, str] | None = None,
    finalizers: Sequence[str] = (),
    version: int = 1,
    deleted: bool = False,
) -> ResourceClaim:
    return ResourceClaim(
        metadata=meta(
            "claim",
            name,
            namespace,
            uid=uid,
            owner=owner,
            annotations=annotations,
            finalizers=finalizers,
            version=version,
            deleted=deleted,
        ),
        spec=claim_spec(*requests, constraints=constraints),
    )


def template(
    *requests: DeviceRequest,
    name: str = "template",
    namespace: str = NAMESPACE,
    constraints: Sequence[DeviceConstraint] = (),
) -> ResourceClaimTemplate:
    return ResourceClaimTemplate(
        metadata=meta("template", name, namespace),
        spec=ResourceClaimTemplateSpec(spec=claim_spec(*requests, constraints=constraints)),
    )


def result(
    where: str,
    *,
    request: str = "gpu",
    driver: str = DRIVER,
    admin: bool = False,
    share: str | None = None,
    consumes: Mapping[str, str] | None = None,
) -> DeviceRequestAllocationResult:
    """`where` is "pool/device"."""
    pool, _, name = where.rpartition("/")
    return DeviceRequestAllocationResult(
        request=request,
        driver=driver,
        pool=pool,
        device=name,
        admin_access=True if admin else None,
        share_id=share,
        consumed_capacity=amounts(consumes) if consumes else None,
    )


def allocation(*results: DeviceRequestAllocationResult | str, on: str | None = None) -> AllocationResult:
    """An allocation of results, or of "pool/device" names; `on` ties it to a node."""
    return AllocationResult(
        devices=DeviceAllocationResult(
            results=tuple(result(each) if isinstance(each, str) else each for each in results) or None
        ),
        node_selector=selector(term(fields=[need("metadata.name", "In", on)])) if on else None,
    )


def allocated(
    to: ResourceClaim,
    *results: DeviceRequestAllocationResult | str,
    on: str | None = None,
    reserved_for: Sequence[Pod] = (),
) -> ResourceClaim:
    """The claim with `status.allocation`, and `status.reservedFor`."""
    consumers = tuple(
        ResourceClaimConsumerReference(resource="pods", name=each.metadata.name, uid=each.uid) for each in reserved_for
    )
    status = ResourceClaimStatus(allocation=allocation(*results, on=on), reserved_for=consumers or None)
    return msgspec.structs.replace(to, status=status)


def taint(key: str = "unhealthy", effect: str = "NoSchedule", value: str = "") -> DeviceTaint:
    return DeviceTaint(key=key, effect=effect, value=value)


def taint_rule(
    name: str = "rule",
    added: DeviceTaint | None = None,
    *,
    driver: str | None = None,
    pool: str | None = None,
    device: str | None = None,
) -> DeviceTaintRule:
    """The rule that taints these devices; what is not given is "any"."""
    selector = DeviceTaintSelector(driver=driver, pool=pool, device=device)
    spec = DeviceTaintRuleSpec(taint=added or taint(), device_selector=selector)
    return DeviceTaintRule(metadata=meta("taintrule", name), spec=spec)


def tolerate(key: str = "", operator: str = "Exists", value: str = "", effect: str = "") -> DeviceToleration:
    return DeviceToleration(key=key, operator=operator, value=value, effect=effect)
