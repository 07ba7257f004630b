"""The small rules behind `allocation_checker`: pools of a node, selectors, taints, amounts, attributes, groups.

All of it works on the plain JSON of a vector. Amounts are whole numbers of nanos, which quantities cannot go below.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from dra_operator.api.quantity import Quantity
from dra_operator.api.semver import Version, VersionError
from dra_operator.cel.budget import COST_LIMIT, Budget
from dra_operator.cel.device import AttributeValue, DeviceView
from dra_operator.cel.errors import CELCompileError, CELRuntimeError
from dra_operator.cel.selector import compile_selector, program_of
from tests.conformance.vectors import Json

MAX_RESULTS = 32
_UNIT, _MILLI = 10**9, 10**6
_INTEGER = re.compile(r"[+-]?[0-9]+")


class Dev(NamedTuple):
    driver: str
    pool: str
    device: str


GATES = (
    "adminAccess",
    "compatibilityGroups",
    "consumableCapacity",
    "derivedAttributes",
    "deviceBindingAndStatus",
    "deviceTaints",
    "fractionalCapacityRange",
    "listTypeAttributes",
    "optionalNodeOperations",
    "partitionableDevices",
    "prioritizedList",
)


class Gates:
    """The gates of a vector; one that is not named is on."""

    def __init__(self, named: dict[str, bool]) -> None:
        self._named = named

    def __getattr__(self, name: str) -> bool:
        return self._named.get(re.sub(r"_(.)", lambda match: match[1].upper(), name), True)


# --- pools -----------------------------------------------------------------------------------------------------------


@dataclass
class PoolView:
    """A pool as one node sees it; devices only if it is usable."""

    incomplete: bool = False
    invalid: bool = False
    devices: list[tuple[Dev, Json, Json]] = field(default_factory=list)
    elsewhere: list[tuple[Dev, Json, Json]] = field(default_factory=list)
    counters: dict[tuple[str, str], int] = field(default_factory=dict)


def pools_of(slices: list[Json], node: Json, gates: Gates) -> list[PoolView]:
    by_pool: defaultdict[tuple[str, str], list[Json]] = defaultdict(list)
    for slice_ in slices:
        by_pool[slice_["spec"]["driver"], slice_["spec"]["pool"]["name"]].append(slice_)
    views = [view for key in sorted(by_pool) if (view := _pool(by_pool[key], node, gates)) is not None]
    return sorted(views, key=lambda view: any("bindingConditions" in d for _, _, d in view.devices))


def _pool(slices: list[Json], node: Json, gates: Gates) -> PoolView | None:
    def generation(slice_: Json) -> int:
        return int(slice_["spec"]["pool"].get("generation", 0))

    visible = [slice_ for slice_ in slices if gates.compatibility_groups or not _uses_groups(slice_)]
    here = [slice_ for slice_ in visible if _is_for(slice_, node, gates)]
    if not here:
        return None
    newest = max(map(generation, here))
    here = [slice_ for slice_ in here if generation(slice_) == newest]
    wanted = here[0]["spec"]["pool"]["resourceSliceCount"]
    everything = here
    if len(here) != wanted:
        if any(generation(slice_) > newest for slice_ in slices):
            return None
        everything = [slice_ for slice_ in visible if generation(slice_) == newest]
        if len(everything) != wanted:
            return PoolView(incomplete=True)
    names = {slice_["metadata"]["name"] for slice_ in here}
    view = PoolView()
    for slice_ in sorted(everything, key=lambda slice_: str(slice_["metadata"]["name"])):
        spec = slice_["spec"]
        for counter_set in spec.get("sharedCounters") or () if gates.partitionable_devices else ():
            for name, counter in (counter_set.get("counters") or {}).items():
                view.invalid |= (counter_set["name"], name) in view.counters
                view.counters[counter_set["name"], name] = nano(counter["value"])
        if spec.get("sharedCounters") and gates.partitionable_devices:
            continue
        devices = view.devices if slice_["metadata"]["name"] in names else view.elsewhere
        devices += [
            (Dev(spec["driver"], spec["pool"]["name"], device["name"]), slice_, device)
            for device in spec.get("devices") or ()
        ]
    view.invalid |= len({dev for dev, _, _ in view.devices}) != len(view.devices)
    if gates.partitionable_devices:
        view.invalid |= any(
            (consumption["counterSet"], name) not in view.counters
            for _, _, device in (*view.devices, *view.elsewhere)
            for consumption in device.get("consumesCounters") or ()
            for name in consumption.get("counters") or {}
        )
    return PoolView(invalid=True) if view.invalid else view


def _uses_groups(slice_: Json) -> bool:
    devices = slice_["spec"].get("devices") or ()
    return any(c.get("compatibilityGroups") for device in devices for c in device.get("consumesCounters") or ())


def _is_for(slice_: Json, node: Json, gates: Gates) -> bool:
    spec = slice_["spec"]
    if not gates.partitionable_devices and (spec.get("sharedCounters") or "perDeviceNodeSelection" in spec):
        return False
    if spec.get("perDeviceNodeSelection"):
        return any(serves(device, node) for device in spec.get("devices") or ())
    return serves(spec, node)


def serves(where: Json, node: Json) -> bool:
    """Whether a slice or device with these node fields is there for the node."""
    if where.get("nodeName"):
        return bool(where["nodeName"] == node["metadata"]["name"])
    if where.get("allNodes"):
        return True
    terms = (where.get("nodeSelector") or {}).get("nodeSelectorTerms") or ()
    return any(_term(term, node) for term in terms)


def _term(term: Json, node: Json) -> bool:
    labels = node["metadata"].get("labels") or {}
    needs = [(need, labels) for need in term.get("matchExpressions") or ()]
    needs += [(need, {"metadata.name": node["metadata"]["name"]}) for need in term.get("matchFields") or ()]
    return bool(needs) and all(_need(need, of) for need, of in needs)


def _need(need: Json, of: dict[str, str]) -> bool:
    value, values = of.get(need["key"]), need.get("values") or []
    match need["operator"]:
        case "In":
            return value in values
        case "NotIn":
            return value not in values
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None
        case "Gt" | "Lt":
            if value is None or len(values) != 1 or not all(map(_INTEGER.fullmatch, (value, values[0]))):
                return False
            return int(value) > int(values[0]) if need["operator"] == "Gt" else int(value) < int(values[0])
        case _:
            return False


# --- devices ---------------------------------------------------------------------------------------------------------


class Values(NamedTuple):
    """What an attribute holds, with the type of each; nothing if it has no value of a known type."""

    scalar: bool
    set: frozenset[tuple[str, Any]]


def matches_all(selectors: Iterable[Json], driver: str, device: Json) -> bool:
    """Whether all selectors match; later ones are not asked once one does not. One that fails gives no device."""
    wanted = [selector["cel"]["expression"] for selector in selectors]
    if not wanted:
        return True
    try:
        view = _view(driver, device)
        return all(compile_selector(expression).matches(view) for expression in wanted)
    except (CELCompileError, CELRuntimeError, VersionError, _NoValueError):
        return False


def _view(driver: str, device: Json) -> DeviceView:
    return DeviceView(
        driver,
        {name: _value(value) for name, value in (device.get("attributes") or {}).items()},
        {name: Quantity.parse(value["value"]) for name, value in (device.get("capacity") or {}).items()},
        allow_multiple_allocations=bool(device.get("allowMultipleAllocations")),
    )


class _NoValueError(ValueError):
    """An attribute has no value of a known type: no selector can be asked about its device."""


_TYPES: Mapping[type, str] = {bool: "bool", int: "int", str: "string"}
_LISTS = ("ints", "bools", "strings", "versions")
_SCALARS = ("int", "bool", "string", "version")


def _value(attribute: Json) -> AttributeValue:
    for kind in (*_LISTS, *_SCALARS):
        if kind in attribute:
            value = attribute[kind]
            if kind == "version":
                return Version.parse(value)
            if kind == "versions":
                return tuple(Version.parse(text) for text in value)
            return tuple(value) if isinstance(value, list) else value
    raise _NoValueError


def values_of(ask: Json, driver: str, device: Json, name: str) -> Values | None:
    """What the request finds in the device's attribute; None if the device lacks it."""
    for derived in ask.get("derivedAttributes") or ():
        if derived["name"] == name:
            return _derived(derived["expression"], driver, device)
    attributes = device.get("attributes") or {}
    domain, _, bare = name.partition("/")
    attribute = attributes.get(name)
    if attribute is None and domain == driver:
        attribute = attributes.get(bare)
    if attribute is None:
        return None
    for kind in _LISTS:
        if kind in attribute:
            return Values(False, frozenset((kind.removesuffix("s"), each) for each in attribute[kind]))
    return Values(True, frozenset((kind, attribute[kind]) for kind in _SCALARS if kind in attribute))


