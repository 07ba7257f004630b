"""One device of a ResourceSlice.

Upstream: `validateDevice` and below in pkg/apis/resource/validation.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from dra_operator.api import content
from dra_operator.api.quantity import Quantity
from dra_operator.validation import names
from dra_operator.validation.capacity import check_capacity
from dra_operator.validation.equality import same
from dra_operator.validation.errors import (
    FieldError,
    child,
    covered,
    duplicate,
    index,
    invalid,
    key,
    not_found,
    required,
    too_long,
)
from dra_operator.validation.gates import Gates
from dra_operator.validation.lists import check_items, check_map, check_set
from dra_operator.validation.nodeselector import check_node_selector
from dra_operator.validation.slicetypes import (
    Counter,
    CounterSet,
    Device,
    DeviceAttribute,
    DeviceCapacity,
    DeviceCounterConsumption,
    NodeAllocatableMapping,
    NodeAllocatableOverhead,
    NodeAllocatableResource,
)
from dra_operator.validation.taints import check_taint

ATTRIBUTES_AND_CAPACITIES_MAX: Final = 32
ATTRIBUTE_VALUES_MAX: Final = 48
ATTRIBUTE_LENGTH_MAX: Final = 64
TAINTS_MAX: Final = 16
COUNTERS_MAX: Final = 32
CONSUMPTIONS_MAX: Final = 2
BINDING_CONDITIONS_MAX: Final = 4
_ONE_VALUE: Final = "exactly one value must be specified"
_NODE_CHOICE: Final = (
    "exactly one of `nodeName`, `nodeSelector`, or `allNodes` is required when `perDeviceNodeSelection` is set to true "
    "in the ResourceSlice spec"
)
_NO_NODE_CHOICE: Final = (
    "`nodeName`, `nodeSelector` and `allNodes` can only be set if `perDeviceNodeSelection` is set to true in the "
    "ResourceSlice spec"
)


def check_device(
    path: str, device: Device, old: Device | None, *, chooses_nodes: bool, gates: Gates
) -> list[FieldError]:
    """`chooses_nodes`: the slice leaves it to each device which nodes may use it."""
    found = names.label(child(path, "name"), device.name)
    found += _sizes(path, device)
    found += check_map(
        child(path, "attributes"), device.attributes, names.qualified_name, _attribute, shorten=names.QUALIFIED_MAX
    )
    if old is None or not same(old.capacity, device.capacity):
        shared = bool(device.allow_multiple_allocations)

        def capacity(where: str, each: DeviceCapacity) -> list[FieldError]:
            return check_capacity(where, each, shared=shared, gates=gates)

        found += check_map(
            child(path, "capacity"), device.capacity, names.qualified_name, capacity, shorten=names.QUALIFIED_MAX
        )
    if old is None or not same(old.taints, device.taints):
        found += check_items(child(path, "taints"), device.taints, check_taint, limit=TAINTS_MAX, declared=False)
    found += check_set(
        child(path, "consumesCounters"),
        device.consumes_counters,
        _consumption,
        lambda each: each.counter_set,
        limit=CONSUMPTIONS_MAX,
    )
    found += _nodes(path, device, chooses_nodes=chooses_nodes)
    found += check_binding_conditions(path, device.binding_conditions, device.binding_failure_conditions)
    for name, resource in (device.node_allocatable_resources or {}).items():
        where = key(child(path, "nodeAllocatableResources"), name)
        found += _node_allocatable(where, name, resource, device.capacity or {})
    return found


def check_counter_set(path: str, counter_set: CounterSet) -> list[FieldError]:
    found = _counter_set_name(child(path, "name"), counter_set.name)
    return found + _counters(child(path, "counters"), counter_set.counters)


def check_binding_conditions(
    path: str, conditions: tuple[str, ...] | None, failures: tuple[str, ...] | None
) -> list[FieldError]:
    """Conditions that say that a device is ready, and those that say it never will be: both kinds, or none."""
    good, bad = child(path, "bindingConditions"), child(path, "bindingFailureConditions")
    found = check_items(good, conditions, names.label_key, limit=BINDING_CONDITIONS_MAX)
    found += check_items(bad, failures, names.label_key, limit=BINDING_CONDITIONS_MAX)
    found += _repeated(good, conditions or ())
    seen: set[str] = set()
    for i, condition in enumerate(failures or ()):
        if condition in seen:
            found.append(duplicate(index(bad, i), condition))
        seen.add(condition)
        if condition in (conditions or ()):
            detail = "bindingFailureConditions must not overlap with bindingConditions"
            found.append(invalid(index(bad, i), condition, detail))
    if not conditions and failures:
        detail = "bindingConditions are required to use bindingFailureConditions"
        found.append(invalid(good, conditions, detail))
    if not failures and conditions:
        detail = "bindingFailureConditions are required to use bindingConditions"
        found.append(invalid(bad, failures, detail))
    return found


def _repeated(path: str, values: tuple[str, ...]) -> list[FieldError]:
    return [duplicate(index(path, i), each) for i, each in enumerate(values) if each in values[:i]]


def _sizes(path: str, device: Device) -> list[FieldError]:
    found = []
    entries = len(device.attributes or ()) + len(device.capacity or ())
    if entries > ATTRIBUTES_AND_CAPACITIES_MAX:
        detail = f"the total number of attributes and capacities must not exceed {ATTRIBUTES_AND_CAPACITIES_MAX}"
        found.append(invalid(path, entries, detail))
    values = sum(_number_of_values(each) for each in (device.attributes or {}).values())
    if values > ATTRIBUTE_VALUES_MAX:
        detail = f"the total number of attribute values must not exceed {ATTRIBUTE_VALUES_MAX}"
        found.append(invalid(path, values, detail))
    return found


def _number_of_values(attribute: DeviceAttribute) -> int:
    lists = (attribute.bool_values, attribute.int_values, attribute.string_values, attribute.version_values)
    return sum(len(each) for each in lists if each) or 1


def _attribute(path: str, attribute: DeviceAttribute) -> list[FieldError]:
    found: list[FieldError] = []
    if attribute.string_value is not None:
        found += _string(child(path, "string"), attribute.string_value)
    if attribute.version_value is not None:
        found += _version(child(path, "version"), attribute.version_value)
    for name, values in (
        ("bools", attribute.bool_values),
        ("ints", attribute.int_values),
        ("strings", attribute.string_values),
        ("versions", attribute.version_values),
    ):
        if values == ():
            found.append(invalid(child(path, name), values, "must not be empty if specified"))
        if name == "strings":
            found += check_items(child(path, name), attribute.string_values, _string)
        if name == "versions":
            found += check_items(child(path, name), attribute.version_values, _version)
    chosen = sum(getattr(attribute, field) is not None for field in attribute.__struct_fields__)
    if chosen != 1:
        value = attribute if chosen else ""
        found.append(invalid(path, value, _ONE_VALUE, origin="union", covered=True, internal=True))
    return found


def _string(path: str, value: str) -> list[FieldError]:
    return [too_long(path, ATTRIBUTE_LENGTH_MAX)] if content.size(value) > ATTRIBUTE_LENGTH_MAX else []


def _version(path: str, value: str) -> list[FieldError]:
    found = []
    if not content.is_semantic_version(value):
        found.append(invalid(path, value, "must be a string compatible with semver.org spec 2.0.0"))
    return found + _string(path, value)


def _consumption(path: str, consumption: DeviceCounterConsumption) -> list[FieldError]:
    found = _counter_set_name(child(path, "counterSet"), consumption.counter_set)
    return found + _counters(child(path, "counters"), consumption.counters)


def _counter_set_name(path: str, name: str) -> list[FieldError]:
    return covered(names.label(path, name)) if name else [required(path, covered=True)]


def _counters(path: str, counters: dict[str, Counter] | None) -> list[FieldError]:
    if not counters:
        return [required(path, covered=True)]
    return check_map(
        path,
        counters,
        lambda where, name: covered(names.label(where, name)),
        lambda where, counter: [],  # any quantity will do
        shorten=content.LABEL_MAX,
        limit=COUNTERS_MAX,
    )


def _nodes(path: str, device: Device, *, chooses_nodes: bool) -> list[FieldError]:
    if not chooses_nodes:
        chooses = device.node_name is not None or device.node_selector is not None or device.all_nodes is not None
        return [invalid(path, None, _NO_NODE_CHOICE)] if chooses else []
    found: list[FieldError] = []
    chosen = []
    if device.node_name:
        chosen.append("`nodeName`")
        found += names.node_name(child(path, "nodeName"), device.node_name)
    elif device.node_name is not None:
        found.append(invalid(child(path, "nodeName"), "", "must not be empty"))
    if device.node_selector is not None:
        chosen.append("`nodeSelector`")
        found += check_node_selector(child(path, "nodeSelector"), device.node_selector)
    if device.all_nodes:
        chosen.append("`allNodes`")
    elif device.all_nodes is not None:
        found.append(invalid(child(path, "allNodes"), False, "must be either unset or set to true"))
    if not chosen:
        found.append(required(path, _NODE_CHOICE))
    elif len(chosen) > 1:
        found.append(invalid(path, f"{{{', '.join(chosen)}}}", _NODE_CHOICE))
    return found


# --- what a device takes of its node's own resources -----------------------------------------------------------------


def _node_allocatable(
    path: str, name: str, resource: NodeAllocatableResource, capacities: Mapping[str, DeviceCapacity]
) -> list[FieldError]:
    found: list[FieldError] = []
    if name not in ("cpu", "memory") and not name.startswith("hugepages-"):
        found.append(invalid(path, name, "must be a node allocatable resource name"))
    if resource.mapping is None and resource.overhead is None:
        found.append(required(path, "at least one of mapping or overhead must be set"))
    if resource.mapping is not None:
        found += _mapping(child(path, "mapping"), resource.mapping, capacities)
    if resource.overhead is not None:
        found += _overhead(child(path, "overhead"), resource.overhead)
    return found


def _mapping(path: str, mapping: NodeAllocatableMapping, capacities: Mapping[str, DeviceCapacity]) -> list[FieldError]:
    found: list[FieldError] = []
    name, multiplier = child(path, "capacityKey"), child(path, "capacityMultiplier")
    if mapping.capacity_key is not None:
        if not mapping.capacity_key:
            found.append(invalid(name, "", "capacityKey must not be an empty string"))
        elif mapping.capacity_key not in capacities:
            found.append(not_found(name, mapping.capacity_key))
        if mapping.capacity_multiplier is None:
            found.append(required(multiplier, "capacityMultiplier is required when capacityKey is set"))
        else:
            found += _positive(multiplier, mapping.capacity_multiplier)
    if mapping.device_multiplier is not None:
        found += _positive(child(path, "deviceMultiplier"), mapping.device_multiplier)
    if mapping.capacity_multiplier is not None and mapping.capacity_key is None:
        found.append(required(name, "capacityKey is required when capacityMultiplier is set"))
    return found


def _positive(path: str, quantity: Quantity) -> list[FieldError]:
    return [] if quantity.sign() > 0 else [invalid(path, quantity.as_written(), "must be positive")]


def _overhead(path: str, overhead: NodeAllocatableOverhead) -> list[FieldError]:
    if overhead.per_pod is None and overhead.per_container is None:
        return [invalid(path, "", "at least one of perPod or perContainer must be set")]
    return [
        invalid(child(path, name), each.as_written(), "must be non-negative")
        for name, each in (("perPod", overhead.per_pod), ("perContainer", overhead.per_container))
        if each is not None and each.sign() < 0
    ]
