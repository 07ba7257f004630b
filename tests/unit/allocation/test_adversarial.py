"""Inputs that are made to be hard end soon and with a clear outcome. Bounded by steps, not by time: a step is a device
that is taken, and the work of one is bounded by the devices of a node.
"""

from __future__ import annotations

import pytest

from dra_operator.allocation.allocator import Allocator
from dra_operator.allocation.outcome import Allocated, AllocationError, Outcome, Unschedulable
from dra_operator.allocation.place import place
from dra_operator.allocation.strategy import Strategy
from dra_operator.api.quantity import Quantity
from dra_operator.api.reasons import Reason
from dra_operator.api.resource import (
    BasicDevice,
    CapacityRequestPolicy,
    CapacityRequestPolicyRange,
    DeviceCapacity,
    ResourceClaim,
)
from dra_operator.inventory.inventory import Inventory
from dra_operator.inventory.ledger import Ledger
from tests.builders import (
    claim,
    classes,
    device,
    distinct_attribute,
    match_attribute,
    node,
    nodes,
    pod,
    request,
    slice_of,
)

NUMA, RACK, LINKS = (f"gpu.example.com/{name}" for name in ("numa", "rack", "links"))
STEPS = 3_000
"""Some tens of milliseconds."""

strategies = pytest.mark.parametrize("strategy", [Strategy.FIRST, Strategy.BEST_FIT])


