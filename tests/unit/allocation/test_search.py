"""The search ends soon where it can, in an error where it cannot, and finds what there is to find."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dra_operator.allocation.outcome import Allocated, Unschedulable
from dra_operator.api.reasons import Reason
from dra_operator.api.resource import DeviceRequest, ResourceClaim
from tests.builders import allocated, claim, device, distinct_attribute, match_attribute, request, slice_of, taint
from tests.unit.allocation.cluster import Cluster

NUMA, UUID = "gpu.example.com/numa", "gpu.example.com/uuid"


@pytest.mark.parametrize("free", [8, 24, 31])
def test_one_more_than_there_are_costs_no_more_than_a_look_at_each(free: int) -> None:
    cluster = Cluster(slice_of(gpus=free), budget=10 * free)

    assert cluster.gives(claim(request(count=free + 1))) is None


def test_devices_that_cannot_be_had_do_not_make_it_longer() -> None:
    devices = [device(f"gpu-{i}", taints=[taint()] if i % 3 == 0 else []) for i in range(40)]
    others = allocated(claim(name="other"), *(f"node-a/gpu-{i}" for i in range(1, 40, 3)))

    assert Cluster(slice_of(devices), others, budget=200).gives(claim(request(count=14))) is None


def test_what_fails_with_one_device_is_not_tried_with_its_like() -> None:
    devices = [device(f"gpu-{i}", attributes={"numa": i % 2, "uuid": f"gpu-{i}"}) for i in range(32)]
    asks = claim(request(count=17), constraints=[match_attribute(NUMA)])

    assert Cluster(slice_of(devices), budget=20_000).gives(asks) is None


def test_a_search_that_has_to_be_long_is_given_up() -> None:
    """Thirty devices in a row, each sharing a value with the next: sixteen distinct ones cannot be found."""
    chain = [device(f"gpu-{i}", attributes={"uuid": [i, i + 1]}) for i in range(30)]
    asks = claim(request(count=16), constraints=[distinct_attribute(UUID)])

    assert Cluster(slice_of(chain), budget=1_000).error(asks) is Reason.SEARCH_BUDGET_EXCEEDED


def test_many_claims_do_not_exhaust_the_stack() -> None:
    cluster = Cluster(slice_of(gpus=1200), budget=100_000)
    claims = [claim(request(count=30), name=f"claim-{i}") for i in range(40)]

    assert isinstance(cluster.allocate(*claims), Allocated)


# --- against all combinations ----------------------------------------------------------------------------------------

NODE = st.lists(st.tuples(st.integers(0, 2), st.booleans()), min_size=1, max_size=6)
ASKS = st.lists(st.tuples(st.integers(1, 3), st.sampled_from(["any", "0", "1"])), min_size=1, max_size=3)


def _request(number: int, count: int, numa: str) -> DeviceRequest:
    selectors = () if numa == "any" else (f"device.attributes['gpu.example.com'].numa == {numa}",)
    return request(f"r{number}", *selectors, count=count)


def _first(gpus: list[tuple[int, bool]], wanted: list[tuple[int, str]], *, match: bool) -> list[int] | None:
    """The first solution in the order of the search, by trying all of them."""

    def extend(chosen: list[int], request: int, got: int, start: int) -> list[int] | None:
        if request == len(wanted):
            return chosen
        count, numa = wanted[request]
        if got == count:
            return extend(chosen, request + 1, 0, 0)
        for position in range(start, len(gpus)):
            here, free = gpus[position]
            if not free or position in chosen or numa not in ("any", str(here)):
                continue
            if match and any(gpus[other][0] != here for other in chosen):
                continue
            found = extend([*chosen, position], request, got + 1, position + 1)
            if found is not None:
                return found
        return None

    return extend([], 0, 0, 0)


@settings(max_examples=200)
@given(NODE, ASKS, st.booleans())
def test_the_first_solution_of_all_is_found_if_there_is_one(
    gpus: list[tuple[int, bool]], wanted: list[tuple[int, str]], match: bool
) -> None:
    busy = [f"node-a/gpu-{i}" for i, (_, free) in enumerate(gpus) if not free]
    devices = [device(f"gpu-{i}", attributes={"numa": numa}) for i, (numa, _) in enumerate(gpus)]
    held: list[ResourceClaim] = [allocated(claim(name="other"), *busy)] if busy else []
    asks = claim(
        *(_request(number, *each) for number, each in enumerate(wanted)),
        constraints=[match_attribute(NUMA)] if match else [],
    )

    outcome = Cluster(slice_of(devices), *held).allocate(asks)

    expected = _first(gpus, wanted, match=match)
    if expected is None:
        assert isinstance(outcome, Unschedulable)
    else:
        assert isinstance(outcome, Allocated)
        given = [result.device for result in outcome.allocations[0].devices.results or ()]
        assert given == [f"gpu-{position}" for position in expected]
