"""The same state of a cluster by another way: published, taken, changed and asked about before it became what it is.

What an allocator keeps between decisions must not show. `aged()` gives one that has been through a random past of the
case: slices, classes and nodes that looked different, claims that were allocated elsewhere or not at all, and decisions
in between. It has to answer like one that has seen nothing but the case.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from dra_operator.allocation.allocator import Allocator
from dra_operator.allocation.place import Decision, place
from dra_operator.allocation.strategy import Strategy
from dra_operator.api.codec import convert
from dra_operator.api.core import Node, Pod
from dra_operator.api.meta import ObjectMeta, Uid
from dra_operator.api.resource import DeviceClass, ResourceClaim, ResourceSlice
from tests.conformance.allocator_vectors import allocator_of
from tests.fuzz.dice import Dice

Json = Any


def aged(case: Json, strategy: Strategy, seed: int) -> Allocator:
    """An allocator for the case, with a past."""
    dice = Dice(seed)
    past = copy.deepcopy(case)
    for slice_ in past["resourceSlices"]:
        if dice.chance(0.5):
            _differ(dice, slice_["spec"])
    past["resourceSlices"] = [slice_ for slice_ in past["resourceSlices"] if dice.chance(0.8)]
    for claim in past["allocatedClaims"]:
        if dice.chance(0.4):
            results = claim["status"]["allocation"]["devices"]["results"]
            results[0] |= {"device": f"dev-{dice.randrange(6)}"}
    for class_ in past["deviceClasses"]:
        if dice.chance(0.3):
            class_["spec"].pop("selectors", None)
    for node in past["nodes"]:
        if dice.chance(0.5):
            node["metadata"]["labels"] = {"zone": dice.pick("ab")}
            node.pop("status", None)
    allocator = allocator_of(past, strategy)
    _live(dice, allocator, past, case)
    return allocator


def decide(case: Json, allocator: Allocator) -> Decision:
    """Where a pod with the claims goes."""
    nodes = [convert(node, Node) for node in case["nodes"]]
    return _place(allocator, case, {node.metadata.name: node for node in nodes})


def _differ(dice: Dice, spec: Json) -> None:
    devices = spec.get("devices") or []
    if devices:
        device = dice.pick(devices)
        for field in ("taints", "consumesCounters", "attributes", "bindingConditions", "allowMultipleAllocations"):
            if dice.chance(0.5):
                device.pop(field, None)
        if dice.chance(0.3):
            devices.remove(device)
    if dice.chance(0.2):
        spec["pool"]["generation"] = spec["pool"].get("generation", 0) + 1


def _live(dice: Dice, allocator: Allocator, past: Json, case: Json) -> None:
    """Let everything happen that leads from the past to the case, in any order, and decide in between."""
    claims = [convert(claim, ResourceClaim) for claim in case["claims"]]
    inventory, ledger, classes = allocator.inventory, allocator.ledger, allocator.classes
    assert isinstance(classes, dict)
    nodes = {node["metadata"]["name"]: convert(node, Node) for node in past["nodes"]}
    events: list[Callable[[], object]] = [
        partial(inventory.apply_slice, convert(plain, ResourceSlice)) for plain in case["resourceSlices"]
    ]
    events += [partial(nodes.__setitem__, node["metadata"]["name"], convert(node, Node)) for node in case["nodes"]]
    for plain in case["deviceClasses"]:
        events.append(partial(classes.__setitem__, plain["metadata"]["name"], convert(plain, DeviceClass)))
    for number, plain in enumerate(case["allocatedClaims"]):
        events.append(partial(ledger.observe, _numbered(plain, number), live=True))
    for number in range(dice.randint(0, 2)):
        passing = Uid(f"passing-{number}")
        if past["allocatedClaims"]:
            ledger.observe(_numbered(dice.pick(past["allocatedClaims"]), passing), live=True)
            events.append(partial(ledger.remove, passing))
    dice.shuffle(events)
    for event in events:
        if nodes and dice.chance(0.15):
            allocator.allocate(claims, dice.pick(list(nodes.values())))
        if dice.chance(0.2):
            _place(allocator, case, nodes)
        event()


def _place(allocator: Allocator, case: Json, nodes: Mapping[str, Node]) -> Decision:
    claims = [convert(claim, ResourceClaim) for claim in case["claims"]]
    return place(Pod(), claims, nodes=dict(nodes), usage={}, allocator=allocator)


def _numbered(plain: Json, number: object) -> ResourceClaim:
    claim = convert(plain, ResourceClaim)
    metadata = ObjectMeta(name=claim.metadata.name, namespace=claim.metadata.namespace, uid=Uid(str(number)))
    return ResourceClaim(metadata=metadata, spec=claim.spec, status=claim.status)
