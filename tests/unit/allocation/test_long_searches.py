"""A search of one node that is long lets others run, and is not made twice for one answer."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from dra_operator.allocation.allocator import Allocator, Effort
from dra_operator.allocation.outcome import AllocationError, Unschedulable
from dra_operator.allocation.place import Decision, Placement, place, place_steps
from dra_operator.allocation.search import STEPS_PER_TURN
from dra_operator.allocation.stepwise import finish
from dra_operator.allocation.strategy import Strategy
from dra_operator.api.reasons import Reason
from dra_operator.api.resource import BasicDevice, ResourceClaim
from dra_operator.inventory.inventory import Inventory
from dra_operator.inventory.ledger import Ledger
from tests.builders import allocated, claim, classes, device, distinct_attribute, node, nodes, pod, request, slice_of

LINKS = "gpu.example.com/links"


def chain(length: int, *, closed: bool = False) -> list[BasicDevice]:
    """Each device shares a link with the next, and the last with the first if it is closed; every other comes last."""
    order = [*range(1, length, 2), *range(0, length, 2)]
    ends = length if closed else length + 1
    return [device(f"gpu-{i:02}", attributes={"links": [i, (i + 1) % ends]}) for i in order]


def apart(count: int) -> ResourceClaim:
    """So many devices, of which no two share a link."""
    return claim(request(count=count), constraints=[distinct_attribute(LINKS)])


PUZZLES = {
    "solved": (chain(23), apart(12), Placement),
    "without a solution": (chain(23, closed=True), apart(12), Unschedulable),
    "given up": (chain(31, closed=True), apart(16), AllocationError),
}
puzzles = pytest.mark.parametrize(("devices", "asked", "outcome"), PUZZLES.values(), ids=PUZZLES)


class Site:
    """A cluster of two nodes; the puzzle is on the first."""

    def __init__(self, devices: list[BasicDevice], budget: int = 2_000) -> None:
        self.inventory, self.ledger, self.classes = Inventory(), Ledger(), classes()
        self.inventory.apply_slice(slice_of(devices))
        self.inventory.apply_slice(slice_of(gpus=3, node="node-b"))
        self.allocator = Allocator(
            self.inventory, self.ledger, self.classes, budget=budget, share_id=str, strategy=Strategy.BEST_FIT
        )

    def decide(self, asked: ResourceClaim) -> tuple[Decision, int]:
        """The decision, and what it searched."""
        before = self.allocator.costs.steps
        decision = place(pod(), [asked], nodes=nodes("node-a", "node-b"), usage={}, allocator=self.allocator)
        return decision, self.allocator.costs.steps - before


@puzzles
def test_others_may_run_every_few_steps(devices: list[BasicDevice], asked: ResourceClaim, outcome: type) -> None:
    site = Site(devices)
    turns = sum(
        1 for _ in place_steps(pod(), [asked], nodes=nodes("node-a", "node-b"), usage={}, allocator=site.allocator)
    )
    assert site.allocator.costs.steps > 500
    assert turns >= site.allocator.costs.steps // STEPS_PER_TURN
    assert isinstance(site.decide(asked)[0], outcome)


@puzzles
def test_the_same_decision_is_not_searched_for_again(
    devices: list[BasicDevice], asked: ResourceClaim, outcome: type
) -> None:
    site = Site(devices)
    first, searched = site.decide(asked)
    again, searched_again = site.decide(asked)
    assert isinstance(first, outcome)
    assert again == first
    assert (searched > 500, searched_again) == (True, 0)


def test_what_happens_on_another_node_does_not_matter() -> None:
    site = Site(*PUZZLES["given up"][:1])
    asked = PUZZLES["given up"][1]
    site.decide(asked)
    site.ledger.observe(allocated(claim(name="other"), "node-b/gpu-0"), live=True)
    assert site.decide(asked)[1] == 0


def one_is_taken(site: Site) -> None:
    site.ledger.observe(allocated(claim(name="other"), "node-a/gpu-00"), live=True)


def all_come_anew(site: Site) -> None:
    site.inventory.apply_slice(slice_of([*chain(23), device("gpu-99", attributes={"links": [99]})]))


def the_class_is_another(site: Site) -> None:
    for name, known in site.classes.items():
        site.classes[name] = msgspec.structs.replace(known)


@pytest.mark.parametrize("change", [one_is_taken, all_come_anew, the_class_is_another])
def test_what_happens_on_the_node_does(change: Callable[[Site], None]) -> None:
    """The answer is that of an allocator which never searched before."""
    devices, asked, _ = PUZZLES["solved"]
    site, fresh = Site(devices), Site(devices)
    site.decide(asked)
    change(site)
    change(fresh)
    assert site.decide(asked) == fresh.decide(asked)


def test_a_search_that_was_given_up_for_less_is_made_with_more() -> None:
    """A decision has so many steps for all its nodes: the last may have had few left."""
    site = Site(PUZZLES["solved"][0])
    plan = site.allocator.plan([PUZZLES["solved"][1]])
    assert not isinstance(plan, AllocationError)
    given_up = finish(plan.allocating(node(), Effort(100)))
    assert isinstance(given_up, AllocationError)
    assert given_up.reason is Reason.SEARCH_BUDGET_EXCEEDED
    assert not isinstance(plan.allocate(node()), AllocationError)
