"""The search does not blow up where upstream's does: it is held to a few hundred steps, and gives the same outcome."""

from __future__ import annotations

import pytest

from dra_operator.allocation.allocator import Allocator
from dra_operator.allocation.outcome import AllocationError, Outcome, Unschedulable
from dra_operator.api.reasons import Reason
from dra_operator.api.resource import BasicDevice, ResourceClaim
from dra_operator.inventory.inventory import Inventory
from dra_operator.inventory.ledger import Ledger
from tests.builders import claim, classes, device, distinct_attribute, match_attribute, node, request, slice_of

NEVER = "device.driver == 'other'"
NUMA = "gpu.example.com/numa"
INDEX = "gpu.example.com/index"


def outcome(devices: list[BasicDevice], *claims: ResourceClaim, budget: int) -> Outcome:
    inventory = Inventory()
    inventory.apply_slice(slice_of(devices))
    return Allocator(inventory, Ledger(), classes(), budget=budget).allocate(claims, node())


def gpus(count: int, sockets: int = 2) -> list[BasicDevice]:
    """Equal but for their index, spread over sockets in turn."""
    return [device(f"gpu-{i}", attributes={"numa": i % sockets, "index": i}) for i in range(count)]


@pytest.mark.parametrize(
    "asked",
    [
        claim(request(count=25)),
        claim(request("first", count=12), request("second", count=13)),
        claim(request("first", count=4), request("second", NEVER)),
        claim(request(count=13), constraints=[match_attribute(NUMA)]),
        claim(request("some", count=3), request("rest", NEVER), constraints=[match_attribute(NUMA)]),
    ],
    ids=[
        "n+1 of n",
        "two requests",
        "a hopeless second request",
        "one socket too small",
        "hopeless, with a constraint",
    ],
)
def test_what_cannot_be_is_found_out_soon(asked: ResourceClaim) -> None:
    assert isinstance(outcome(gpus(24), asked, budget=3_000), Unschedulable)


def test_two_claims_that_cannot_both_be_are_found_out_soon() -> None:
    claims = [claim(request(count=16), name="one"), claim(request(count=16), name="two")]

    assert isinstance(outcome(gpus(24), *claims, budget=3_000), Unschedulable)


def test_a_search_that_is_too_long_is_given_up_and_says_so() -> None:
    links = [device(f"gpu-{i}", attributes={"links": [i % 14, (i + 3) % 14, (i + 7) % 14]}) for i in range(24)]
    asked = claim(request(count=5), constraints=[distinct_attribute("gpu.example.com/links")])
    given_up = outcome(links, asked, budget=200)

    assert isinstance(given_up, AllocationError)
    assert given_up.reason is Reason.SEARCH_BUDGET_EXCEEDED
    assert "200 steps" in given_up.message
