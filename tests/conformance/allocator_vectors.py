"""Runs golden allocator vectors: what upstream's Go code gave each node, against what ours gives.

`run(path)` yields a `CaseVerdict` per case, with a `Verdict` per node: a case agrees if all its nodes do. Agreement is
the rule of the README beside the vectors: same outcome; if allocated, the same chosen subrequests and an allocation
that `allocation_checker` finds nothing wrong with; and equal allocations (but for share IDs) where the same devices
were chosen. Nodes that depend on upstream's order of search are no exception: `Allocator` searches in that order.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dra_operator.allocation.allocator import Allocated, AllocationError, Allocator
from dra_operator.allocation.features import Features
from dra_operator.allocation.strategy import Strategy
from dra_operator.api.codec import convert, to_plain
from dra_operator.api.core import Node
from dra_operator.api.meta import ObjectMeta, Uid
from dra_operator.api.quantity import Quantity
from dra_operator.api.resource import AllocationResult, DeviceClass, ResourceClaim, ResourceSlice
from dra_operator.inventory.inventory import Inventory
from dra_operator.inventory.ledger import Ledger
from tests.conformance.allocation_checker import check
from tests.conformance.allocation_rules import GATES, Gates
from tests.conformance.vectors import Broken, Json, NoVectorError, field, judge, read

ALLOCATED, UNSCHEDULABLE, ERROR = "allocated", "unschedulable", "error"
OUTCOMES = (ALLOCATED, UNSCHEDULABLE, ERROR)
OBJECTS = ("deviceClasses", "resourceSlices", "allocatedClaims", "claims", "nodes")


@dataclass(frozen=True)
class Verdict:
    """One node of one case."""

    node: str
    wanted: str
    got: str
    message: str
    problems: tuple[str, ...]
    order_sensitive: bool
    same_devices: bool

    @property
    def agrees(self) -> bool:
        return self.wanted == self.got and not self.problems

    @property
    def faults(self) -> Iterator[str]:
        if self.wanted != self.got:
            yield f"{self.node}: wanted {self.wanted}, got {self.got}{self.message}"
        for problem in self.problems:
            yield f"{self.node}: wanted {self.wanted}, got one with a fault: {problem}"


@dataclass(frozen=True)
class CaseVerdict:
    """One case: the same state and claims, asked for each node."""

    id: str
    nodes: tuple[Verdict, ...]

    @property
    def faults(self) -> tuple[str, ...]:
        return tuple(fault for node in self.nodes for fault in node.faults)


def run(path: Path) -> Iterator[CaseVerdict | Broken]:
    """The verdicts on all cases of a file."""
    for entry in read(path):
        if isinstance(entry, Broken):
            yield entry
        else:
            id_ = entry.value.get("id") if isinstance(entry.value, dict) else None
            yield judge(_judge, entry.value, str(id_ or entry.place))


def cases(path: Path) -> Iterator[Json]:
    """The cases of a file that is known to be whole, as `run_case` takes them."""
    for entry in read(path):
        assert not isinstance(entry, Broken), entry
        yield well_formed(entry.value)


def well_formed(vector: Json) -> Json:
    """The case with nothing null and a name of its own for each slice. Raises NoVectorError."""
    case = _without_nulls(vector)
    field(case, "id", str)
    case |= {name: field({name: [], **case}, name, list) for name in OBJECTS}
    for gate in field({"features": {}, **case}, "features", dict):
        if gate not in GATES:
            raise NoVectorError(f'there is no feature "{gate}", only {", ".join(GATES)}')
    wanted = field(field(case, "want", dict), "nodes", dict)
    names = [field(field(node, "metadata", dict), "name", str) for node in case["nodes"]]
    if not names or sorted(names) != sorted(wanted):
        raise NoVectorError(f"it has the nodes {sorted(names)}, and answers for {sorted(wanted)}")
    for name in names:
        if field(wanted[name], "outcome", str) not in OUTCOMES:
            raise NoVectorError(f'there is no outcome "{wanted[name]["outcome"]}", only {", ".join(OUTCOMES)}')
    case["resourceSlices"] = list(_with_own_names(case["resourceSlices"]))
    return case


def run_case(case: Json, allocator: Allocator | None = None) -> CaseVerdict:
    """The verdict on a case that is `well_formed`. `allocator`: one that knows the case already, if not a new one."""
    allocator = allocator or allocator_of(case)
    claims = [convert(claim, ResourceClaim) for claim in case["claims"]]
    return CaseVerdict(case["id"], tuple(_run_node(case, node, allocator, claims) for node in case["nodes"]))


def _judge(vector: Json) -> CaseVerdict:
    return run_case(well_formed(vector))


def _run_node(case: Json, node: Json, allocator: Allocator, claims: list[ResourceClaim]) -> Verdict:
    name = node["metadata"]["name"]
    wanted = case["want"]["nodes"][name]
    outcome = allocator.allocate(claims, convert(node, Node))
    problems: list[str] = []
    same_devices = False
    if isinstance(outcome, Allocated):
        got, message = ALLOCATED, ""
        plain = [to_plain(allocation) for allocation in outcome.allocations]
        problems = check(case, node, plain)
        if wanted["outcome"] == ALLOCATED:
            theirs = [to_plain(convert(one, AllocationResult)) for one in wanted.get("allocations") or ()]
            same_devices = _devices(plain) == _devices(theirs)
            problems += _compare(plain, theirs, same_devices=same_devices)
    else:
        got, message = ERROR if isinstance(outcome, AllocationError) else UNSCHEDULABLE, f" ({outcome.message})"
    if wanted.get("error"):
        message += f"; upstream said: {wanted['error']}"
    return Verdict(
        name,
        wanted["outcome"],
        got,
        message,
        tuple(problems),
        bool(wanted.get("orderSensitive")),
        same_devices,
    )


def allocator_of(case: Json, strategy: Strategy = Strategy.FIRST) -> Allocator:
    """An allocator that has seen the case's slices and claims. They are told apart by number: vectors have no UIDs."""
    inventory, ledger = Inventory(), Ledger()
    for slice_ in _with_own_names(case["resourceSlices"]):
        inventory.apply_slice(convert(slice_, ResourceSlice))
    for number, plain in enumerate(case["allocatedClaims"]):
        claim = convert(plain, ResourceClaim)
        metadata = ObjectMeta(name=claim.metadata.name, namespace=claim.metadata.namespace, uid=Uid(str(number)))
        ledger.observe(ResourceClaim(metadata=metadata, spec=claim.spec, status=claim.status), live=False)
    classes = {class_["metadata"]["name"]: convert(class_, DeviceClass) for class_ in case["deviceClasses"]}
    gates = Gates(case.get("features") or {})
    features = Features(**{name: getattr(gates, name) for name in Features.__slots__})
    return Allocator(inventory, ledger, classes, features, strategy=strategy)


