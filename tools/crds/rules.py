"""What the API server checks by code, as keywords and rules of a structural schema, by type.

Where a keyword can say it, a keyword does: it costs nothing. Rules in CEL are bounded by what the API server lets a CRD
cost; what needs more, or the namespace, or the request, is in `manifests/components/crd` as an admission policy.

Upstream: pkg/apis/resource/validation, defaults.go and the `+listType` tags of k8s.io/api/resource/v1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from tools.crds import capacity
from tools.crds.patterns import (
    DRIVER,
    LABEL,
    LABEL_KEY,
    LABEL_VALUE,
    POOL,
    REASON,
    REQUEST_REFERENCE,
    SUBDOMAIN,
    UUID,
    VERSION,
    Schema,
    or_empty,
)

from dra_operator.cel import MAX_LENGTH
from dra_operator.validation import claimstatus, conditions, device, slicespec, types
from dra_operator.validation import metatypes as meta
from dra_operator.validation import slicetypes as slices
from dra_operator.validation.shapes import Wire


@dataclass(frozen=True)
class Cel:
    """One entry of x-kubernetes-validations. `field` names the one that is wrong."""

    rule: str
    message: str
    field: str = ""
    optional_old: bool = False

    def schema(self) -> Schema:
        found: Schema = {"rule": self.rule, "message": self.message}
        if self.field:
            found["fieldPath"] = self.field
        if self.optional_old:
            found["optionalOldSelf"] = True
        return found


@dataclass(frozen=True)
class Extra:
    """What to add to a type's schema. `fields` by path, see `schema._merge_at`."""

    fields: Mapping[str, Schema] = field(default_factory=dict)
    required: tuple[str, ...] = ()
    rules: tuple[Cel, ...] = ()
    schema: Mapping[str, Any] = field(default_factory=dict)


def _unique(name: str, key: str, what: str) -> Cel:
    each = f"self.{name}.all(a, self.{name}.exists_one(b, a.{key} == b.{key}))"
    return Cel(f"!has(self.{name}) || {each}", f"no two {what} may have the same {key}", f".{name}")


def _distinct(name: str) -> Cel:
    each = f"self.{name}.all(a, self.{name}.exists_one(b, a == b))"
    return Cel(f"!has(self.{name}) || {each}", "no entry may be there twice", f".{name}")


def _bytes(limit: int) -> Schema:
    """A text of so many bytes."""
    rule = Cel(f"bytes(self).size() <= {limit}", f"may not be more than {limit} bytes")
    return {"maxLength": limit, "x-kubernetes-validations": [rule.schema()]}


_INTERFACE_ADDRESS_MAX: Final = len("ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255/128")
_COUNTERS: Final[Schema] = {"minProperties": 1, "maxProperties": device.COUNTERS_MAX}
_ONLY_TRUE: Final[Schema] = {"enum": [True]}
_FILLED: Final[Schema] = {"minLength": 1}
_BINDING: Final = (
    _distinct("bindingConditions"),
    _distinct("bindingFailureConditions"),
    Cel(
        "(has(self.bindingConditions) && size(self.bindingConditions) > 0) == "
        "(has(self.bindingFailureConditions) && size(self.bindingFailureConditions) > 0)",
        "bindingConditions and bindingFailureConditions need each other",
    ),
    Cel(
        "!has(self.bindingConditions) || !has(self.bindingFailureConditions) || "
        "!self.bindingFailureConditions.exists(a, a in self.bindingConditions)",
        "bindingFailureConditions must not overlap with bindingConditions",
        ".bindingFailureConditions",
    ),
)
_BINDING_FIELDS: Final = {"bindingConditions[]": LABEL_KEY, "bindingFailureConditions[]": LABEL_KEY}
_CONDITION_FIELDS: Final[Mapping[str, Schema]] = {
    "type": LABEL_KEY,
    "status": {"enum": list(conditions.STATUSES)},
    "reason": {"pattern": REASON, "minLength": 1, "maxLength": conditions.REASON_MAX},
    "message": {"maxLength": conditions.MESSAGE_MAX},
    "observedGeneration": {"minimum": 0},
}
_CONDITIONS: Final[Schema] = {
    "maxItems": claimstatus.CONDITIONS_MAX,
    "x-kubernetes-list-type": "map",
    "x-kubernetes-list-map-keys": ["type"],
}

