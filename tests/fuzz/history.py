"""The same state of a cluster by another way: published, taken, changed and asked about before it became what it is.

What an allocator keeps between decisions must not show. `aged()` gives one that has been through a random past of the
case: slices that looked different or are gone, claims that were allocated elsewhere or not at all, and decisions in
between. It has to answer like one that has seen nothing but the case.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from typing import Any

from dra_operator.allocation.allocator import Allocator
from dra_operator.api.codec import convert
from dra_operator.api.core import Node
from dra_operator.api.meta import ObjectMeta, Uid
from dra_operator.api.resource import ResourceClaim, ResourceSlice
from tests.conformance.allocator_vectors import allocator_of
from tests.fuzz.dice import Dice

Json = Any


def aged(case: Json, seed: int) -> Allocator:
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
    past["claims"], past["nodes"] = case["claims"], case["nodes"]
    return _live(dice, allocator_of(past), past, case)


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


def _live(dice: Dice, allocator: Allocator, past: Json, case: Json) -> Allocator:
    """Let everything happen that leads from the past to the case, and decide in between."""
    claims = [convert(claim, ResourceClaim) for claim in case["claims"]]
    nodes = [convert(node, Node) for node in case["nodes"]]
    inventory, ledger = allocator.inventory, allocator.ledger
    events: list[Callable[[], object]] = [
        partial(inventory.apply_slice, convert(plain, ResourceSlice)) for plain in case["resourceSlices"]
    ]
    for number, plain in enumerate(case["allocatedClaims"]):
        events.append(partial(ledger.observe, _numbered(plain, number), live=True))
    for number in range(dice.randint(0, 2)):
        passing = Uid(f"passing-{number}")
        if past["allocatedClaims"]:
            ledger.observe(_numbered(dice.pick(past["allocatedClaims"]), passing), live=True)
            events.append(partial(ledger.remove, passing))
    dice.shuffle(events)
    for event in events:
        if dice.chance(0.3):
            allocator.allocate(claims, dice.pick(nodes))
        event()
    return allocator


def _numbered(plain: Json, number: object) -> ResourceClaim:
    claim = convert(plain, ResourceClaim)
    metadata = ObjectMeta(name=claim.metadata.name, namespace=claim.metadata.namespace, uid=Uid(str(number)))
    return ResourceClaim(metadata=metadata, spec=claim.spec, status=claim.status)