def decide(devices: list[BasicDevice], *claims: ResourceClaim, strategy: Strategy, budget: int = STEPS) -> Outcome:
    inventory = Inventory()
    for part in range(0, len(devices), 64):
        inventory.apply_slice(
            slice_of(devices[part : part + 64], name=f"slice-{part:05}", count=-(-len(devices) // 64))
        )
    return Allocator(inventory, Ledger(), classes(), budget=budget, strategy=strategy).allocate(claims, node())


@strategies
@pytest.mark.parametrize("n", [8, 16, 24, 31])
def test_one_more_than_there_are_look_alikes(n: int, strategy: Strategy) -> None:
    gpus = [device(f"gpu-{i}") for i in range(n)]
    assert isinstance(decide(gpus, claim(request(count=n + 1)), strategy=strategy), Unschedulable)


@strategies
@pytest.mark.parametrize("n", [32, 64, 128])
def test_one_more_than_there_are_look_alikes_over_several_claims(n: int, strategy: Strategy) -> None:
    gpus = [device(f"gpu-{i}") for i in range(n)]
    claims = [claim(request(count=16), name=f"claim-{i}") for i in range(n // 16)]
    assert isinstance(decide(gpus, *claims, strategy=strategy), Allocated)
    assert isinstance(decide(gpus, *claims, claim(name="one more"), strategy=strategy), Unschedulable)


@strategies
def test_more_devices_than_a_claim_may_have_are_an_error(strategy: Strategy) -> None:
    outcome = decide([device(f"gpu-{i}") for i in range(64)], claim(request(count=33)), strategy=strategy)
    assert isinstance(outcome, AllocationError)
    assert outcome.reason is Reason.REQUEST_INVALID


@strategies
@pytest.mark.parametrize("n", [8, 32])
def test_constraints_that_contradict_each_other(n: int, strategy: Strategy) -> None:
    """Each socket has enough, and each rack, but no socket within a rack."""
    gpus = [device(f"gpu-{i}", attributes={"numa": i % 2, "rack": i // n % 2}) for i in range(2 * n - 2)]
    asked = claim(request(count=n), constraints=[match_attribute(NUMA), match_attribute(RACK)])
    assert isinstance(decide(gpus, asked, strategy=strategy), Unschedulable)


@strategies
def test_alike_and_different_at_once(strategy: Strategy) -> None:
    gpus = [device(f"gpu-{i}", attributes={"numa": i % 2}) for i in range(64)]
    asked = claim(request(count=32), constraints=[match_attribute(NUMA), distinct_attribute(NUMA)])
    assert isinstance(decide(gpus, asked, strategy=strategy), Unschedulable)


@strategies
def test_two_requests_that_need_the_same_half(strategy: Strategy) -> None:
    gpus = [device(f"gpu-{i}", attributes={"numa": i % 2}) for i in range(64)]
    asked = claim(
        request("one", count=16),
        request("other", count=15),
        request("last", "false"),
        constraints=[match_attribute(NUMA)],
    )
    assert isinstance(decide(gpus, asked, strategy=strategy), Unschedulable)


@strategies
def test_a_puzzle_ends_with_the_budget_and_says_so(strategy: Strategy) -> None:
    """Five disjoint sets of three out of fourteen links cannot be; to see that is a search."""
    linked = [device(f"gpu-{i}", attributes={"links": [i % 14, (i + 3) % 14, (i + 7) % 14]}) for i in range(128)]
    outcome = decide(linked, claim(request(count=5), constraints=[distinct_attribute(LINKS)]), strategy=strategy)
    assert isinstance(outcome, AllocationError)
    assert outcome.reason is Reason.SEARCH_BUDGET_EXCEEDED


def test_a_puzzle_on_every_node_costs_a_few_budgets_and_does_not_hide_a_node_that_fits() -> None:
    linked = [device(f"gpu-{i}", attributes={"links": [i % 14, (i + 3) % 14, (i + 7) % 14]}) for i in range(64)]
    easy = [device(f"gpu-{i}", attributes={"links": [i]}) for i in range(5)]
    names = [f"node-{i:02}" for i in range(50)]
    inventory = Inventory()
    for name in names:
        inventory.apply_slice(slice_of(linked, node=name))
    allocator = Allocator(inventory, Ledger(), classes(), budget=200, strategy=Strategy.BEST_FIT)
    asked = [claim(request(count=5), constraints=[distinct_attribute(LINKS)])]

    given_up = place(pod(), asked, nodes=nodes(*names), usage={}, allocator=allocator)
    assert isinstance(given_up, AllocationError)
    assert given_up.reason is Reason.SEARCH_BUDGET_EXCEEDED

    inventory.apply_slice(slice_of(easy, node="node-00"))
    found = place(pod(), asked, nodes=nodes(*names), usage={}, allocator=allocator)
    assert not isinstance(found, AllocationError | Unschedulable)
    assert found.node == "node-00"


@strategies
def test_thousands_of_slices_of_garbage_cost_no_steps(strategy: Strategy) -> None:
    """Incomplete pools, pools that contradict themselves, old generations, devices without what selectors need."""
    inventory = Inventory()
    for i in range(2_500):
        inventory.apply_slice(slice_of(pool=f"incomplete-{i}", count=2))
        inventory.apply_slice(slice_of([device("same"), device("same")], pool=f"twice-{i}"))
        inventory.apply_slice(slice_of([device(consumes={"none": {"memory": "1"}})], pool=f"unknown-{i}"))
        inventory.apply_slice(slice_of(gpus=0, pool=f"empty-{i}"))
    allocator = Allocator(inventory, Ledger(), classes(), budget=0, strategy=strategy)
    refused = allocator.allocate([claim()], node())
    assert isinstance(refused, Unschedulable)
    assert refused.reason is Reason.POOL_INVALID


LARGEST = Quantity.parse("9223372036854775807")
LIMITS = {
    "beyond 64 bits": DeviceCapacity(value=Quantity.parse("1e30")),
    "a step of one in the largest": DeviceCapacity(
        value=LARGEST,
        request_policy=CapacityRequestPolicy(
            default=Quantity(1), valid_range=CapacityRequestPolicyRange(min=Quantity(1), step=Quantity(1), max=LARGEST)
        ),
    ),
    "nothing": DeviceCapacity(value=Quantity(0)),
    "less than nothing": DeviceCapacity(value=Quantity(-1)),
    "the finest": DeviceCapacity(value=Quantity(1, -9)),
}


@strategies
@pytest.mark.parametrize("asked", ["1", "9223372036854775807", "1e30", "1n", "0"])
@pytest.mark.parametrize("limit", LIMITS)
def test_amounts_at_the_limits_have_an_outcome(limit: str, asked: str, strategy: Strategy) -> None:
    shared = [device(f"gpu-{i}", shared=True, capacity={"memory": LIMITS[limit]}) for i in range(8)]
    outcome = decide(shared, claim(request(capacity={"memory": asked})), strategy=strategy)
    other = decide(shared, claim(request(capacity={"memory": asked})), strategy=Strategy.FIRST)
    assert isinstance(outcome, Allocated | Unschedulable | AllocationError)
    assert type(outcome) is type(other)
