"""Which pools one node sees, and in which state."""

from __future__ import annotations

import pytest

from dra_operator.api.core import Node
from dra_operator.api.resource import ResourceSlice
from dra_operator.inventory.inventory import Inventory
from dra_operator.inventory.pools import NodeSelectorInvalid, PoolGates
from tests.builders import device, need, node, selector, slice_of, term

A = node("node-a", labels={"zone": "east"})


def see(*slices: ResourceSlice, by: Node = A, gates: PoolGates | None = None) -> list[tuple[str, str]]:
    """The pools in order, with their devices or their state."""
    inventory = Inventory()
    for each in slices:
        inventory.apply_slice(each)
    return [
        (
            pool.key.pool,
            "incomplete" if pool.incomplete else pool.invalid or " ".join(d.id.device for d in pool.devices),
        )
        for pool in inventory.pools(by, gates or PoolGates()).pools
    ]


def part(
    name: str, *, count: int = 2, generation: int = 1, on: str = "node-a", gpu: str | None = None
) -> ResourceSlice:
    """One of several slices of pool "pool"."""
    return slice_of([device(gpu or f"gpu-{name}")], name=name, pool="pool", count=count, generation=generation, node=on)


def test_a_pool_of_another_node_does_not_exist_here() -> None:
    assert see(slice_of(node="node-b")) == []


def test_slices_come_by_name_and_devices_as_listed() -> None:
    second = slice_of([device("z"), device("y")], name="2", pool="pool", count=2)

    assert see(second, part("1")) == [("pool", "gpu-1 z y")]


def test_a_pool_is_incomplete_until_all_its_slices_are_there() -> None:
    assert see(part("1")) == [("pool", "incomplete")]
    assert see(part("1"), part("2")) == [("pool", "gpu-1 gpu-2")]


def test_one_slice_too_many_makes_a_pool_incomplete() -> None:
    assert see(part("1", count=1), part("2", count=1)) == [("pool", "incomplete")]


def test_slices_for_other_nodes_complete_a_pool() -> None:
    assert see(part("1"), part("2", on="node-b")) == [("pool", "gpu-1")]


def test_a_newer_generation_replaces_the_old_one() -> None:
    assert see(part("1", count=1), part("2", count=1, generation=2)) == [("pool", "gpu-2")]


def test_a_newer_generation_elsewhere_drops_a_pool_that_is_not_complete_here() -> None:
    assert see(part("1"), part("2", generation=2, on="node-b")) == []


def test_a_pool_that_is_complete_here_is_used_although_a_newer_generation_is_elsewhere() -> None:
    assert see(part("1", count=1), part("2", count=1, generation=2, on="node-b")) == [("pool", "gpu-1")]


@pytest.mark.parametrize(
    ("where", "seen"),
    [
        (slice_of(all_nodes=True), True),
        (slice_of(node_selector=selector(term(need("zone", "In", "east")))), True),
        (slice_of(node_selector=selector(term(need("zone", "In", "west")))), False),
        (slice_of([device(node_name="node-b"), device("gpu-1", node_name="node-a")], per_device=True), True),
        (slice_of([device(node_name="node-b")], per_device=True), False),
        (slice_of(node=None), False),
    ],
    ids=["all nodes", "selector", "other selector", "a device for the node", "no device for the node", "unknown"],
)
def test_a_slice_says_which_nodes_it_is_for(where: ResourceSlice, seen: bool) -> None:
    assert bool(see(where)) is seen


def test_a_selector_that_cannot_be_parsed_is_an_error_each_time() -> None:
    inventory = Inventory()
    inventory.apply_slice(slice_of(node_selector=selector(term(need("zone", "Near", "east")))))

    for _ in range(2):
        with pytest.raises(NodeSelectorInvalid, match="unknown operator"):
            inventory.pools(A)


@pytest.mark.parametrize(
    ("slices", "wrong"),
    [
        ([part("1", gpu="gpu-0"), part("2", gpu="gpu-0")], "duplicate device name gpu-0"),
        (
            [
                slice_of(name="1", pool="pool", count=2, counters={"gpu": {"memory": "40Gi"}}),
                slice_of(name="2", pool="pool", count=2, counters={"gpu": {"memory": "40Gi"}}),
            ],
            "duplicate counter set name gpu",
        ),
        ([slice_of([device(consumes={"gpu": {"memory": "5Gi"}})], pool="pool")], "counter set gpu not found"),
        (
            [
                slice_of(name="1", pool="pool", count=2, counters={"gpu": {"memory": "40Gi"}}),
                slice_of([device(consumes={"gpu": {"slices": "1"}})], name="2", pool="pool", count=2, node="node-b"),
            ],
            "counter slices not found in counter set gpu",
        ),
    ],
    ids=["device twice", "counter set twice", "unknown counter set", "unknown counter, on another node"],
)
def test_a_pool_that_contradicts_itself_is_invalid(slices: list[ResourceSlice], wrong: str) -> None:
    assert see(*slices) == [("pool", wrong)]


def test_pools_come_by_driver_and_name_and_those_that_have_to_be_bound_last() -> None:
    bound = slice_of([device(binding_conditions=["ready"])], pool="a")

    assert [pool for pool, _ in see(slice_of(pool="c"), bound, slice_of(pool="d", driver="a.example.com"))] == [
        "d",
        "c",
        "a",
    ]


def test_without_partitionable_devices_slices_with_counters_are_not_seen_but_count() -> None:
    counters = slice_of(name="1", pool="pool", count=2, counters={"gpu": {"memory": "40Gi"}})

    assert see(counters, part("2"), gates=PoolGates(partitionable_devices=False)) == [("pool", "gpu-2")]


def test_without_compatibility_groups_a_pool_that_uses_them_is_incomplete() -> None:
    grouped = slice_of(
        [device("gpu-1", consumes={"gpu": {"memory": "5Gi"}}, groups=["one"])], name="1", pool="pool", count=2
    )

    assert see(grouped, part("2"), gates=PoolGates(compatibility_groups=False)) == [("pool", "incomplete")]
