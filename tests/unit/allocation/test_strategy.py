"""Which node and which devices, where several would do."""

from __future__ import annotations

import pytest

from dra_operator.allocation.allocator import Allocator
from dra_operator.allocation.place import Placement, place
from dra_operator.allocation.strategy import Strategy
from dra_operator.api.names import PLACEMENT_ANNOTATION
from dra_operator.api.resource import BasicDevice, DeviceClass, ResourceClaim, ResourceSlice
from dra_operator.inventory.inventory import Inventory
from dra_operator.inventory.ledger import Ledger
from tests.builders import (
    allocated,
    claim,
    classes,
    device,
    device_class,
    exactly,
    first_available,
    match_attribute,
    nodes,
    pod,
    request,
    result,
    slice_of,
)

NUMA = "gpu.example.com/numa"


def chosen(
    *published: ResourceSlice | ResourceClaim,
    by: Strategy = Strategy.BEST_FIT,
    asked: ResourceClaim | None = None,
    of: DeviceClass | None = None,
) -> str:
    """The node and the devices, in short."""
    inventory, ledger, names = Inventory(), Ledger(), []
    for each in published:
        if isinstance(each, ResourceSlice):
            inventory.apply_slice(each)
            names.append(each.spec.node_name or "")
        else:
            ledger.observe(each, live=True)
    allocator = Allocator(inventory, ledger, classes(*(() if of is None else (of,))), strategy=by)
    decision = place(pod(), [asked or claim()], nodes=nodes(*names), usage={}, allocator=allocator)
    assert isinstance(decision, Placement), decision
    results = decision.allocations[0].devices.results or ()
    return f"{decision.node}: {' '.join(one.device for one in results)}"


def sized(name: str, memory: str, numa: int = 0) -> BasicDevice:
    return device(name, capacity={"memory": memory}, attributes={"numa": numa})


def used(*where: str) -> ResourceClaim:
    return allocated(claim(name=f"held-{where[0]}"), *where)


# --- nodes -----------------------------------------------------------------------------------------------------------

THREE = [slice_of(gpus=4, node=name) for name in ("empty", "full", "half")]
HELD = [used("full/gpu-0", "full/gpu-1", "full/gpu-2"), used("half/gpu-0", "half/gpu-1")]


@pytest.mark.parametrize(
    ("strategy", "node"),
    [
        (Strategy.BEST_FIT, "full: gpu-3"),
        (Strategy.BINPACK, "full: gpu-3"),
        (Strategy.SPREAD, "empty: gpu-0"),
        (Strategy.FIRST, "empty: gpu-0"),
    ],
)
def test_the_strategy_chooses_the_node(strategy: Strategy, node: str) -> None:
    assert chosen(*THREE, *HELD, by=strategy) == node


def test_whole_nodes_are_kept_for_large_requests() -> None:
    small = slice_of(gpus=2, node="a-small-whole-one")
    assert chosen(small, *THREE[:1], slice_of(gpus=8, node="large"), used("large/gpu-0")) == "large: gpu-1"


def test_a_class_may_say_otherwise() -> None:
    spreads = device_class(annotations={PLACEMENT_ANNOTATION: "spread"})
    odd = device_class(annotations={PLACEMENT_ANNOTATION: "wherever"})
    assert chosen(*THREE, *HELD, of=spreads) == "empty: gpu-0"
    assert chosen(*THREE, *HELD, of=odd) == "full: gpu-3"


def test_a_node_with_a_preferred_alternative_goes_first() -> None:
    either = claim(first_available(big=exactly(count=2), small=exactly()))
    assert chosen(*THREE, *HELD, asked=either) == "half: gpu-2 gpu-3"


# --- devices ---------------------------------------------------------------------------------------------------------


def test_the_least_valuable_device_that_satisfies() -> None:
    mixed = slice_of([sized("large", "80Gi"), sized("small", "16Gi"), sized("middle", "40Gi")], node="a")
    assert chosen(mixed) == "a: small"
    at_least = "device.capacity['gpu.example.com'].memory.compareTo(quantity('40Gi')) >= 0"
    assert chosen(mixed, asked=claim(request("gpu", at_least))) == "a: middle"


def test_a_cheap_device_elsewhere_goes_before_a_valuable_one_on_a_fuller_node() -> None:
    valuable = slice_of([sized("0", "80Gi"), sized("1", "80Gi")], node="a")
    assert chosen(valuable, used("a/0"), slice_of([sized("0", "16Gi")], node="b")) == "b: 0"


def test_the_smallest_group_that_is_large_enough() -> None:
    gpus = slice_of(
        [sized(f"{numa}-{i}", "80Gi", numa) for numa, size in ((0, 4), (1, 2)) for i in range(size)], node="a"
    )
    asked = claim(request(count=2), constraints=[match_attribute(NUMA)])
    assert chosen(gpus, asked=asked) == "a: 1-0 1-1"


def partitioned(node: str) -> list[ResourceSlice]:
    """Two GPUs, each whole or in halves."""
    devices = []
    for gpu in ("x", "y"):
        for part, memory, slots in (("whole", "80Gi", (0, 1)), ("half-0", "40Gi", (0,)), ("half-1", "40Gi", (1,))):
            devices.append(
                device(
                    f"{gpu}-{part}",
                    capacity={"memory": memory},
                    attributes={"whole": part == "whole"},
                    consumes={gpu: {f"slot-{slot}": "1" for slot in slots}},
                )
            )
    counters = {gpu: {"slot-0": "1", "slot-1": "1"} for gpu in ("x", "y")}
    return [
        slice_of(node=node, name=f"{node}-1", count=2, counters=counters),
        slice_of(devices, node=node, name=f"{node}-2", count=2),
    ]


def test_what_is_broken_already_goes_before_what_is_whole() -> None:
    assert chosen(*partitioned("a"), used("a/y-half-0")) == "a: y-half-1"


def test_a_broken_gpu_on_another_node_goes_before_a_whole_one_here() -> None:
    fuller = used("a/x-whole")
    assert chosen(*partitioned("a"), *partitioned("b"), fuller, used("b/y-half-1")) == "b: y-half-0"


def test_several_partitions_break_as_little_as_they_can() -> None:
    assert chosen(*partitioned("a"), asked=claim(request(count=2))) == "a: x-half-0 x-half-1"


def test_a_device_that_is_shared_already_goes_before_a_whole_one() -> None:
    shared = slice_of([device(f"gpu-{i}", shared=True, capacity={"memory": "80Gi"}) for i in range(3)], node="a")
    holder = allocated(claim(name="other"), result("a/gpu-1", share="1", consumes={"memory": "20Gi"}))
    assert chosen(shared, holder, asked=claim(request(capacity={"memory": "40Gi"}))) == "a: gpu-1"
    assert chosen(shared, holder, asked=claim(request(capacity={"memory": "70Gi"}))) == "a: gpu-0"
