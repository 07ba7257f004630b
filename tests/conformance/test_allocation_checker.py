"""The checker of allocations accepts upstream's, and nothing that is wrong with them escapes it."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conformance.allocation_checker import check
from tests.conformance.allocator_vectors import cases
from tests.conformance.vectors import Json

CASES = Path(__file__).parent / "data" / "allocator_random.jsonl.gz"


def allocated() -> Iterator[tuple[Json, Json, list[Json]]]:
    """Case, node and upstream's allocations."""
    for case in cases(CASES):
        for node in case["nodes"]:
            wanted = case["want"]["nodes"][node["metadata"]["name"]]
            if wanted["outcome"] == "allocated":
                yield case, node, wanted.get("allocations") or []


@pytest.fixture(scope="module")
def upstreams() -> list[tuple[Json, Json, list[Json]]]:
    return list(allocated())


def test_what_upstream_gave_is_right(upstreams: list[tuple[Json, Json, list[Json]]]) -> None:
    wrong = [
        (case["id"], node["metadata"]["name"], problems)
        for case, node, allocations in upstreams
        if (problems := check(case, node, allocations))
    ]

    assert wrong == []


def results(allocations: list[Json]) -> Iterator[Json]:
    for allocation in allocations:
        yield from allocation["devices"].get("results") or ()


def drop_a_result(allocations: list[Json]) -> bool:
    for allocation in allocations:
        if allocation["devices"].get("results"):
            allocation["devices"]["results"].pop()
            return True
    return False


def name_a_device_that_is_not_there(allocations: list[Json]) -> bool:
    for result in results(allocations):
        result["device"] = "no-such-device"
        return True
    return False


def give_one_device_twice(allocations: list[Json]) -> bool:
    given = [result for result in results(allocations) if not result.get("shareID") and not result.get("adminAccess")]
    for one, other in itertools.pairwise(given):
        for key in ("driver", "pool", "device"):
            other[key] = one[key]
        return True
    return False


def consume_more(allocations: list[Json]) -> bool:
    for result in results(allocations):
        for name in result.get("consumedCapacity") or ():
            result["consumedCapacity"][name] = "12345678"
            return True
    return False


def forget(key: str) -> Callable[[list[Json]], bool]:
    def change(allocations: list[Json]) -> bool:
        return any(result.pop(key, None) is not None for result in results(allocations))

    return change


def reach_it_from_everywhere(allocations: list[Json]) -> bool:
    return any(allocation.pop("nodeSelector", None) is not None for allocation in allocations)


def lose_config(allocations: list[Json]) -> bool:
    return any(allocation["devices"].pop("config", None) is not None for allocation in allocations)


@pytest.mark.parametrize(
    "change",
    [
        drop_a_result,
        name_a_device_that_is_not_there,
        give_one_device_twice,
        consume_more,
        forget("adminAccess"),
        forget("tolerations"),
        forget("bindingConditions"),
        forget("shareID"),
        forget("skipNodeOperations"),
        reach_it_from_everywhere,
        lose_config,
    ],
)
def test_a_change_is_noticed(
    upstreams: list[tuple[Json, Json, list[Json]]], change: Callable[[list[Json]], bool]
) -> None:
    tried, escaped = 0, []
    for case, node, allocations in upstreams:
        changed = copy.deepcopy(allocations)
        if change(changed):
            tried += 1
            if not check(case, node, changed):
                escaped.append((case["id"], node["metadata"]["name"]))

    assert tried > 0
    assert escaped == []


def test_a_device_in_use_is_noticed(upstreams: list[tuple[Json, Json, list[Json]]]) -> None:
    tried = 0
    for case, node, allocations in upstreams:
        exclusive = [r for r in results(allocations) if not r.get("adminAccess") and not r.get("shareID")]
        if exclusive:
            tried += 1
            holder = {"spec": {}, "status": {"allocation": {"devices": {"results": [exclusive[0]]}}}}
            assert check({**case, "allocatedClaims": [*case["allocatedClaims"], holder]}, node, allocations)

    assert tried > 0


def test_a_taint_is_noticed(upstreams: list[tuple[Json, Json, list[Json]]]) -> None:
    tried = 0
    for case, node, allocations in upstreams:
        features = case.get("features") or {}
        if not features.get("deviceTaints", True) or not any(results(allocations)):
            continue
        tainted = copy.deepcopy(case)
        for slice_ in tainted["resourceSlices"]:
            for device in slice_["spec"].get("devices") or ():
                device["taints"] = [{"key": "never-tolerated", "effect": "NoSchedule", "value": "by-anyone"}]
        if any(
            not toleration.get("key")
            for result in results(allocations)
            for toleration in result.get("tolerations") or ()
        ):
            continue
        tried += 1
        assert check(tainted, node, allocations)

    assert tried > 0
