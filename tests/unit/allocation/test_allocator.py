"""What a claim gets: requests, alternatives, All, admin access, taints, several claims together."""

from __future__ import annotations

from contextlib import nullcontext

import msgspec
import pytest

from dra_operator.allocation.asking import spending
from dra_operator.allocation.features import Features
from dra_operator.allocation.outcome import AllocationError
from dra_operator.api.reasons import Reason
from dra_operator.api.resource import DeviceRequest, DeviceTaint, DeviceToleration
from dra_operator.cel import errors, selector
from tests.builders import (
    allocated,
    claim,
    device,
    device_class,
    distinct_attribute,
    exactly,
    first_available,
    match_attribute,
    node,
    request,
    result,
    slice_of,
    taint,
    tolerate,
)
from tests.unit.allocation.cluster import Cluster

NUMA = "gpu.example.com/numa"


def test_the_first_free_devices_are_given_in_the_order_of_requests() -> None:
    cluster = Cluster(slice_of(gpus=4), allocated(claim(name="other"), "node-a/gpu-1"))

    assert cluster.gives(claim(request("a", count=2), request("b"))) == ["a=gpu-0 a=gpu-2 b=gpu-3"]


def test_several_claims_are_allocated_together_or_not_at_all() -> None:
    cluster = Cluster(slice_of(gpus=2))

    assert cluster.gives(claim(name="one"), claim(name="two")) == ["gpu=gpu-0", "gpu=gpu-1"]
    assert cluster.gives(claim(name="one"), claim(request(count=2), name="two")) is None


def test_a_later_request_makes_an_earlier_one_take_another_device() -> None:
    cluster = Cluster(
        slice_of([device("both", attributes={"a": True, "b": True}), device("only-a", attributes={"a": True})])
    )
    needs_a = request("a", "device.attributes['gpu.example.com'].a")
    needs_b = request("b", "'b' in device.attributes['gpu.example.com']")

    assert cluster.gives(claim(needs_a, needs_b)) == ["a=only-a b=both"]


def test_nothing_is_asked_for_nothing_is_given() -> None:
    assert Cluster(slice_of()).gives() == []


def test_a_count_of_zero_is_satisfied_by_nothing() -> None:
    assert Cluster(slice_of()).gives(claim(request(count=0))) == [""]


# --- errors ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asks", "reason"),
    [
        (request(class_name="unknown"), Reason.CLASS_NOT_FOUND),
        (request("gpu", "device.driver =="), Reason.SELECTOR_INVALID),
        (request("gpu", "device.attributes['gpu.example.com'].missing"), Reason.SELECTOR_FAILED),
        (request(mode="Most"), Reason.REQUEST_INVALID),
        (request(count=33), Reason.REQUEST_INVALID),
        (first_available(there=exactly(), unknown=exactly(class_name="unknown")), Reason.CLASS_NOT_FOUND),
    ],
    ids=["class", "selector does not compile", "selector fails", "mode", "too many", "class of the last alternative"],
)
def test_what_no_node_can_cure_is_an_error(asks: DeviceRequest, reason: Reason) -> None:
    assert Cluster(slice_of()).error(claim(asks)) is reason