def _derived(expression: str, driver: str, device: Json) -> Values | None:
    """What the expression makes of the device, whatever its type; None if it fails there."""
    try:
        program = program_of(f"dyn({expression}\n)")
        value = program.evaluate(_view(driver, device).variables, Budget(COST_LIMIT))
    except (CELCompileError, CELRuntimeError, VersionError, _NoValueError):
        return None
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return Values(False, frozenset(map(_typed, value)))
    return Values(True, frozenset({_typed(value)}))


def _typed(value: Any) -> tuple[str, Any]:
    return ("version", str(value)) if isinstance(value, Version) else (_TYPES[type(value)], value)


def tolerates(toleration: Json, taint: Json) -> bool:
    if toleration.get("effect", taint["effect"]) not in ("", taint["effect"]):
        return False
    if toleration.get("key", taint["key"]) not in ("", taint["key"]):
        return False
    return bool(toleration.get("operator") == "Exists" or toleration.get("value", "") == taint.get("value", ""))


def admits_groups(members: dict[str, frozenset[str] | None], consumption: Json) -> bool:
    """Whether a device with these groups may join those on its counter set. None: those there have no groups."""
    name, groups = consumption["counterSet"], frozenset(consumption.get("compatibilityGroups") or ())
    if name not in members:
        return True
    there = members[name]
    return not groups if there is None else bool(groups & there)


