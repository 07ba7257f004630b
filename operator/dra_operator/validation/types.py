"""resource.k8s.io/v1 as it is sent, with the rules that are declared at its fields.

Upstream: k8s.io/api/resource/v1 (1.37), field for field and in its order: the order of fields is that of the errors.
Beside `api/resource.py`, which holds what the operator reads, these types keep every field, and Go's zero values where
one was left out.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import field

from dra_operator.api.quantity import Quantity
from dra_operator.validation.metatypes import Condition, NodeSelector, Object, ObjectMeta, Uid
from dra_operator.validation.shapes import (
    Always,
    EachValue,
    Embedded,
    Format,
    Gate,
    GoType,
    Immutable,
    Level,
    MaxBytes,
    MaxCharacters,
    MaxItems,
    NameFormat,
    NoModify,
    OneOf,
    Optional,
    Raw,
    Required,
    Time,
    Unique,
    Wire,
)

SHORT_NAME = Format("k8s-short-name")
LONG_NAME = Format("k8s-long-name")
LONG_NAME_CASELESS = Format("k8s-long-name-caseless")
LABEL_KEY = Format("k8s-label-key")
POOL_NAME = Format("k8s-resource-pool-name")
UUID = Format("k8s-uuid")
FULLY_QUALIFIED_NAME = Format("k8s-resource-fully-qualified-name")
EXTENDED_RESOURCE_NAME = Format("k8s-extended-resource-name")
STANDARD = Level.STANDARD

ADMIN_ACCESS = Gate(("DRAAdminAccess",))
BINDING_CONDITIONS = Gate(("DRADeviceBindingConditions",))
BINDING_CONDITIONS_OF_SLICES = Gate(("DRADeviceBindingConditions", "DRAResourceClaimDeviceStatus"))
COMPATIBILITY_GROUPS = Gate(("DRADeviceCompatibilityGroups",))
CONSUMABLE_CAPACITY = Gate(("DRAConsumableCapacity",))
DERIVED_ATTRIBUTES = Gate(("DRADerivedAttributes",))
DEVICE_STATUS = Gate(("DRAResourceClaimDeviceStatus",))
DEVICE_TAINTS = Gate(("DRADeviceTaints",))
EXTENDED_RESOURCE = Gate(("DRAExtendedResource",))
LIST_ATTRIBUTES = Gate(("DRAListTypeAttributes",))
NODE_ALLOCATABLE = Gate(("DRANodeAllocatableResources",))
OPTIONAL_NODE_OPERATIONS = Gate(("DRAOptionalNodeOperations",))
PARTITIONABLE_DEVICES = Gate(("DRAPartitionableDevices",))
PARTITION_TYPES = Gate(("DRAPartitionableDevicesType",))
PRIORITIZED_LIST = Gate(("DRAPrioritizedList",))

QualifiedName = Annotated[str, GoType("v1.QualifiedName")]
FullyQualifiedName = Annotated[str, GoType("v1.FullyQualifiedName")]
AllocationMode = Annotated[str, GoType("v1.DeviceAllocationMode"), Optional(), OneOf(("All", "ExactCount"))]
TolerationOperator = Annotated[str, GoType("v1.DeviceTolerationOperator"), Required(), OneOf(("Equal", "Exists"))]
TaintEffect = Annotated[str, GoType("v1.DeviceTaintEffect"), OneOf(("NoExecute", "NoSchedule", "None"))]
SkipNodeOperation = Annotated[str, GoType("v1.SkipNodeOperation")]
SkipNodeOperations = Annotated[
    tuple[SkipNodeOperation, ...] | None,
    OPTIONAL_NODE_OPERATIONS,
    Optional(level=STANDARD),
    Unique(level=STANDARD),
    EachValue(OneOf(("*", "NodePrepareResources", "NodeUnprepareResources")), level=STANDARD),
]
DriverName = Annotated[str, Required(), LONG_NAME_CASELESS, MaxCharacters(63), Always()]
RequestNames = Annotated[tuple[str, ...] | None, Optional(), MaxItems(32), Unique()]


# --- selectors, configuration, tolerations ---------------------------------------------------------------------------


class CELDeviceSelector(Wire, frozen=True):
    expression: Annotated[str, Always()] = ""


class DeviceSelector(Wire, frozen=True):
    cel: CELDeviceSelector | None = None


Selectors = Annotated[tuple[DeviceSelector, ...] | None, Optional(), MaxItems(32)]


class OpaqueDeviceConfiguration(Wire, frozen=True):
    driver: DriverName = ""
    parameters: Annotated[Raw, Always()] = Raw("")


Opaque = Annotated[OpaqueDeviceConfiguration | None, Optional(), Embedded("DeviceConfiguration")]


class DeviceToleration(Wire, frozen=True):
    key: Annotated[str, Optional(), LABEL_KEY] = ""
    operator: TolerationOperator = ""
    value: str = ""
    effect: Annotated[TaintEffect, Optional()] = ""
    toleration_seconds: int | None = None


class DeviceTaint(Wire, frozen=True):
    key: Annotated[str, Always()] = ""
    value: str = ""
    effect: Annotated[TaintEffect, Required(), Always()] = ""
    time_added: Time | None = None


# --- DeviceClass -----------------------------------------------------------------------------------------------------


class DeviceClassConfiguration(Wire, frozen=True):
    opaque: Opaque = None


class DeviceClassSpec(Wire, frozen=True):
    selectors: Selectors = None
    config: Annotated[tuple[DeviceClassConfiguration, ...] | None, Optional(), MaxItems(32)] = None
    extended_resource_name: Annotated[str | None, EXTENDED_RESOURCE, Optional(), EXTENDED_RESOURCE_NAME] = None


class DeviceClass(Object, frozen=True):
    metadata: Annotated[ObjectMeta, NameFormat(LONG_NAME)] = ObjectMeta()
    spec: DeviceClassSpec = DeviceClassSpec()


# --- ResourceClaim, ResourceClaimTemplate ----------------------------------------------------------------------------


class CapacityRequirements(Wire, frozen=True):
    requests: dict[QualifiedName, Quantity] | None = None


class DeviceDerivedAttribute(Wire, frozen=True):
    name: Annotated[
        FullyQualifiedName, Required(level=STANDARD), Format(FULLY_QUALIFIED_NAME.name, level=STANDARD), Always()
    ] = ""
    expression: Annotated[str, Required(level=STANDARD), Always()] = ""


DerivedAttributes = Annotated[
    tuple[DeviceDerivedAttribute, ...] | None,
    DERIVED_ATTRIBUTES,
    MaxItems(32, level=STANDARD),
    Optional(level=STANDARD),
]
Tolerations = Annotated[tuple[DeviceToleration, ...] | None, Optional()]


class ExactDeviceRequest(Wire, frozen=True):
    device_class_name: Annotated[str, Always()] = ""
    selectors: Selectors = None
    allocation_mode: AllocationMode = ""
    count: int = 0
    admin_access: Annotated[bool | None, ADMIN_ACCESS] = None
    tolerations: Annotated[Tolerations, DEVICE_TAINTS] = None
    capacity: Annotated[CapacityRequirements | None, CONSUMABLE_CAPACITY] = None
    derived_attributes: DerivedAttributes = None


class DeviceSubRequest(Wire, frozen=True):
    name: Annotated[str, Always()] = ""
    device_class_name: Annotated[str, Required(), LONG_NAME, Always()] = ""
    selectors: Selectors = None
    allocation_mode: AllocationMode = ""
    count: int = 0
    tolerations: Annotated[Tolerations, DEVICE_TAINTS] = None
    capacity: Annotated[CapacityRequirements | None, CONSUMABLE_CAPACITY] = None
    derived_attributes: DerivedAttributes = None


class DeviceRequest(Wire, frozen=True):
    name: Annotated[str, Always()] = ""
    exactly: Annotated[ExactDeviceRequest | None, Optional()] = None
    first_available: Annotated[
        tuple[DeviceSubRequest, ...] | None, PRIORITIZED_LIST, Optional(), MaxItems(8), Unique(("name",))
    ] = None


class DeviceConstraint(Wire, frozen=True):
    requests: RequestNames = None
    match_attribute: Annotated[FullyQualifiedName | None, Optional(), FULLY_QUALIFIED_NAME] = None
    distinct_attribute: Annotated[FullyQualifiedName | None, CONSUMABLE_CAPACITY, Optional(), FULLY_QUALIFIED_NAME] = (
        None
    )


class DeviceClaimConfiguration(Wire, frozen=True):
    requests: RequestNames = None
    opaque: Opaque = None


class DeviceClaim(Wire, frozen=True):
    requests: Annotated[tuple[DeviceRequest, ...] | None, Optional(), MaxItems(32), Unique(("name",)), Always()] = None
    constraints: Annotated[tuple[DeviceConstraint, ...] | None, Optional(), MaxItems(32)] = None
    config: Annotated[tuple[DeviceClaimConfiguration, ...] | None, Optional(), MaxItems(32)] = None


class ResourceClaimSpec(Wire, frozen=True):
    devices: DeviceClaim = DeviceClaim()


class DeviceRequestAllocationResult(Wire, frozen=True):
    request: Annotated[str, Always()] = ""
    driver: DriverName = ""
    pool: Annotated[str, Required(), POOL_NAME, Always()] = ""
    device: Annotated[str, Always()] = ""
    admin_access: Annotated[bool | None, ADMIN_ACCESS] = None
    tolerations: Tolerations = None
    binding_conditions: Annotated[tuple[str, ...] | None, BINDING_CONDITIONS, Optional(), MaxItems(4)] = None
    binding_failure_conditions: Annotated[tuple[str, ...] | None, BINDING_CONDITIONS, Optional(), MaxItems(4)] = None
    share_id: Annotated[Uid | None, CONSUMABLE_CAPACITY, Optional(), UUID] = field(default=None, name="shareID")
    consumed_capacity: Annotated[dict[QualifiedName, Quantity] | None, CONSUMABLE_CAPACITY] = None
    skip_node_operations: SkipNodeOperations = None


class DeviceAllocationConfiguration(Wire, frozen=True):
    source: Annotated[
        str, GoType("v1.AllocationConfigSource"), Required(), OneOf(("FromClaim", "FromClass")), Always()
    ] = ""
    requests: RequestNames = None
    opaque: Opaque = None


class DeviceAllocationResult(Wire, frozen=True):
    results: Annotated[tuple[DeviceRequestAllocationResult, ...] | None, Optional(), MaxItems(32)] = None
    config: Annotated[tuple[DeviceAllocationConfiguration, ...] | None, Optional(), MaxItems(64)] = None


class AllocationResult(Wire, frozen=True):
    devices: DeviceAllocationResult = DeviceAllocationResult()
    node_selector: NodeSelector | None = None
    allocation_timestamp: Time | None = None


class ResourceClaimConsumerReference(Wire, frozen=True):
    api_group: str = ""
    resource: Annotated[str, Always()] = ""
    name: Annotated[str, Always()] = ""
    uid: Annotated[Uid, Always()] = ""


class NetworkDeviceData(Wire, frozen=True):
    interface_name: Annotated[str, Optional(), MaxBytes(256)] = ""
    ips: Annotated[tuple[str, ...] | None, Optional(), MaxItems(16), Unique()] = None
    hardware_address: Annotated[str, Optional(), MaxBytes(128)] = ""


class AllocatedDeviceStatus(Wire, frozen=True):
    driver: Annotated[str, Always()] = ""
    pool: Annotated[str, Always()] = ""
    device: Annotated[str, Always()] = ""
    share_id: Annotated[str | None, CONSUMABLE_CAPACITY, Optional(), UUID] = field(default=None, name="shareID")
    conditions: Annotated[tuple[Condition, ...] | None, Always()] = None
    data: Raw | None = None
    network_data: Annotated[NetworkDeviceData | None, Optional()] = None


class ResourceClaimStatus(Wire, frozen=True):
    allocation: Annotated[AllocationResult | None, Optional(), NoModify()] = None
    reserved_for: Annotated[
        tuple[ResourceClaimConsumerReference, ...] | None, Optional(), MaxItems(256), Unique(("uid",))
    ] = None
    devices: Annotated[
        tuple[AllocatedDeviceStatus, ...] | None,
        DEVICE_STATUS,
        Optional(),
        Unique(("driver", "device", "pool", "shareID")),
    ] = None


class ResourceClaim(Object, frozen=True):
    spec: Annotated[ResourceClaimSpec, Immutable()] = ResourceClaimSpec()
    status: ResourceClaimStatus = ResourceClaimStatus()


class ResourceClaimTemplateSpec(Wire, frozen=True):
    metadata: ObjectMeta = ObjectMeta()
    spec: ResourceClaimSpec = ResourceClaimSpec()


class ResourceClaimTemplate(Object, frozen=True):
    spec: ResourceClaimTemplateSpec = ResourceClaimTemplateSpec()


# --- DeviceTaintRule -------------------------------------------------------------------------------------------------


class DeviceTaintSelector(Wire, frozen=True):
    driver: str | None = None
    pool: str | None = None
    device: str | None = None


class DeviceTaintRuleSpec(Wire, frozen=True):
    device_selector: DeviceTaintSelector | None = None
    taint: DeviceTaint = DeviceTaint()


class DeviceTaintRuleStatus(Wire, frozen=True):
    conditions: tuple[Condition, ...] | None = None


class DeviceTaintRule(Object, frozen=True):
    spec: DeviceTaintRuleSpec = DeviceTaintRuleSpec()
    status: DeviceTaintRuleStatus = DeviceTaintRuleStatus()
