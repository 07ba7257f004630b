"""Which features a case uses, read off the case itself: what a run reports, and fails for if one is hardly used."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

from tests.fuzz.vocabulary import FEATURES

Json = Any


def used(case: Json) -> set[str]:
    """The names of the features that the case, with its answers, uses."""
    view = _View(case)
    names = {name for name, uses in _DETECTORS.items() if uses(view)}
    names |= {f"{name} off" for name, on in view.gates.items() if not on}
    errors = [answer["error"] for answer in case["want"]["nodes"].values() if "error" in answer]
    return names | {name for name, text in _ERRORS.items() if any(text in error for error in errors)}


class _View:
    """The parts of a case that detectors ask for."""

    def __init__(self, case: Json) -> None:
        self.gates = case.get("features") or {}
        self.specs = [slice_["spec"] for slice_ in case["resourceSlices"]]
        self.devices = [device for spec in self.specs for device in spec.get("devices") or ()]
        self.claims = [claim["spec"]["devices"] for claim in case["claims"]]
        self.requests = [request for claim in self.claims for request in claim.get("requests") or ()]
        self.asks = [ask for request in self.requests for ask in _asks(request)]
        self.constraints = [constraint for claim in self.claims for constraint in claim.get("constraints") or ()]
        self.classes = [class_["spec"] for class_ in case["deviceClasses"]]
        self.class_names = {class_["metadata"]["name"] for class_ in case["deviceClasses"]}
        self.nodes = case["nodes"]
        self.results = [
            result
            for claim in case["allocatedClaims"]
            for result in claim["status"]["allocation"]["devices"].get("results") or ()
        ]
        self.policies = [
            capacity["requestPolicy"]
            for device in self.devices
            for capacity in (device.get("capacity") or {}).values()
            if "requestPolicy" in capacity
        ]
        self.consumptions = [one for device in self.devices for one in device.get("consumesCounters") or ()]

    def pools(self) -> Iterator[list[Json]]:
        keys = {(spec["driver"], spec["pool"]["name"]) for spec in self.specs}
        for key in keys:
            yield [spec for spec in self.specs if (spec["driver"], spec["pool"]["name"]) == key]

    def lists(self, name: str) -> bool:
        """Whether the constraint's attribute is a list on some device."""
        bare = name.partition("/")[2]
        found = (attributes.get(name, attributes.get(bare)) for attributes in map(_attributes, self.devices))
        return any(isinstance(value, list) for attribute in found if attribute for value in attribute.values())


def _asks(request: Json) -> list[Json]:
    return list(request.get("firstAvailable") or ()) or [request["exactly"]]


def _attributes(device: Json) -> Json:
    return device.get("attributes") or {}


def _of_all(view: _View) -> bool:
    return any(ask.get("allocationMode") == "All" for ask in view.asks)


def _stale(pool: list[Json]) -> bool:
    return len({spec["pool"].get("generation", 0) for spec in pool}) > 1


def _incomplete(pool: list[Json]) -> bool:
    newest = max(spec["pool"].get("generation", 0) for spec in pool)
    current = [spec for spec in pool if spec["pool"].get("generation", 0) == newest]
    return len(current) != int(current[0]["pool"]["resourceSliceCount"])


def _invalid(pool: list[Json]) -> bool:
    names = [device["name"] for spec in pool for device in spec.get("devices") or ()]
    sets = [counters["name"] for spec in pool for counters in spec.get("sharedCounters") or ()]
    provided = {
        (counters["name"], name)
        for spec in pool
        for counters in spec.get("sharedCounters") or ()
        for name in counters.get("counters") or {}
    }
    wanted = {
        (consumption["counterSet"], name)
        for spec in pool
        for device in spec.get("devices") or ()
        for consumption in device.get("consumesCounters") or ()
        for name in consumption.get("counters") or {}
    }
    return not _stale(pool) and (len(set(names)) < len(names) or len(set(sets)) < len(sets) or not wanted <= provided)


def _fraction(text: str) -> bool:
    return text[-1] in "mun"


def _fractional(view: _View) -> bool:
    ranges = (policy["validRange"] for policy in view.policies if "validRange" in policy)
    return any(_fraction(text) for limits in ranges for text in limits.values())


def _over_limit(view: _View) -> bool:
    if len(view.devices) > 32 and _of_all(view):
        return True
    for claim in view.claims:
        counts = [max(ask.get("count", 0) for ask in _asks(request)) for request in claim.get("requests") or ()]
        if sum(counts) > 32:
            return True
    return False