# --- requests --------------------------------------------------------------------------------------------------------

_WISHES: Final[Mapping[str, Schema]] = {
    "deviceClassName": SUBDOMAIN,
    "allocationMode": {"default": "ExactCount", "enum": ["All", "ExactCount"]},
}
_COUNT: Final = Cel(
    "!has(self.count) || (self.allocationMode == 'All' ? self.count == 0 : self.count > 0)",
    "must be greater than zero, and not be specified when allocationMode is 'All'",
    ".count",
)
_UNKNOWN_REQUEST: Final = (
    "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'"
)


def _known(requests: str, rule: str) -> str:
    """The rule, in which `known` has the subrequests of each request. A list of one is how CEL names a value."""
    subs = "q.firstAvailable.transformMapEntry(j, s, {s.name: true})"
    return f"[{requests}.transformMapEntry(i, q, {{q.name: has(q.firstAvailable) ? {subs} : {{}}}})].all(known, {rule})"


def _refers(name: str) -> str:
    """Whether the name is one of a request, or of a request and one of its subrequests."""
    return (
        f"known[?{name}.split('/')[0]].hasValue() && "
        f"(!{name}.contains('/') || {name}.split('/')[1] in known[{name}.split('/')[0]])"
    )


def _references(name: str) -> Cel:
    rule = _known("self.requests", f"self.{name}.all(c, !has(c.requests) || c.requests.all(r, {_refers('r')}))")
    without = f"self.{name}.all(c, !has(c.requests) || size(c.requests) == 0)"
    return Cel(f"!has(self.{name}) || (has(self.requests) ? {rule} : {without})", _UNKNOWN_REQUEST, f".{name}")


_SPEC_REQUESTS: Final = "self.spec.devices.requests"
_HAS_REQUESTS: Final = "has(self.spec) && has(self.spec.devices) && has(self.spec.devices.requests)"
_ALLOCATED: Final = "self.status.allocation.devices"
_HAS_DEVICES: Final = "has(self.status) && has(self.status.allocation) && has(self.status.allocation.devices)"


def _of_allocation(name: str, rule: str, without: str) -> Cel:
    known = _known(_SPEC_REQUESTS, rule)
    return Cel(
        f"!({_HAS_DEVICES} && has({_ALLOCATED}.{name})) || ({_HAS_REQUESTS} ? {known} : {without})",
        _UNKNOWN_REQUEST,
        f".status.allocation.devices.{name}",
    )


_ALLOCATED_FOR_REQUESTS: Final = _of_allocation(
    "results", f"{_ALLOCATED}.results.all(r, {_refers('r.request')})", f"size({_ALLOCATED}.results) == 0"
)
_CONFIGURED_FOR_REQUESTS: Final = _of_allocation(
    "config",
    f"{_ALLOCATED}.config.all(c, !has(c.requests) || c.requests.all(r, {_refers('r')}))",
    f"{_ALLOCATED}.config.all(c, !has(c.requests) || size(c.requests) == 0)",
)

# --- what names a node -----------------------------------------------------------------------------------------------


def _node_requirement(operators: tuple[str, ...], values: Schema) -> Schema:
    found: Schema = {"properties": {"operator": {"enum": list(operators)}, "values": values}}
    return {**found, "required": ["values"]} if values.get("minItems") else found