def test_why_a_long_selector_does_not_compile_is_short_and_found_out_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pod that waits is looked at again and again, and a hundred such claims are looked at together."""
    cluster, asks = Cluster(slice_of()), claim(request("gpu", " || ".join(["a==b"] * 1200)))
    first = cluster.allocate(asks)
    assert isinstance(first, AllocationError)
    assert len(first.message) < 3_000
    assert "ERROR: <input>:1:1: undeclared reference to 'a'" in first.message
    assert "more errors were truncated\nhint: " in first.message

    monkeypatch.delattr(errors, "_render")
    monkeypatch.delattr(selector, "program_of")

    assert cluster.allocate(asks) == first


@pytest.mark.parametrize("budget", [None, 10_000_000])
def test_why_a_selector_fails_is_short_whatever_text_it_makes(budget: int | None) -> None:
    text = "cel.bind(a, 'aaaaaaaaaa', " + "cel.bind(a, a + a, " * 13
    asks = claim(request("gpu", text + "{'x': true}[a]" + ")" * 14))
    with spending(budget) if budget is not None else nullcontext():
        outcome = Cluster(slice_of()).allocate(asks)

    assert isinstance(outcome, AllocationError)
    assert outcome.reason is Reason.SELECTOR_FAILED
    assert "no such key: aaaa" in outcome.message
    assert len(outcome.message.encode()) < 1_200


def test_a_selector_does_not_fail_on_a_device_in_use() -> None:
    asks = claim(request("gpu", "device.attributes['gpu.example.com'].numa == 0"))
    devices = [device("bare"), device("gpu", attributes={"numa": 0})]

    assert Cluster(slice_of(devices)).error(asks) is Reason.SELECTOR_FAILED
    assert Cluster(slice_of(devices), allocated(claim(name="other"), "node-a/bare")).gives(asks) == ["gpu=gpu"]


def test_a_selector_does_not_fail_behind_the_device_that_completes_the_claim() -> None:
    asks = claim(request("gpu", "device.attributes['gpu.example.com'].numa == 0"))

    assert Cluster(slice_of([device("gpu", attributes={"numa": 0}), device("bare")])).gives(asks) == ["gpu=gpu"]


def test_a_selector_fails_on_the_last_device_although_there_are_too_few_anyhow() -> None:
    asks = claim(request("gpu", "device.attributes['gpu.example.com'].numa == 0", count=3))

    assert Cluster(slice_of([device("gpu", attributes={"numa": 1}), device("bare")])).error(asks) is (
        Reason.SELECTOR_FAILED
    )


def test_a_class_that_does_not_match_hides_errors_of_the_request() -> None:
    other = slice_of([device("bare")], driver="other.example.com", pool="other")
    asks = claim(request("gpu", "device.attributes['gpu.example.com'].numa == 0"))

    assert Cluster(other, slice_of(attributes={"numa": 0})).gives(asks) == ["gpu=gpu-0"]


@pytest.mark.parametrize(
    ("features", "asks"),
    [
        (Features(admin_access=False), request(admin=True)),
        (Features(prioritized_list=False), first_available(one=exactly())),
        (Features(consumable_capacity=False), request(capacity={"memory": "1Gi"})),
    ],
    ids=["admin access", "prioritized list", "consumable capacity"],
)
def test_a_feature_that_is_off_is_refused_not_ignored(features: Features, asks: DeviceRequest) -> None:
    assert Cluster(slice_of(), features=features).error(claim(asks)) is Reason.REQUEST_INVALID


# --- firstAvailable --------------------------------------------------------------------------------------------------


def test_the_first_alternative_that_works_is_taken() -> None:
    asks = claim(first_available(big=exactly(count=3), small=exactly(count=2)))

    assert Cluster(slice_of(gpus=3)).gives(asks) == ["gpu/big=gpu-0 gpu/big=gpu-1 gpu/big=gpu-2"]
    assert Cluster(slice_of(gpus=2)).gives(asks) == ["gpu/small=gpu-0 gpu/small=gpu-1"]
    assert Cluster(slice_of(gpus=1)).gives(asks) is None


def test_an_alternative_gives_way_to_a_later_request() -> None:
    asks = claim(first_available("any", two=exactly(count=2), one=exactly()), request("own"))

    assert Cluster(slice_of(gpus=2)).gives(asks) == ["any/one=gpu-0 own=gpu-1"]


def test_an_alternative_that_would_exceed_the_limit_of_results_is_skipped() -> None:
    asks = claim(request("many", count=31), first_available("more", two=exactly(count=2), one=exactly()))

    given = Cluster(slice_of(gpus=40)).gives(asks)

    assert given is not None
    assert given[0].endswith("more/one=gpu-31")


# --- All -------------------------------------------------------------------------------------------------------------


def test_all_means_every_matching_device() -> None:
    assert Cluster(slice_of(gpus=3)).gives(claim(request(mode="All"))) == ["gpu=gpu-0 gpu=gpu-1 gpu=gpu-2"]


def test_all_needs_every_one_of_them_and_at_least_one() -> None:
    everything = claim(request(mode="All"))

    assert Cluster(slice_of(gpus=3), allocated(claim(name="other"), "node-a/gpu-1")).gives(everything) is None
    assert Cluster(slice_of([device("a"), device("b", taints=[taint()])])).gives(everything) is None
    assert Cluster(slice_of(driver="other.example.com")).gives(everything) is None


def test_all_waits_for_pools_while_a_count_takes_what_there_is() -> None:
    cluster = Cluster(slice_of(), slice_of(pool="growing", count=2))

    assert cluster.error(claim(request(mode="All"))) is Reason.POOL_INCOMPLETE
    assert cluster.gives(claim()) == ["gpu=gpu-0"]


def test_all_against_a_constraint_is_an_error() -> None:
    devices = [device("a", attributes={"numa": 0}), device("b", attributes={"numa": 1})]
    asks = claim(request(mode="All"), constraints=[match_attribute(NUMA)])

    assert Cluster(slice_of(devices)).error(asks) is Reason.CONSTRAINT_UNSATISFIED


# --- admin access ----------------------------------------------------------------------------------------------------


def test_an_admin_sees_devices_in_use_and_says_so() -> None:
    cluster = Cluster(slice_of(gpus=1), allocated(claim(name="other"), "node-a/gpu-0"))

    (allocation,) = cluster.allocations(claim(request(admin=True)))

    assert [(r.device, r.admin_access) for r in allocation.devices.results or ()] == [("gpu-0", True)]


def test_an_admin_takes_nothing_away() -> None:
    watched = allocated(claim(name="admin"), result("node-a/gpu-0", admin=True))

    assert Cluster(slice_of(gpus=1), watched).gives(claim()) == ["gpu=gpu-0"]


def test_within_a_claim_no_device_comes_twice_even_for_admins() -> None:
    asks = claim(request("a"), request("b", admin=True))

    assert Cluster(slice_of(gpus=1)).gives(asks) is None
    assert Cluster(slice_of(gpus=2)).gives(asks) == ["a=gpu-0 b=gpu-1"]


def test_among_claims_of_a_pod_the_admin_has_to_come_second() -> None:
    admin, user = claim(request(admin=True), name="admin"), claim(name="user")

    assert Cluster(slice_of(gpus=1)).gives(user, admin) == ["gpu=gpu-0", "gpu=gpu-0"]
    assert Cluster(slice_of(gpus=1)).gives(admin, user) is None


# --- taints ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tainted", "toleration", "given"),
    [
        (taint(), None, False),
        (taint(effect="NoExecute"), None, False),
        (taint(effect="None"), None, True),
        (taint(effect="Later"), None, True),
        (taint(), tolerate("unhealthy"), True),
        (taint(), tolerate("other"), False),
        (taint(), tolerate(), True),
        (taint(), tolerate("unhealthy", effect="NoExecute"), False),
        (taint(value="hot"), tolerate("unhealthy", "Equal", "hot"), True),
        (taint(value="hot"), tolerate("unhealthy", "", "hot"), True),
        (taint(value="hot"), tolerate("unhealthy", "Equal", "cold"), False),
    ],
)
def test_a_taint_keeps_a_device_from_those_who_do_not_tolerate_it(
    tainted: DeviceTaint, toleration: DeviceToleration | None, given: bool
) -> None:
    cluster = Cluster(slice_of([device(taints=[tainted])]))
    asks = claim(request(tolerations=[toleration] if toleration else []))

    assert (cluster.gives(asks) is not None) is given


def test_tolerations_are_copied_to_each_result() -> None:
    tolerated = tolerate("unhealthy")

    (allocation,) = Cluster(slice_of(gpus=2)).allocations(claim(request(count=2, tolerations=[tolerated])))

    assert [r.tolerations for r in allocation.devices.results or ()] == [(tolerated,), (tolerated,)]


def test_without_the_gate_taints_do_not_count() -> None:
    assert Cluster(slice_of([device(taints=[taint()])]), features=Features(device_taints=False)).gives(claim())


# --- constraints -----------------------------------------------------------------------------------------------------


def test_devices_match_in_an_attribute() -> None:
    devices = [device(f"gpu-{i}", attributes={"numa": numa}) for i, numa in enumerate((0, 1, 0, 1, 1))]

    asks = claim(request(count=3), constraints=[match_attribute(NUMA)])

    assert Cluster(slice_of(devices)).gives(asks) == ["gpu=gpu-1 gpu=gpu-3 gpu=gpu-4"]


def test_devices_differ_in_an_attribute() -> None:
    devices = [device(f"gpu-{i}", attributes={"numa": numa}) for i, numa in enumerate((0, 0, 1))]

    asks = claim(request(count=2), constraints=[distinct_attribute(NUMA)])

    assert Cluster(slice_of(devices)).gives(asks) == ["gpu=gpu-0 gpu=gpu-2"]


def test_a_device_without_the_attribute_fits_no_constraint() -> None:
    bare = Cluster(slice_of(gpus=1))

    assert bare.gives(claim(constraints=[match_attribute(NUMA)])) is None
    assert bare.gives(claim(constraints=[distinct_attribute(NUMA)])) is None


def test_a_constraint_is_about_the_requests_that_it_names() -> None:
    devices = [device(f"gpu-{i}", attributes={"numa": i}) for i in range(3)]
    asks = claim(request("a"), request("b"), request("c"), constraints=[match_attribute(NUMA, "a")])

    assert Cluster(slice_of(devices)).gives(asks) == ["a=gpu-0 b=gpu-1 c=gpu-2"]


# --- nodes and gates -------------------------------------------------------------------------------------------------


def test_devices_that_skip_node_operations_need_a_node_that_can() -> None:
    cluster = Cluster(slice_of(skips=["Prepare"]))

    assert cluster.gives(claim()) is None
    assert cluster.gives(claim(), on=node(declared_features=["DRAOptionalNodeOperations"])) == ["gpu=gpu-0"]


def test_without_their_gate_devices_with_binding_conditions_are_left_out() -> None:
    devices = [device("slow", binding_conditions=["ready"]), device("fast")]

    assert Cluster(slice_of(devices)).gives(claim()) == ["gpu=slow"]
    assert Cluster(slice_of(devices), features=Features(device_binding_and_status=False)).gives(claim()) == ["gpu=fast"]


def test_two_classes_of_one_claim() -> None:
    cluster = Cluster(
        slice_of(),
        slice_of([device("nic-0")], driver="nic.example.com", pool="nics"),
        of=[device_class(), device_class("nic", "device.driver == 'nic.example.com'")],
    )

    assert cluster.gives(claim(request("gpu"), request("nic", class_name="nic"))) == ["gpu=gpu-0 nic=nic-0"]


def test_an_allocation_is_not_stamped() -> None:
    (allocation,) = Cluster(slice_of()).allocations(claim())

    assert allocation.allocation_timestamp is None
    assert msgspec.structs.asdict(allocation)["node_selector"] is not None