_DETECTORS: Final[dict[str, Callable[[_View], bool]]] = {
    "firstAvailable": lambda v: any(request.get("firstAvailable") for request in v.requests),
    "count > 1": lambda v: any(ask.get("count", 0) > 1 for ask in v.asks),
    "All": _of_all,
    "several requests": lambda v: any(len(claim.get("requests") or ()) > 1 for claim in v.claims),
    "several claims": lambda v: len(v.claims) > 1,
    "class selectors": lambda v: any(spec.get("selectors") for spec in v.classes),
    "request selectors": lambda v: any(ask.get("selectors") for ask in v.asks),
    "matchAttribute": lambda v: any("matchAttribute" in constraint for constraint in v.constraints),
    "matchAttribute, lists": lambda v: any(
        v.lists(c["matchAttribute"]) for c in v.constraints if "matchAttribute" in c
    ),
    "distinctAttribute": lambda v: any("distinctAttribute" in constraint for constraint in v.constraints),
    "distinctAttribute, lists": lambda v: any(
        v.lists(c["distinctAttribute"]) for c in v.constraints if "distinctAttribute" in c
    ),
    "constraint on some requests": lambda v: any(constraint.get("requests") for constraint in v.constraints),
    "adminAccess": lambda v: any(ask.get("adminAccess") for ask in v.asks),
    "taints": lambda v: any(device.get("taints") for device in v.devices),
    "tolerations": lambda v: any(ask.get("tolerations") for ask in v.asks),
    "counters": lambda v: bool(v.consumptions),
    "counters in a slice of their own": lambda v: any(
        spec.get("sharedCounters") and not spec.get("devices") for spec in v.specs
    ),
    "counters beside devices": lambda v: any(spec.get("sharedCounters") and spec.get("devices") for spec in v.specs),
    "compatibility groups": lambda v: any(one.get("compatibilityGroups") for one in v.consumptions),
    "allowMultipleAllocations": lambda v: any(device.get("allowMultipleAllocations") for device in v.devices),
    "counters and shares": lambda v: any(
        device.get("allowMultipleAllocations") and device.get("consumesCounters") for device in v.devices
    ),
    "capacity requests": lambda v: any((ask.get("capacity") or {}).get("requests") for ask in v.asks),
    "policy default": lambda v: any("default" in policy for policy in v.policies),
    "policy validValues": lambda v: any("validValues" in policy for policy in v.policies),
    "policy validRange": lambda v: any("validRange" in policy for policy in v.policies),
    "policy step": lambda v: any("step" in policy.get("validRange", ()) for policy in v.policies),
    "policy fractional range": _fractional,
    "allNodes": lambda v: any(spec.get("allNodes") for spec in v.specs),
    "nodeSelector": lambda v: any(spec.get("nodeSelector") for spec in v.specs),
    "perDeviceNodeSelection": lambda v: any(spec.get("perDeviceNodeSelection") for spec in v.specs),
    "bindsToNode": lambda v: any(device.get("bindsToNode") for device in v.devices),
    "binding conditions": lambda v: any(device.get("bindingConditions") for device in v.devices),
    "skipNodeOperations": lambda v: any(spec.get("skipNodeOperations") for spec in v.specs),
    "derived attributes": lambda v: any(ask.get("derivedAttributes") for ask in v.asks),
    "class config": lambda v: any(spec.get("config") for spec in v.classes),
    "claim config": lambda v: any(claim.get("config") for claim in v.claims),
    "devices in use": lambda v: any("shareID" not in result for result in v.results),
    "shares in use": lambda v: any("shareID" in result for result in v.results),
    "admin access in use": lambda v: any(result.get("adminAccess") for result in v.results),
    "incomplete pool": lambda v: any(_incomplete(pool) for pool in v.pools()),
    "invalid pool": lambda v: any(_invalid(pool) for pool in v.pools()),
    "several generations": lambda v: any(_stale(pool) for pool in v.pools()),
    "missing class": lambda v: any(ask["deviceClassName"] not in v.class_names for ask in v.asks),
    "more than 32 devices": _over_limit,
}

_ERRORS: Final = {
    "a selector fails": "CEL runtime error",
    "a selector does not compile": "CEL compile error",
    "a constraint forbids All": "because a claim constraint would not be satisfied",
    "an invalid pool refuses": "invalid resource pools were encountered",
}

ALL: Final = (*_DETECTORS, *_ERRORS, *(f"{name} off" for name in FEATURES))
