"""Where a pod goes with its claims, and the one sentence that says why it goes nowhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from dra_operator.allocation.outcome import AllocationError, Unschedulable
from dra_operator.allocation.place import Decision, Placement, place, place_steps
from dra_operator.allocation.usage import NodeUsage
from dra_operator.api.core import Node, Pod
from dra_operator.api.reasons import Reason
from dra_operator.api.resource import ResourceClaim, ResourceSlice
from tests.builders import (
    allocated,
    claim,
    device,
    exactly,
    first_available,
    match_attribute,
    node,
    nodes,
    pod,
    request,
    slice_of,
    taint,
)
from tests.unit.allocation.cluster import Cluster

NUMA = "gpu.example.com/numa"


def decide(
    *published: ResourceSlice | ResourceClaim,
    on: Mapping[str, Node],
    claims: Sequence[ResourceClaim] = (claim(),),
    of: Pod | None = None,
    usage: Mapping[str, NodeUsage] | None = None,
) -> Decision:
    return place(
        of or pod(),
        claims,
        nodes=on,
        usage=usage or {},
        allocator=Cluster(*published).allocator,
    )


def where(decision: Decision) -> str:
    assert isinstance(decision, Placement), decision
    return decision.node


def why(decision: Decision) -> tuple[Reason, str]:
    assert isinstance(decision, Unschedulable), decision
    return decision.reason, decision.message


def test_the_first_node_by_name_with_devices_and_room() -> None:
    slices = [slice_of(node=name) for name in ("b", "c", "d")]
    cluster = nodes("d", "c", "b", "a")

    assert where(decide(*slices, on=cluster)) == "b"
    assert where(decide(*slices, on={**cluster, "b": node("b", cordoned=True)})) == "c"


def test_room_that_others_take_counts_but_not_the_pods_own() -> None:
    asks = pod("asks", requests={"cpu": "40"})
    full, own = NodeUsage(), NodeUsage()
    full.add(pod("other", requests={"cpu": "40"}))
    own.add(asks)

    assert where(decide(slice_of(), on=nodes("node-a"), of=asks, usage={"node-a": own})) == "node-a"
    assert why(decide(slice_of(), on=nodes("node-a"), of=asks, usage={"node-a": full})) == (
        Reason.NODE_UNSUITABLE,
        "none of 1 node fits: 1 with devices is short of cpu",
    )


def test_a_claim_that_is_allocated_ties_the_rest_to_its_node() -> None:
    slices = [slice_of(node=name, gpus=2) for name in ("a", "b")]
    fixed = allocated(claim(name="fixed"), "b/gpu-0", on="b")

    decision = decide(*slices, fixed, on=nodes("a", "b"), claims=[fixed, claim(name="free")])

    assert where(decision) == "b"
    assert isinstance(decision, Placement)
    assert len(decision.allocations) == 1


def test_claims_that_are_all_allocated_only_need_a_node() -> None:
    fixed = allocated(claim(), "b/gpu-0", on="b")

    decision = decide(fixed, on=nodes("a", "b"), claims=[fixed])

    assert decision == Placement("b", ())


def test_an_error_on_the_way_ends_the_decision_though_a_later_node_would_do() -> None:
    asks = claim(request("gpu", "device.attributes['gpu.example.com'].numa == 0"))
    slices = [slice_of(node="a"), slice_of(node="b", attributes={"numa": 0})]

    decision = decide(*slices, on=nodes("a", "b"), claims=[asks])

    assert isinstance(decision, AllocationError)
    assert decision.reason is Reason.SELECTOR_FAILED


def test_a_node_that_does_not_take_the_pod_cannot_fail_it() -> None:
    asks = claim(request("gpu", "device.attributes['gpu.example.com'].numa == 0"))
    slices = [slice_of(node="a"), slice_of(node="b", attributes={"numa": 0})]
    cluster = {"a": node("a", cordoned=True), "b": node("b")}

    assert where(decide(*slices, on=cluster, claims=[asks])) == "b"


def test_it_can_be_taken_node_by_node() -> None:
    slices = [slice_of(node=name, driver="other.example.com") for name in ("a", "b", "c")]
    steps = place_steps(pod(), [claim()], nodes=nodes("a", "b", "c"), usage={}, allocator=Cluster(*slices).allocator)

    assert next(steps) is None
    assert next(steps) is None


@pytest.mark.parametrize(
    ("published", "asks", "reason", "words"),
    [
        ([], claim(), Reason.NO_MATCHING_DEVICE, "0 published"),
        (
            [slice_of(gpus=4)],
            claim(request("gpu", "false")),
            Reason.NO_MATCHING_DEVICE,
            "4 published, 4 in its class, none matches its selectors",
        ),
        (
            [slice_of(gpus=4)],
            claim(request(count=8)),
            Reason.NO_MATCHING_DEVICE,
            'request "gpu" wants 8 devices on one node, where at most 4 match',
        ),
        (
            [slice_of(gpus=2), allocated(claim(name="other"), "node-a/gpu-0", "node-a/gpu-1")],
            claim(),
            Reason.DEVICES_IN_USE,
            'too few free devices for request "gpu" (2 matching: 2 in use)',
        ),
        (
            [slice_of([device("a", taints=[taint()]), device("b")]), allocated(claim(name="other"), "node-a/b")],
            claim(),
            Reason.DEVICES_TAINTED,
            "(2 matching: 1 in use, 1 tainted)",
        ),
        (
            [slice_of([device("a", attributes={"numa": 0}), device("b", attributes={"numa": 1})])],
            claim(request(count=2), constraints=[match_attribute(NUMA)]),
            Reason.CONSTRAINT_UNSATISFIED,
            'no free devices for "gpu" satisfy matchAttribute gpu.example.com/numa together',
        ),
        (
            [slice_of(gpus=3), allocated(claim(name="other"), "node-a/gpu-0")],
            claim(request("a", count=2), request("b")),
            Reason.DEVICES_IN_USE,
            'enough free devices for each of "a", "b", but not for all on one node',
        ),
        (
            [slice_of(gpus=2)],
            claim(request("a", count=2), request("b")),
            Reason.NO_MATCHING_DEVICE,
            'no node has enough devices for all of "a", "b" together',
        ),
        (
            [slice_of(gpus=4), allocated(claim(name="other"), "node-a/gpu-0")],
            claim(request(count=8)),
            Reason.NO_MATCHING_DEVICE,
            'request "gpu" wants 8 devices on one node, where at most 4 match',
        ),
        ([slice_of(count=2)], claim(), Reason.POOL_INCOMPLETE, "1 pool is being published"),
        (
            [slice_of([device("a"), device("a")])],
            claim(),
            Reason.POOL_INVALID,
            'pool "node-a" of driver "gpu.example.com" is invalid: duplicate device name a',
        ),
        (
            [
                slice_of(name="1", pool="p", count=2, counters={"gpu": {"memory": "1Gi"}}),
                slice_of([device(consumes={"gpu": {"memory": "2Gi"}})], name="2", pool="p", count=2),
            ],
            claim(),
            Reason.COUNTERS_EXHAUSTED,
            "1 whose shared counters are used up",
        ),
        (
            [slice_of([device(shared=True, capacity={"memory": "1Gi"})])],
            claim(request(capacity={"memory": "2Gi"})),
            Reason.CAPACITY_EXHAUSTED,
            "1 without 2Gi of memory left",
        ),
        (
            [slice_of(gpus=1), allocated(claim(name="other"), "node-a/gpu-0")],
            claim(first_available(big=exactly(count=2), small=exactly())),
            Reason.DEVICES_IN_USE,
            "1 in use",
        ),
    ],
    ids=[
        "no slices",
        "no match",
        "nodes too small",
        "in use",
        "tainted",
        "constraint",
        "not for all",
        "too many together",
        "too many, and some in use",
        "incomplete",
        "invalid",
        "counters",
        "capacity",
        "alternatives",
    ],
)
def test_the_sentence_says_what_is_missing_in_numbers(
    published: list[ResourceSlice | ResourceClaim], asks: ResourceClaim, reason: Reason, words: str
) -> None:
    said, sentence = why(decide(*published, on=nodes("node-a"), claims=[asks]))

    assert said is reason
    assert sentence.startswith("none of 1 node fits: ")
    assert words in sentence


def test_nodes_that_only_lack_room_come_first_in_the_sentence() -> None:
    busy = allocated(claim(name="other"), "b/gpu-0")
    cluster = {"a": node("a", cordoned=True), "b": node("b"), "c": node("c", cordoned=True)}

    said, sentence = why(decide(slice_of(node="a"), slice_of(node="b"), busy, on=cluster))

    assert said is Reason.NODE_UNSUITABLE
    assert sentence.startswith("none of 3 nodes fits: 1 with devices is cordoned; ")
    assert "1 in use" in sentence


def test_devices_that_no_node_has_together_are_not_waited_for() -> None:
    """Neither a constraint nor who uses them keeps the pod waiting; and both claims call their request alike."""
    big = "device.attributes['gpu.example.com'].big"
    published = [
        slice_of([device("x", attributes={"big": True})], node="a"),
        slice_of([device("x", attributes={"big": False})], node="b"),
    ]
    asks = [
        claim(request("gpu", big), name="one", constraints=[match_attribute(NUMA)]),
        claim(request("gpu", f"!{big}"), name="two"),
    ]

    said, sentence = why(decide(*published, on=nodes("a", "b"), claims=asks))

    assert said is Reason.NO_MATCHING_DEVICE
    assert sentence == 'none of 2 nodes fits: no node has devices for all of "gpu" (class gpu), "gpu" (class gpu)'


def test_devices_in_the_reach_of_all_nodes_may_come_back_together_with_a_nodes_own() -> None:
    """They are counted for one node only, so what the others could have is not known to be too little."""
    everywhere = slice_of([device("x"), device("y")], pool="shared", all_nodes=True)
    own = slice_of([device("z")], node="b")
    used = allocated(claim(name="other"), "shared/x")

    said, _ = why(decide(everywhere, own, used, on=nodes("a", "b"), claims=[claim(request(count=3))]))

    assert said is Reason.DEVICES_IN_USE


def test_nobody_elses_names_are_told() -> None:
    secret = allocated(claim(name="secret-project", namespace="secret-tenant"), "node-a/gpu-0")

    _, sentence = why(decide(slice_of(gpus=1), secret, on=nodes("node-a")))

    assert "secret" not in sentence


def test_a_cluster_without_nodes() -> None:
    assert why(decide(on={})) == (Reason.NODE_UNSUITABLE, "none of 0 nodes fits: the cluster has no nodes")


def test_of_many_constraints_the_first_are_named() -> None:
    constraints = [match_attribute(f"gpu.example.com/{name}") for name in "abcabde"]
    _, sentence = why(
        decide(slice_of(gpus=2), on=nodes("node-a"), claims=[claim(request(count=2), constraints=constraints)])
    )

    names = ", ".join(f"matchAttribute gpu.example.com/{name}" for name in "abc")
    assert sentence.endswith(f'no free devices for "gpu" satisfy {names} and 2 more together')
