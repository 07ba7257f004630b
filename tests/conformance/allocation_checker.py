"""Is an allocation right? Answered from the plain JSON of a vector, by rules written down a second time.

`check()` takes what the allocator gave for one node and lists everything that is wrong with it: devices that may not be
given, requests that are not satisfied, and fields that do not follow from the devices chosen. It shares no code with
the allocator; only what is CEL and quantities, which have vectors of their own, is the product's.

It does not say whether a solution exists, nor which of several upstream would take.

Rules: `SEMANTICS.md` beside the vectors. Amounts are whole numbers of nanos here.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from dra_operator.api.quantity import Quantity
from tests.conformance.allocation_rules import (
    MAX_RESULTS,
    Dev,
    Gates,
    PoolView,
    Values,
    admits_groups,
    consumed,
    fold_groups,
    matches_all,
    nano,
    pools_of,
    serves,
    tolerates,
    values_of,
    violates,
)
from tests.conformance.vectors import Json


class Ask(NamedTuple):
    """A request, or the subrequest that was chosen for it."""

    name: str
    parent: str
    spec: Json

    @property
    def full(self) -> str:
        return f"{self.parent}/{self.name}" if self.parent else self.name

    def in_scope(self, names: list[str] | None) -> bool:
        return not names or self.full in names or (self.parent or self.name) in names


@dataclass
class _State:
    """What is taken, as the results are gone through in order."""

    whole: set[Dev] = field(default_factory=set)
    shared: set[Dev] = field(default_factory=set)
    capacity: defaultdict[tuple[Dev, str], int] = field(default_factory=lambda: defaultdict(int))
    marked: defaultdict[Dev, set[int]] = field(default_factory=lambda: defaultdict(set))


def check(case: Json, node: Json, allocations: list[Json]) -> list[str]:
    """Everything that is wrong with the allocations (one per claim) for the node; nothing if they are right."""
    return list(_Check(case, node).problems(allocations))


class _Check:
    def __init__(self, case: Json, node: Json) -> None:
        self.gates = Gates(case.get("features") or {})
        self.node = node
        self.claims = case["claims"]
        self.classes = {class_["metadata"]["name"]: class_["spec"] for class_ in case["deviceClasses"]}
        self.pools = pools_of(case["resourceSlices"], node, self.gates)
        self.found = {dev: (pool, slice_, d) for pool in self.pools for dev, slice_, d in pool.devices}
        self.state = _State()
        for claim in case["allocatedClaims"]:
            allocation = claim.get("status", {}).get("allocation", {})
            for result in allocation.get("devices", {}).get("results") or ():
                self._occupy(result)
        self.counters = {id(pool): self._available(pool) for pool in self.pools}
        self.groups = {id(pool): self._groups(pool) for pool in self.pools}

    def _occupy(self, result: Json) -> None:
        if result.get("adminAccess"):
            return
        dev = Dev(result["driver"], result["pool"], result["device"])
        if not result.get("shareID") or not self.gates.consumable_capacity:
            self.state.whole.add(dev)
            return
        self.state.shared.add(dev)
        for name, amount in (result.get("consumedCapacity") or {}).items():
            self.state.capacity[dev, name] += nano(amount)

    def _in_use(self, pool: PoolView) -> Iterator[Json]:
        for dev, _, device in (*pool.devices, *pool.elsewhere):
            if dev in self.state.whole or dev in self.state.shared:
                yield device

    def _available(self, pool: PoolView) -> dict[tuple[str, str], int]:
        left = dict(pool.counters)
        for device in self._in_use(pool) if self.gates.partitionable_devices else ():
            for name, amount in _counters(device):
                left[name] -= amount
        return left

    def _groups(self, pool: PoolView) -> dict[str, frozenset[str] | None]:
        members: dict[str, frozenset[str] | None] = {}
        for device in self._in_use(pool):
            for consumption in device.get("consumesCounters") or ():
                fold_groups(members, consumption)
        return members

    # --- claims ------------------------------------------------------------------------------------------------------

    def problems(self, allocations: list[Json]) -> Iterator[str]:
        if len(allocations) != len(self.claims):
            yield f"{len(allocations)} allocations for {len(self.claims)} claims"
            return
        for index, (claim, allocation) in enumerate(zip(self.claims, allocations, strict=True)):
            for problem in self._claim(index, claim["spec"].get("devices") or {}, allocation):
                yield f"claim {index}: {problem}"

    def _claim(self, index: int, spec: Json, allocation: Json) -> Iterator[str]:
        results = allocation.get("devices", {}).get("results") or []
        if len(results) > MAX_RESULTS:
            yield f"{len(results)} results"
        rest = list(results)
        asks: list[Ask] = []
        chosen: list[tuple[Ask, Dev]] = []
        for request in spec.get("requests") or ():
            ask = _chosen(request, results)
            asks.append(ask)
            mine = []
            while rest and rest[0]["request"] == ask.full:
                mine.append(rest.pop(0))
            yield from self._satisfied(ask, mine)
            for result in mine:
                dev = Dev(result["driver"], result["pool"], result["device"])
                chosen.append((ask, dev))
                yield from (f"{ask.full}: {dev}: {problem}" for problem in self._result(index, ask, dev, result))
        if rest:
            yield f"results that no request explains: {[result['request'] for result in rest]}"
        if any(dev not in self.found for _, dev in chosen):
            return
        yield from self._constraints(spec, chosen)
        config = self._config(spec, asks)
        if (allocation["devices"].get("config") or []) != config:
            yield f"config is {allocation['devices'].get('config')}, not {config}"
        selector = self._node_selector([dev for _, dev in chosen])
        if allocation.get("nodeSelector") != selector:
            yield f"nodeSelector is {allocation.get('nodeSelector')}, not {selector}"

    def _satisfied(self, ask: Ask, results: list[Json]) -> Iterator[str]:
        devices = [Dev(result["driver"], result["pool"], result["device"]) for result in results]
        if len(set(devices)) != len(devices):
            yield f"{ask.full}: a device twice in one request"
        if ask.spec["allocationMode"] == "ExactCount":
            if len(devices) != ask.spec.get("count", 0):
                yield f"{ask.full}: {len(devices)} devices for a count of {ask.spec.get('count', 0)}"
            return
        if any(pool.incomplete or pool.invalid for pool in self.pools):
            yield f"{ask.full}: All although a pool is incomplete or invalid"
        wanted = [dev for dev in self.found if not list(self._selectable(ask, dev)) and self._could_serve(ask, dev)]
        if not wanted or devices != wanted:
            yield f"{ask.full}: All means {wanted}, not {devices}"

    # --- devices -----------------------------------------------------------------------------------------------------

    def _selectable(self, ask: Ask, dev: Dev) -> Iterator[str]:
        _, slice_, device = self.found[dev]
        if device.get("bindingConditions") and not self.gates.device_binding_and_status:
            yield "has binding conditions, gate off"
        selectors = [*(self.classes[ask.spec["deviceClassName"]].get("selectors") or ())]
        selectors += ask.spec.get("selectors") or ()
        if not matches_all(selectors, dev.driver, device):
            yield "does not match the selectors"
        if slice_["spec"].get("perDeviceNodeSelection") and not serves(device, self.node):
            yield "is not for this node"

    def _could_serve(self, ask: Ask, dev: Dev) -> bool:
        """Whether the device, all free, has the capacity."""
        return not self.gates.consumable_capacity or not list(self._capacity(ask, dev, used=False))

    def _result(self, claim: int, ask: Ask, dev: Dev, result: Json) -> Iterator[str]:
        if dev not in self.found:
            yield "is not a device of a usable pool for this node"
            return
        pool, slice_, device = self.found[dev]
        multi = bool(device.get("allowMultipleAllocations")) and self.gates.consumable_capacity
        admin = bool(ask.spec.get("adminAccess"))
        yield from self._selectable(ask, dev)
        if claim in self.state.marked[dev] if admin else dev in self.state.whole or self.state.marked[dev]:
            yield "is in use"
        if skipped := slice_["spec"].get("skipNodeOperations"):
            declared = self.node.get("status", {}).get("declaredFeatures") or ()
            if not self.gates.optional_node_operations or "DRAOptionalNodeOperations" not in declared:
                yield "needs optional node operations"
        counted = multi and dev in self.state.shared
        if device.get("consumesCounters") and not counted:
            yield from self._count(pool, device)
        if self.gates.device_taints:
            for taint in device.get("taints") or ():
                tolerations = ask.spec.get("tolerations") or ()
                if taint["effect"] in ("NoSchedule", "NoExecute") and not any(
                    tolerates(toleration, taint) for toleration in tolerations
                ):
                    yield f"is tainted: {taint}"
        if self.gates.consumable_capacity:
            yield from self._capacity(ask, dev, used=True)
        shares = self._consumption(ask, device) if multi else {}
        amounts = {name: share.scaled_value(-9) for name, share in shares.items()}
        if multi:
            self.state.shared.add(dev)
            for name, amount in amounts.items():
                self.state.capacity[dev, name] += amount
        else:
            self.state.marked[dev].add(claim)
        yield from self._fields(ask, result, device, skipped, amounts, multi=multi)

    def _fields(
        self, ask: Ask, result: Json, device: Json, skipped: Json, amounts: dict[str, int], *, multi: bool
    ) -> Iterator[str]:
        got = {name: nano(amount) for name, amount in (result.get("consumedCapacity") or {}).items()}
        if got != amounts:
            yield f"consumedCapacity is {got}, not {amounts}"
        if bool(result.get("shareID")) != multi:
            yield f"shareID is {result.get('shareID')}"
        binding = self.gates.device_binding_and_status
        expected = {
            "adminAccess": True if ask.spec.get("adminAccess") else None,
            "tolerations": ask.spec.get("tolerations") or None,
            "bindingConditions": device.get("bindingConditions") if binding else None,
            "bindingFailureConditions": device.get("bindingFailureConditions") if binding else None,
            "skipNodeOperations": skipped or None,
        }
        for name, value in expected.items():
            if result.get(name) != value:
                yield f"{name} is {result.get(name)}, not {value}"

    def _count(self, pool: PoolView, device: Json) -> Iterator[str]:
        if not self.gates.partitionable_devices:
            yield "consumes counters, gate off"
            return
        left, members = self.counters[id(pool)], self.groups[id(pool)]
        for name, amount in _counters(device):
            left[name] -= amount
        if any(amount < 0 for amount in left.values()):
            yield f"overdraws counters: {left}"
        if self.gates.compatibility_groups:
            for consumption in device["consumesCounters"]:
                if not admits_groups(members, consumption):
                    yield f"is not compatible on counter set {consumption['counterSet']}"
                fold_groups(members, consumption)

    def _consumption(self, ask: Ask, device: Json) -> dict[str, Quantity]:
        requests = (ask.spec.get("capacity") or {}).get("requests") or {}
        fractional = self.gates.fractional_capacity_range
        return {
            name: consumed(requests.get(name), capacity, fractional=fractional)
            for name, capacity in (device.get("capacity") or {}).items()
        }

    def _capacity(self, ask: Ask, dev: Dev, *, used: bool) -> Iterator[str]:
        device = self.found[dev][2]
        capacities = device.get("capacity") or {}
        requests = (ask.spec.get("capacity") or {}).get("requests") or {}
        if lacking := requests.keys() - capacities.keys():
            yield f"has no capacity {lacking}"
        for name, share in self._consumption(ask, device).items():
            if violates(share, capacities[name], fractional=self.gates.fractional_capacity_range):
                yield f"capacity {name}: {share} is against the policy"
            if share.scaled_value(-9) + (self.state.capacity[dev, name] if used else 0) > nano(
                capacities[name]["value"]
            ):
                yield f"capacity {name} is not enough"

    # --- what follows from the devices --------------------------------------------------------------------------------

    def _constraints(self, spec: Json, chosen: list[tuple[Ask, Dev]]) -> Iterator[str]:
        for constraint in spec.get("constraints") or ():
            name = constraint.get("matchAttribute") or constraint["distinctAttribute"]
            found = [
                values_of(ask.spec, dev.driver, self.found[dev][2], name)
                for ask, dev in chosen
                if ask.in_scope(constraint.get("requests"))
            ]
            values = [one for one in found if one is not None]
            if len(values) != len(found):
                yield f"a device lacks {name}"
            elif not self.gates.list_type_attributes:
                yield from _compare_scalars(constraint, name, values)
            elif not all(one.set for one in values):
                yield f"a device has no value in {name}"
            elif constraint.get("matchAttribute"):
                if values and not frozenset.intersection(*(one.set for one in values)):
                    yield f"{name} does not match: {values}"
            elif sum(len(one.set) for one in values) != len(frozenset().union(*(one.set for one in values))):
                yield f"{name} is not distinct: {values}"

    def _config(self, spec: Json, asks: list[Ask]) -> list[Json]:
        config: list[Json] = []
        for class_name in dict.fromkeys(ask.spec["deviceClassName"] for ask in asks):
            users = [ask.full for ask in asks if ask.spec["deviceClassName"] == class_name]
            config += [
                {"source": "FromClass", "requests": users, **entry}
                for entry in self.classes[class_name].get("config") or ()
            ]
        for entry in spec.get("config") or ():
            names = entry.get("requests") or []
            if not names or any({ask.parent or ask.name, ask.full} & {*names} for ask in asks):
                config.append({"source": "FromClaim", **entry})
        for entry in config:
            if all(ask.in_scope(entry.get("requests")) for ask in asks):
                entry.pop("requests", None)
        return config

    def _node_selector(self, devices: list[Dev]) -> Json:
        term: dict[str, list[Json]] = {"matchFields": [], "matchExpressions": []}
        seen = set()
        for dev in devices:
            _, slice_, device = self.found[dev]
            where = device if slice_["spec"].get("perDeviceNodeSelection") else slice_["spec"]
            if where.get("nodeName") or device.get("bindsToNode"):
                here = {"key": "metadata.name", "operator": "In", "values": [self.node["metadata"]["name"]]}
                return {"nodeSelectorTerms": [{"matchFields": [here]}]}
            for source in (where.get("nodeSelector") or {}).get("nodeSelectorTerms") or ():
                for kind in term:
                    for need in source.get(kind) or ():
                        key = kind, need["key"], need["operator"], frozenset(need.get("values") or ())
                        if key not in seen:
                            seen.add(key)
                            term[kind].append(need)
        filled = {kind: needs for kind, needs in term.items() if needs}
        return {"nodeSelectorTerms": [filled]} if filled else None


def _compare_scalars(constraint: Json, name: str, values: list[Values]) -> Iterator[str]:
    """Without list type attributes: the first device may have any value, a further one only a scalar."""
    if any(not one.scalar or not one.set for one in values[1:]):
        yield f"{name} is a list, gate off"
        return
    match = bool(constraint.get("matchAttribute"))
    for one, other in itertools.combinations(values, 2):
        if (one == other) != match:
            yield f"{name} {'does not match' if match else 'is not distinct'}: {values}"


def _chosen(request: Json, results: list[Json]) -> Ask:
    if request.get("exactly"):
        return Ask(request["name"], "", request["exactly"])
    used = {result["request"] for result in results}
    for sub in request["firstAvailable"]:
        if f"{request['name']}/{sub['name']}" in used:
            return Ask(sub["name"], request["name"], sub)
    return Ask(request["firstAvailable"][0]["name"], request["name"], request["firstAvailable"][0])


def _counters(device: Json) -> Iterator[tuple[tuple[str, str], int]]:
    for consumption in device.get("consumesCounters") or ():
        for name, counter in (consumption.get("counters") or {}).items():
            yield (consumption["counterSet"], name), nano(counter["value"])