_EXPRESSION: Final[Schema] = {
    "properties": {"key": LABEL_KEY, "values": {"items": LABEL_VALUE}},
    "required": ["key", "operator"],
    "anyOf": [
        _node_requirement(("In", "NotIn"), {"minItems": 1}),
        _node_requirement(("Exists", "DoesNotExist"), {"maxItems": 0}),
        _node_requirement(("Gt", "Lt"), {"minItems": 1, "maxItems": 1}),
    ],
}
_FIELD: Final[Schema] = {
    "properties": {
        "key": {"enum": ["metadata.name"]},
        "operator": {"enum": ["In", "NotIn"]},
        "values": {"minItems": 1, "maxItems": 1, "items": SUBDOMAIN},
    },
    "required": ["key", "operator", "values"],
}
_ONE_NODE: Final = "exactly one of nodeName, nodeSelector, allNodes, perDeviceNodeSelection is required"
_CHOICES: Final = "[has(d.nodeName), has(d.nodeSelector), has(d.allNodes)].filter(x, x).size()"

# --- all of them -----------------------------------------------------------------------------------------------------

_UNSET: Final[Schema] = {"maxLength": 0}

RULES: Final[Mapping[type[Wire], Extra]] = {
    # requests
    types.CELDeviceSelector: Extra(
        fields={"expression": {"minLength": 1, "maxLength": MAX_LENGTH}}, required=("expression",)
    ),
    types.DeviceSelector: Extra(required=("cel",)),
    types.OpaqueDeviceConfiguration: Extra(fields={"driver": DRIVER}, required=("parameters",)),
    types.DeviceClassConfiguration: Extra(required=("opaque",)),
    types.DeviceToleration: Extra(
        fields={"operator": {"default": "Equal", "enum": ["", "Equal", "Exists"]}, "value": LABEL_VALUE},
        schema={
            "anyOf": [
                {"properties": {"operator": {"enum": ["", "Equal"]}}},
                {"properties": {"operator": {"enum": ["Exists"]}, "value": {"maxLength": 0}}},
            ]
        },
    ),
    types.DeviceTaint: Extra(fields={"key": LABEL_KEY, "value": LABEL_VALUE}, required=("key",)),
    types.ExactDeviceRequest: Extra(fields=_WISHES, required=("deviceClassName",), rules=(_COUNT,)),
    types.DeviceSubRequest: Extra(fields={"name": LABEL, **_WISHES}, required=("name",), rules=(_COUNT,)),
    types.DeviceRequest: Extra(
        fields={"name": LABEL},
        required=("name",),
        rules=(
            Cel(
                "has(self.exactly) != (has(self.firstAvailable) && size(self.firstAvailable) > 0)",
                "exactly one of `exactly` or `firstAvailable` is required",
            ),
            _unique("firstAvailable", "name", "subrequests"),
        ),
    ),
    types.DeviceConstraint: Extra(
        fields={"requests[]": REQUEST_REFERENCE},
        rules=(
            _distinct("requests"),
            Cel(
                "has(self.matchAttribute) || has(self.distinctAttribute)",
                "one of `matchAttribute` or `distinctAttribute` is required",
            ),
        ),
    ),
    types.DeviceClaimConfiguration: Extra(
        fields={"requests[]": REQUEST_REFERENCE}, required=("opaque",), rules=(_distinct("requests"),)
    ),
    types.DeviceClaim: Extra(
        rules=(_unique("requests", "name", "requests"), _references("constraints"), _references("config"))
    ),
    # claims
    types.ResourceClaim: Extra(
        fields={"spec": {"x-kubernetes-validations": [Cel("self == oldSelf", "field is immutable").schema()]}},
        rules=(_ALLOCATED_FOR_REQUESTS, _CONFIGURED_FOR_REQUESTS),
    ),
    types.ResourceClaimTemplate: Extra(
        fields={"spec": {"x-kubernetes-validations": [Cel("self == oldSelf", "field is immutable").schema()]}},
    ),
    meta.ObjectMeta: Extra(
        fields={
            "labels{}": LABEL_VALUE,
            **dict.fromkeys(("name", "generateName", "namespace", "selfLink", "uid", "resourceVersion"), _UNSET),
            "generation": {"enum": [0]},
        },
        schema={
            "not": {
                "anyOf": [
                    {"required": [name]}
                    for name in (
                        "creationTimestamp",
                        "deletionTimestamp",
                        "deletionGracePeriodSeconds",
                        "ownerReferences",
                        "finalizers",
                        "managedFields",
                    )
                ]
            }
        },
    ),
    # slices
    slices.DeviceAttribute: Extra(
        fields={
            "string": _bytes(device.ATTRIBUTE_LENGTH_MAX),
            "version": VERSION,
        },
        rules=(
            Cel(
                "[has(self.int), has(self.bool), has(self.string), has(self.version)].filter(x, x).size() == 1",
                "exactly one of int, bool, string, version must be specified",
            ),
        ),
    ),
    slices.Counter: Extra(fields={"value": {"default": "0"}}),
    slices.CounterSet: Extra(fields={"counters": _COUNTERS}),
    slices.DeviceCounterConsumption: Extra(fields={"counters": _COUNTERS}),
    slices.DeviceCapacity: Extra(
        fields={"value": {"default": "0"}}, rules=tuple(Cel(*each) for each in capacity.RULES)
    ),
    slices.CapacityRequestPolicy: Extra(fields={"validValues": {"maxItems": capacity.OPTIONS_MAX}}),
    slices.Device: Extra(
        fields={
            "name": LABEL,
            "attributes": {"maxProperties": device.ATTRIBUTES_AND_CAPACITIES_MAX},
            "capacity": {"maxProperties": device.ATTRIBUTES_AND_CAPACITIES_MAX},
            "taints": {"maxItems": device.TAINTS_MAX},
            "nodeName": SUBDOMAIN,
            "allNodes": _ONLY_TRUE,
            **_BINDING_FIELDS,
        },
        required=("name",),
        rules=(
            Cel(
                "(has(self.attributes) ? size(self.attributes) : 0) + (has(self.capacity) ? size(self.capacity) : 0) "
                f"<= {device.ATTRIBUTES_AND_CAPACITIES_MAX}",
                f"the total number of attributes and capacities must not exceed {device.ATTRIBUTES_AND_CAPACITIES_MAX}",
            ),
            Cel(
                "has(self.allowMultipleAllocations) && self.allowMultipleAllocations || !has(self.capacity) || "
                "self.capacity.all(name, !has(self.capacity[name].requestPolicy))",
                "a requestPolicy needs allowMultipleAllocations",
                ".capacity",
            ),
            _unique("consumesCounters", "counterSet", "entries"),
            *_BINDING,
        ),
    ),
    slices.ResourcePool: Extra(
        fields={"name": POOL, "generation": {"default": 0, "minimum": 0}, "resourceSliceCount": {"minimum": 1}},
        required=("name", "resourceSliceCount"),
    ),
    slices.ResourceSliceSpec: Extra(
        fields={
            "driver": DRIVER,
            "nodeName": SUBDOMAIN,
            "nodeSelector.nodeSelectorTerms": {"maxItems": 1},
            "allNodes": _ONLY_TRUE,
            "perDeviceNodeSelection": _ONLY_TRUE,
            "devices": {"maxItems": slicespec.DEVICES_MAX},
        },
        required=("driver", "pool"),
        rules=(
            Cel(
                "[has(self.nodeName), has(self.nodeSelector), has(self.allNodes), has(self.perDeviceNodeSelection)]"
                ".filter(x, x).size() == 1",
                _ONE_NODE,
            ),
            Cel(
                f"!has(self.devices) || self.devices.all(d, {_CHOICES} == (has(self.perDeviceNodeSelection) ? 1 : 0))",
                "exactly one of nodeName, nodeSelector, allNodes is required when perDeviceNodeSelection is true, and "
                "none of them otherwise",
                ".devices",
            ),
            Cel(
                f"!has(self.devices) || size(self.devices) <= {slicespec.ADVANCED_DEVICES_MAX} || "
                "!self.devices.exists(d, has(d.taints) && size(d.taints) > 0 || "
                "has(d.consumesCounters) && size(d.consumesCounters) > 0)",
                f"must have at most {slicespec.ADVANCED_DEVICES_MAX} devices where one has taints or consumes counters",
                ".devices",
            ),
            Cel("!has(self.devices) || !has(self.sharedCounters)", "only one of sharedCounters or devices is allowed"),
            _unique("devices", "name", "devices"),
            _unique("sharedCounters", "name", "counter sets"),
            Cel("self.driver == oldSelf.driver", "field is immutable", ".driver"),
            Cel("self.pool.name == oldSelf.pool.name", "field is immutable", ".pool.name"),
            Cel(
                "has(self.nodeName) == has(oldSelf.nodeName) && "
                "(!has(self.nodeName) || self.nodeName == oldSelf.nodeName)",
                "field is immutable",
                ".nodeName",
            ),
        ),
    ),
    slices.ResourceSlice: Extra(required=("spec",)),
    meta.NodeSelector: Extra(fields={"nodeSelectorTerms": {"minItems": 1}}, required=("nodeSelectorTerms",)),
    meta.NodeSelectorTerm: Extra(fields={"matchExpressions[]": _EXPRESSION, "matchFields[]": _FIELD}),
    # the status of claims
    types.ResourceClaimStatus: Extra(
        fields={
            "allocation": {
                "x-kubernetes-validations": [Cel("self == oldSelf", "field cannot be modified once set").schema()]
            },
            "reservedFor": {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["uid"]},
            "devices": {
                "maxItems": claimstatus.RESULTS_MAX,
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["driver", "device", "pool", "shareID"],
            },
        },
        rules=(
            Cel(
                "has(self.allocation) || !has(self.reservedFor) || size(self.reservedFor) == 0",
                "may not be specified when `allocated` is not set",
                ".reservedFor",
            ),
        ),
    ),
    types.ResourceClaimConsumerReference: Extra(
        fields={"resource": _FILLED, "name": _FILLED, "uid": _FILLED}, required=("resource", "name", "uid")
    ),
    types.DeviceRequestAllocationResult: Extra(
        fields={"request": REQUEST_REFERENCE, "device": LABEL, **_BINDING_FIELDS},
        required=("request", "device"),
        rules=_BINDING,
    ),
    types.DeviceAllocationConfiguration: Extra(
        fields={"requests[]": REQUEST_REFERENCE}, required=("opaque",), rules=(_distinct("requests"),)
    ),
    types.AllocatedDeviceStatus: Extra(
        fields={
            "driver": DRIVER,
            "pool": POOL,
            "device": LABEL,
            "shareID": {"default": "", **or_empty(UUID)},
            "conditions": _CONDITIONS,
        },
        required=("driver", "pool", "device"),
    ),
    types.NetworkDeviceData: Extra(
        fields={
            "interfaceName": _bytes(claimstatus.INTERFACE_MAX),
            "hardwareAddress": _bytes(claimstatus.HARDWARE_MAX),
            "ips[]": {
                "maxLength": _INTERFACE_ADDRESS_MAX,
                "x-kubernetes-validations": [
                    Cel(
                        "isCIDR(self) && ip.isCanonical(self.split('/')[0])",
                        "must be an address in CIDR form and in canonical form, as 10.9.8.7/24 or 2001:db8::1/64",
                    ).schema()
                ],
            },
        },
        rules=(_distinct("ips"),),
    ),
    meta.Condition: Extra(fields=_CONDITION_FIELDS, required=("type", "status", "reason", "lastTransitionTime")),
    # taint rules
    types.DeviceTaintSelector: Extra(fields={"driver": DRIVER, "pool": POOL, "device": LABEL}),
    types.DeviceTaintRuleSpec: Extra(required=("taint",)),
    types.DeviceTaintRuleStatus: Extra(fields={"conditions": _CONDITIONS}),
    types.DeviceTaintRule: Extra(required=("spec",)),
}