def fold_groups(members: dict[str, frozenset[str] | None], consumption: Json) -> None:
    name, groups = consumption["counterSet"], frozenset(consumption.get("compatibilityGroups") or ())
    there = members.get(name)
    if name not in members:
        members[name] = groups or None
    elif there is not None and groups:
        members[name] = there & groups


# --- amounts ---------------------------------------------------------------------------------------------------------


def nano(text: str) -> int:
    return Quantity.parse(text).scaled_value(-9)


def consumed(requested: str | None, capacity: Json, *, fractional: bool) -> Quantity:
    """What a share takes of one capacity, written as the allocator writes it."""
    policy = capacity.get("requestPolicy") or {}
    if requested is None:
        return Quantity.parse(policy.get("default", capacity["value"]))
    amount = nano(requested)
    limits = policy.get("validRange") or {}
    if "min" in limits:
        if amount < nano(limits["min"]):
            return Quantity.parse(limits["min"])
        if "step" not in limits:
            return Quantity.parse(requested)
        unit = _unit(limits, fractional=fractional)
        low, step = _up(nano(limits["min"]), unit), _up(nano(limits["step"]), unit)
        units = low + _up(_up(amount, unit) - low, step) * step
        whole, rest = divmod(units * unit, _UNIT)
        written = (units, -3) if rest else (whole, 0)
        return Quantity.parse(limits["step"]).rewritten(*written)
    return Quantity.parse(
        next((value for value in policy.get("validValues") or () if nano(value) >= amount), requested)
    )


def violates(share: Quantity, capacity: Json, *, fractional: bool) -> bool:
    """Whether the policy forbids a share of that size."""
    policy = capacity.get("requestPolicy") or {}
    if "default" in policy and share.is_identical(Quantity.parse(policy["default"])):
        return False
    amount = share.scaled_value(-9)
    if limits := policy.get("validRange"):
        if "max" in limits and amount > nano(limits["max"]):
            return True
        if "step" not in limits:
            return False
        unit = _unit(limits, fractional=fractional)
        low = nano(limits["min"]) if "min" in limits else 0
        return (_up(amount, unit) - _up(low, unit)) % _up(nano(limits["step"]), unit) != 0
    return bool(policy.get("validValues")) and amount not in map(nano, policy["validValues"])


def _unit(limits: Json, *, fractional: bool) -> int:
    whole_millis = all(nano(limits[name]) % _MILLI == 0 for name in ("min", "max", "step") if name in limits)
    return _MILLI if fractional and whole_millis and nano(limits["step"]) >= _MILLI else _UNIT


def _up(amount: int, unit: int) -> int:
    return -(-amount // unit)
