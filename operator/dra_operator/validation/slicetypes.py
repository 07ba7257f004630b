"""ResourceSlice as it is sent, with the rules that are declared at its fields.

Upstream: k8s.io/api/resource/v1 (1.37). The other kinds, and what all of them share, are in `types.py`.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

from msgspec import field

from dra_operator.api.quantity import Quantity
from dra_operator.validation.metatypes import NodeSelector, Object
from dra_operator.validation.shapes import (
    Always,
    EachKey,
    EachValue,
    ForbiddenUnless,
    Format,
    GoType,
    Level,
    MaxItems,
    Optional,
    Required,
    Unique,
    Wire,
)
from dra_operator.validation.types import (
    BINDING_CONDITIONS_OF_SLICES,
    COMPATIBILITY_GROUPS,
    CONSUMABLE_CAPACITY,
    DEVICE_TAINTS,
    FULLY_QUALIFIED_NAME,
    LIST_ATTRIBUTES,
    NODE_ALLOCATABLE,
    PARTITION_TYPES,
    PARTITIONABLE_DEVICES,
    SHORT_NAME,
    STANDARD,
    DeviceTaint,
    FullyQualifiedName,
    QualifiedName,
    SkipNodeOperations,
)


class DeviceAttribute(Wire, frozen=True):
    union: ClassVar[tuple[str, ...]] = ("int", "bool", "string", "version", "ints", "bools", "strings", "versions")

    int_value: int | None = field(default=None, name="int")
    bool_value: bool | None = field(default=None, name="bool")
    string_value: str | None = field(default=None, name="string")
    version_value: str | None = field(default=None, name="version")
    int_values: Annotated[tuple[int, ...] | None, LIST_ATTRIBUTES] = field(default=None, name="ints")
    bool_values: Annotated[tuple[bool, ...] | None, LIST_ATTRIBUTES] = field(default=None, name="bools")
    string_values: Annotated[tuple[str, ...] | None, LIST_ATTRIBUTES] = field(default=None, name="strings")
    version_values: Annotated[tuple[str, ...] | None, LIST_ATTRIBUTES] = field(default=None, name="versions")


class CapacityRequestPolicyRange(Wire, frozen=True):
    min: Quantity | None = None
    max: Quantity | None = None
    step: Quantity | None = None


class CapacityRequestPolicy(Wire, frozen=True):
    default: Annotated[Quantity | None, Always()] = None
    valid_values: tuple[Quantity, ...] | None = None
    valid_range: CapacityRequestPolicyRange | None = None


class DeviceCapacity(Wire, frozen=True):
    value: Annotated[Quantity, Always()] = Quantity()
    request_policy: Annotated[CapacityRequestPolicy | None, CONSUMABLE_CAPACITY] = None


class Counter(Wire, frozen=True):
    value: Annotated[Quantity, Always()] = Quantity()


Counters = Annotated[dict[str, Counter] | None, Required(), EachKey(SHORT_NAME)]


class CounterSet(Wire, frozen=True):
    name: Annotated[str, Required(), SHORT_NAME, Always()] = ""
    counters: Counters = None


class DeviceCounterConsumption(Wire, frozen=True):
    counter_set: Annotated[str, Required(), SHORT_NAME, Always()] = ""
    counters: Counters = None
    compatibility_groups: Annotated[
        tuple[str, ...] | None,
        COMPATIBILITY_GROUPS,
        MaxItems(2, level=STANDARD),
        Optional(level=STANDARD),
        EachValue(SHORT_NAME, level=STANDARD),
        Unique(level=STANDARD),
    ] = None


class NodeAllocatableMapping(Wire, frozen=True):
    union: ClassVar[tuple[str, ...]] = ("capacityKey", "deviceMultiplier")
    union_level: ClassVar[Level] = STANDARD

    capacity_key: QualifiedName | None = None
    capacity_multiplier: Quantity | None = None
    device_multiplier: Quantity | None = None


class NodeAllocatableOverhead(Wire, frozen=True):
    per_pod: Quantity | None = None
    per_container: Quantity | None = None


class NodeAllocatableResource(Wire, frozen=True):
    mapping: NodeAllocatableMapping | None = None
    overhead: NodeAllocatableOverhead | None = None


class Device(Wire, frozen=True):
    name: Annotated[str, Always()] = ""
    attributes: Annotated[dict[QualifiedName, DeviceAttribute] | None, Optional()] = None
    capacity: dict[QualifiedName, DeviceCapacity] | None = None
    consumes_counters: Annotated[
        tuple[DeviceCounterConsumption, ...] | None,
        PARTITIONABLE_DEVICES,
        Optional(),
        MaxItems(2),
        Unique(("counterSet",)),
    ] = None
    node_name: Annotated[str | None, PARTITIONABLE_DEVICES] = None
    node_selector: Annotated[NodeSelector | None, PARTITIONABLE_DEVICES] = None
    all_nodes: Annotated[bool | None, PARTITIONABLE_DEVICES] = None
    taints: Annotated[tuple[DeviceTaint, ...] | None, DEVICE_TAINTS, Optional()] = None
    binds_to_node: Annotated[bool | None, BINDING_CONDITIONS_OF_SLICES] = None
    binding_conditions: Annotated[tuple[str, ...] | None, BINDING_CONDITIONS_OF_SLICES, Optional(), MaxItems(4)] = None
    binding_failure_conditions: Annotated[
        tuple[str, ...] | None, BINDING_CONDITIONS_OF_SLICES, Optional(), MaxItems(4)
    ] = None
    allow_multiple_allocations: Annotated[bool | None, CONSUMABLE_CAPACITY] = None
    node_allocatable_resources: Annotated[
        dict[Annotated[str, GoType("v1.ResourceName")], NodeAllocatableResource] | None,
        NODE_ALLOCATABLE,
        Optional(level=STANDARD),
    ] = None


class ResourcePool(Wire, frozen=True):
    name: Annotated[str, Always()] = ""
    generation: Annotated[int, Always()] = 0
    resource_slice_count: Annotated[int, Always()] = 0


class ResourceSliceSpec(Wire, frozen=True):
    driver: Annotated[str, Always()] = ""
    pool: ResourcePool = ResourcePool()
    node_name: str | None = None
    node_selector: NodeSelector | None = None
    all_nodes: bool | None = None
    devices: Annotated[tuple[Device, ...] | None, Optional()] = None
    per_device_node_selection: Annotated[bool | None, PARTITIONABLE_DEVICES] = None
    shared_counters: Annotated[
        tuple[CounterSet, ...] | None, PARTITIONABLE_DEVICES, Optional(), MaxItems(8), Unique(("name",))
    ] = None
    partition_type_attribute: Annotated[
        FullyQualifiedName | None,
        PARTITION_TYPES,
        ForbiddenUnless("DRAPartitionableDevicesType", level=STANDARD),
        Optional(level=STANDARD),
        Format(FULLY_QUALIFIED_NAME.name, level=STANDARD),
    ] = None
    skip_node_operations: SkipNodeOperations = None


class ResourceSlice(Object, frozen=True):
    spec: ResourceSliceSpec = ResourceSliceSpec()