def _with_own_names(slices: list[Json]) -> Iterator[Json]:
    """Upstream's table uses some names twice, for slices of different pools; a cluster cannot."""
    seen: Counter[str] = Counter()
    for slice_ in slices:
        name = slice_["metadata"]["name"]
        yield slice_ if not seen[name] else {**slice_, "metadata": {"name": f"{name}\0{seen[name]}"}}
        seen[name] += 1


def _without_nulls(value: Json) -> Json:
    """To Kubernetes' JSON a null is a field that is not there."""
    if isinstance(value, dict):
        return {name: _without_nulls(one) for name, one in value.items() if one is not None}
    return [_without_nulls(one) for one in value] if isinstance(value, list) else value


def _compare(ours: list[Json], theirs: list[Json], *, same_devices: bool) -> Iterator[str]:
    if _subrequests(ours) != _subrequests(theirs):
        yield f"chose {_subrequests(ours)}, upstream {_subrequests(theirs)}"
    elif same_devices and _comparable(ours) != _comparable(theirs):
        yield f"same devices, but {_comparable(ours)} is not upstream's {_comparable(theirs)}"


def _results(allocations: list[Json]) -> list[list[Json]]:
    return [allocation.get("devices", {}).get("results") or [] for allocation in allocations]


def _devices(allocations: list[Json]) -> list[list[tuple[str, ...]]]:
    names = ("request", "driver", "pool", "device")
    return [[tuple(result[name] for name in names) for result in results] for results in _results(allocations)]


def _subrequests(allocations: list[Json]) -> list[set[str]]:
    return [{result["request"] for result in results if "/" in result["request"]} for results in _results(allocations)]


def _comparable(allocations: list[Json]) -> Json:
    """Share IDs left out, amounts by value."""
    copy = json.loads(json.dumps(allocations))
    for results in _results(copy):
        for result in results:
            result.pop("shareID", None)
            for name, amount in result.get("consumedCapacity", {}).items():
                result["consumedCapacity"][name] = Quantity.parse(amount).scaled_value(-9)
    return copy
