"""The spec of a ResourceSlice.

Upstream: `validateResourceSliceSpec` in pkg/apis/resource/validation.
"""

from __future__ import annotations

from typing import Final

from dra_operator.validation import names
from dra_operator.validation.device import check_counter_set, check_device
from dra_operator.validation.errors import FieldError, child, index, invalid, key, required
from dra_operator.validation.gates import Gates
from dra_operator.validation.lists import check_set
from dra_operator.validation.nodeselector import check_node_selector
from dra_operator.validation.slicetypes import Device, ResourcePool, ResourceSliceSpec

DEVICES_MAX: Final = 128
ADVANCED_DEVICES_MAX: Final = 64
"""The limit as soon as one device has taints, counters or lists."""
COUNTER_SETS_MAX: Final = 8
_NODE_CHOICE: Final = "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required"
_TRUE_OR_UNSET: Final = "must be either unset or set to true"
_IMMUTABLE: Final = "field is immutable"


def check_slice_spec(
    path: str, spec: ResourceSliceSpec, old: ResourceSliceSpec | None, gates: Gates
) -> list[FieldError]:
    found = names.driver_name(child(path, "driver"), spec.driver)
    found += _pool(child(path, "pool"), spec.pool)
    if old is not None:
        found += _moved(path, spec, old)
    found += _nodes(path, spec)
    if spec.shared_counters is not None and spec.devices is not None:
        found.append(invalid(path, "", "only one of `sharedCounters` or `devices` is allowed"))
    before: dict[str, Device] = {}
    for device in old.devices or () if old is not None else ():
        before.setdefault(device.name, device)

    def check(where: str, device: Device) -> list[FieldError]:
        chooses = bool(spec.per_device_node_selection)
        return check_device(where, device, before.get(device.name), chooses_nodes=chooses, gates=gates)

    limit = ADVANCED_DEVICES_MAX if any(map(_is_advanced, spec.devices or ())) else DEVICES_MAX
    found += check_set(
        child(path, "devices"), spec.devices, check, lambda device: device.name, limit=limit, declared=False
    )
    found += check_set(
        child(path, "sharedCounters"),
        spec.shared_counters,
        check_counter_set,
        lambda counter_set: counter_set.name,
        limit=COUNTER_SETS_MAX,
    )
    if spec.partition_type_attribute is not None:
        found += _partition_type(path, spec, spec.partition_type_attribute)
    return found + check_skipped_operations(child(path, "skipNodeOperations"), spec.skip_node_operations)


def check_skipped_operations(path: str, operations: tuple[str, ...] | None) -> list[FieldError]:
    skipped = set(operations or ())
    if "NodePrepareResources" in skipped and not skipped & {"NodeUnprepareResources", "*"}:
        detail = "NodePrepareResources cannot be skipped unless NodeUnprepareResources is also skipped"
        return [invalid(path, operations, detail)]
    return []


def _pool(path: str, pool: ResourcePool) -> list[FieldError]:
    found = names.pool_name(child(path, "name"), pool.name)
    if pool.resource_slice_count <= 0:
        where = child(path, "resourceSliceCount")
        found.append(invalid(where, pool.resource_slice_count, "must be greater than zero"))
    if pool.generation < 0:
        found.append(invalid(child(path, "generation"), pool.generation, "must be greater than or equal to zero"))
    return found


def _moved(path: str, spec: ResourceSliceSpec, old: ResourceSliceSpec) -> list[FieldError]:
    """A slice stays with its pool, its driver and its node."""
    pairs = (
        (child(path, "pool", "name"), spec.pool.name, old.pool.name),
        (child(path, "driver"), spec.driver, old.driver),
        (child(path, "nodeName"), spec.node_name, old.node_name),
    )
    return [invalid(where, new, _IMMUTABLE) for where, new, before in pairs if new != before]


def _nodes(path: str, spec: ResourceSliceSpec) -> list[FieldError]:
    found: list[FieldError] = []
    chosen = []
    if spec.node_name:
        chosen.append("`nodeName`")
        found += names.node_name(child(path, "nodeName"), spec.node_name)
    elif spec.node_name is not None:
        found.append(invalid(child(path, "nodeName"), "", "must be either unset or set to a non-empty string"))
    if spec.node_selector is not None:
        chosen.append("`nodeSelector`")
        where = child(path, "nodeSelector")
        found += check_node_selector(where, spec.node_selector)
        terms = spec.node_selector.node_selector_terms
        if len(terms or ()) != 1:
            detail = "must have exactly one node selector term"
            found.append(invalid(child(where, "nodeSelectorTerms"), terms, detail, internal=True))
    for name, value in (("allNodes", spec.all_nodes), ("perDeviceNodeSelection", spec.per_device_node_selection)):
        if value:
            chosen.append(f"`{name}`")
        elif value is not None:
            found.append(invalid(child(path, name), value, _TRUE_OR_UNSET))
    if not chosen:
        found.append(required(path, _NODE_CHOICE))
    elif len(chosen) > 1:
        found.append(invalid(path, f"{{{', '.join(chosen)}}}", f"{_NODE_CHOICE}, but multiple fields are set"))
    return found


def _is_advanced(device: Device) -> bool:
    return bool(
        device.taints
        or device.consumes_counters
        or any(
            each is not None
            for attribute in (device.attributes or {}).values()
            for each in (
                attribute.bool_values,
                attribute.int_values,
                attribute.string_values,
                attribute.version_values,
            )
        )
    )


def _partition_type(path: str, spec: ResourceSliceSpec, name: str) -> list[FieldError]:
    """Every device that consumes counters says by this attribute which kind of partition it is."""
    partitions = [(i, device) for i, device in enumerate(spec.devices or ()) if device.consumes_counters]
    if not partitions:
        detail = "may only be set on a slice which declares devices that consume counters"
        return [invalid(child(path, "partitionTypeAttribute"), name, detail)]
    if names.fully_qualified_name("", name):
        return []  # the declared rule says so once; no device can carry such an attribute
    bare = name.removeprefix(f"{spec.driver}/")
    found = []
    for i, device in partitions:
        attributes = device.attributes or {}
        where = key(child(index(child(path, "devices"), i), "attributes"), name)
        attribute = attributes.get(name) or attributes.get(bare)
        if attribute is None:
            detail = "device consumes counters and `partitionTypeAttribute` names this attribute, so it must be set"
            found.append(required(where, detail))
        elif attribute.string_value is None:
            detail = "must be a string value because `partitionTypeAttribute` names this attribute"
            found.append(invalid(where, attribute, detail, internal=True))
    return found
