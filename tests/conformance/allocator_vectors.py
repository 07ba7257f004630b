"""Runs golden allocator vectors: what upstream's Go code gave each node, against what ours gives.

`run(path)` yields a `Verdict` per node of each case. Agreement is the rule of the README beside the vectors: same
outcome; if allocated, the same chosen subrequests and an allocation that `allocation_checker` finds nothing wrong with;
and equal allocations (but for share IDs) where the same devices were chosen.

Usable for any file of that format: `python -m tests.conformance.allocator_vectors FILE...` prints what disagrees.
"""

from __future__ import annotations

import gzip
import json
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dra_operator.allocation.allocator import Allocated, AllocationError, Allocator
from dra_operator.allocation.features import Features
from dra_operator.api.codec import convert, to_plain
from dra_operator.api.core import Node
from dra_operator.api.meta import ObjectMeta, Uid
from dra_operator.api.quantity import Quantity
from dra_operator.api.resource import AllocationResult, DeviceClass, ResourceClaim, ResourceSlice
from dra_operator.inventory.inventory import Inventory
from dra_operator.inventory.ledger import Ledger
from tests.conformance.allocation_checker import check
from tests.conformance.allocation_rules import Gates

Json = Any

ALLOCATED, UNSCHEDULABLE, ERROR = "allocated", "unschedulable", "error"


@dataclass(frozen=True)
class Verdict:
    """One node of one case."""

    id: str
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


def run(path: Path) -> Iterator[Verdict]:
    """The verdicts on all nodes of all cases of a file."""
    for case in cases(path):
        yield from run_case(case)


def cases(path: Path) -> Iterator[Json]:
    with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as lines:
        for line in lines:
            yield json.loads(line)


def run_case(case: Json) -> Iterator[Verdict]:
    allocator = allocator_of(case)
    claims = [convert(claim, ResourceClaim) for claim in case["claims"]]
    for node in case["nodes"]:
        wanted = case["want"]["nodes"][node["metadata"]["name"]]
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
            got, message = ERROR if isinstance(outcome, AllocationError) else UNSCHEDULABLE, outcome.message
        yield Verdict(
            case["id"],
            node["metadata"]["name"],
            wanted["outcome"],
            got,
            f"{message} (upstream: {wanted.get('error', '')})",
            tuple(problems),
            bool(wanted.get("orderSensitive")),
            same_devices,
        )


def allocator_of(case: Json) -> Allocator:
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
    return Allocator(inventory, ledger, classes, features)


def _with_own_names(slices: list[Json]) -> Iterator[Json]:
    """Upstream's table uses some names twice, for slices of different pools; a cluster cannot."""
    seen: Counter[str] = Counter()
    for slice_ in slices:
        name = slice_["metadata"]["name"]
        yield slice_ if not seen[name] else {**slice_, "metadata": {"name": f"{name}\0{seen[name]}"}}
        seen[name] += 1


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


def main(paths: list[str]) -> int:
    failed = 0
    for path in paths:
        counts: Counter[str] = Counter()
        for verdict in run(Path(path)):
            counts[f"{verdict.wanted}: {'agrees' if verdict.agrees else f'ours {verdict.got}'}"] += 1
            counts["same devices" if verdict.same_devices else "other devices"] += verdict.wanted == ALLOCATED
            if not verdict.agrees:
                failed += 1
                print(f"{verdict.id} {verdict.node}: {verdict.wanted}, ours {verdict.got}: {verdict.message}")
                print("".join(f"    {problem}\n" for problem in verdict.problems), end="")
        print(f"{path}: {dict(sorted(counts.items()))}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
