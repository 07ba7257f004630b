"""Shares of devices: what is consumed, and what is left."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from dra_operator.allocation.features import Features
from dra_operator.api.quantity import Quantity
from dra_operator.api.reasons import Reason
from dra_operator.api.resource import (
    CapacityRequestPolicy,
    CapacityRequestPolicyRange,
    DeviceCapacity,
    DeviceRequestAllocationResult,
    ResourceClaim,
)
from tests.builders import allocated, claim, device, request, result, slice_of
from tests.unit.allocation.cluster import Cluster


def amount(text: str | None) -> Quantity | None:
    return None if text is None else Quantity.parse(text)


def capacity(value: str, *, default: str | None = None, values: Sequence[str] = ()) -> DeviceCapacity:
    policy = CapacityRequestPolicy(default=amount(default), valid_values=tuple(map(Quantity.parse, values)) or None)
    return DeviceCapacity(value=Quantity.parse(value), request_policy=policy)


def in_range(
    value: str, low: str, *, high: str | None = None, step: str | None = None, default: str | None = None
) -> DeviceCapacity:
    range_ = CapacityRequestPolicyRange(min=Quantity.parse(low), max=amount(high), step=amount(step))
    policy = CapacityRequestPolicy(default=amount(default), valid_range=range_)
    return DeviceCapacity(value=Quantity.parse(value), request_policy=policy)


def shared(memory: str | DeviceCapacity, *others: ResourceClaim, features: Features | None = None) -> Cluster:
    """A device that may be shared, and the claims that share it already."""
    return Cluster(slice_of([device(capacity={"memory": memory}, shared=True)]), *others, features=features)


def asks(memory: str | None = None, *, name: str = "claim") -> ResourceClaim:
    return claim(request(capacity={"memory": memory} if memory else None), name=name)


def share_of(memory: str, name: str = "other") -> ResourceClaim:
    return allocated(claim(name=name), result("node-a/gpu-0", share=f"share-{name}", consumes={"memory": memory}))


def results(cluster: Cluster, *claims: ResourceClaim) -> list[DeviceRequestAllocationResult]:
    return [each for allocation in cluster.allocations(*claims) for each in allocation.devices.results or ()]


def consumed(cluster: Cluster, of: ResourceClaim) -> Quantity:
    (share,) = results(cluster, of)
    assert share.share_id
    return (share.consumed_capacity or {})["memory"]


@pytest.mark.parametrize(
    ("memory", "asked", "takes"),
    [
        ("80Gi", "10Gi", "10Gi"),
        ("80Gi", None, "80Gi"),
        (capacity("80Gi", default="5Gi"), None, "5Gi"),
        (capacity("80Gi", default="5Gi"), "6Gi", "6Gi"),
        (capacity("80Gi", values=["10Gi", "20Gi"]), "11Gi", "20Gi"),
        (capacity("80Gi", values=["10Gi", "20Gi"]), "20Gi", "20Gi"),
        (in_range("80Gi", "2Gi"), "1Gi", "2Gi"),
        (in_range("80Gi", "2Gi"), "3Gi", "3Gi"),
        (in_range("80Gi", "2Gi", step="4Gi"), "3Gi", "6Gi"),
        (in_range("80Gi", "2Gi", step="4Gi"), "6Gi", "6Gi"),
        (in_range("2", "250m", step="250m"), "300m", "500m"),
        (in_range("80Gi", "2Gi", high="10Gi", default="20Gi"), None, "20Gi"),
    ],
    ids=str,
)
def test_a_share_consumes_what_is_asked_rounded_up_by_the_policy(
    memory: str | DeviceCapacity, asked: str | None, takes: str
) -> None:
    assert consumed(shared(memory), asks(asked)) == Quantity.parse(takes)


def test_without_fractional_ranges_steps_are_whole_units() -> None:
    cluster = shared(in_range("2", "250m", step="250m"), features=Features(fractional_capacity_range=False))

    assert consumed(cluster, asks("300m")) == Quantity.parse("1")


@pytest.mark.parametrize(
    ("memory", "asked"),
    [
        ("80Gi", "81Gi"),
        (capacity("80Gi", values=["10Gi", "20Gi"]), "21Gi"),
        (in_range("80Gi", "2Gi", high="10Gi"), "11Gi"),
        (in_range("80Gi", "2Gi", high="8Gi", step="4Gi"), "7Gi"),
    ],
    ids=["more than there is", "beyond the last value", "above the range", "rounded above the range"],
)
def test_a_device_that_cannot_give_that_much_is_passed_over(memory: str | DeviceCapacity, asked: str) -> None:
    assert shared(memory).gives(asks(asked)) is None


def test_capacity_that_a_device_lacks_is_not_there_whatever_its_domain() -> None:
    cluster = shared("80Gi")

    assert cluster.gives(claim(request(capacity={"gpu.example.com/memory": "1Gi"}))) is None
    assert cluster.gives(claim(request(capacity={"cores": "1"}))) is None


def test_shares_add_up_to_the_capacity_and_no_further() -> None:
    assert shared("80Gi", share_of("50Gi"), share_of("20Gi", "another")).gives(asks("10Gi")) == ["gpu=gpu-0"]
    assert shared("80Gi", share_of("50Gi"), share_of("20Gi", "another")).gives(asks("11Gi")) is None


def test_shares_of_one_pod_add_up_too() -> None:
    cluster = shared("80Gi")

    assert cluster.gives(asks("40Gi", name="one"), asks("40Gi", name="two")) == ["gpu=gpu-0", "gpu=gpu-0"]
    assert cluster.gives(asks("40Gi", name="one"), asks("41Gi", name="two")) is None


def test_each_share_has_an_id_of_its_own() -> None:
    shares = results(shared("80Gi"), asks("1Gi", name="one"), asks("1Gi", name="two"))

    assert len({share.share_id for share in shares}) == 2


def test_one_request_never_takes_two_shares_of_a_device() -> None:
    cluster = shared("80Gi")

    assert cluster.gives(claim(request(count=2, capacity={"memory": "1Gi"}))) is None
    both = claim(request("a", capacity={"memory": "1Gi"}), request("b", capacity={"memory": "1Gi"}))
    assert cluster.gives(both) == ["a=gpu-0 b=gpu-0"]


def test_an_exclusive_device_is_checked_but_records_nothing() -> None:
    cluster = Cluster(
        slice_of([device("small", capacity={"memory": "40Gi"}), device("big", capacity={"memory": "80Gi"})])
    )

    (given,) = results(cluster, asks("41Gi"))

    assert (given.device, given.share_id, given.consumed_capacity) == ("big", None, None)


def test_a_share_without_capacity_has_an_id_only() -> None:
    (given,) = results(Cluster(slice_of([device(shared=True)])), claim())

    assert given.share_id
    assert given.consumed_capacity is None


def test_without_the_gate_a_device_is_not_shared_and_shares_are_whole_devices() -> None:
    off = Features(consumable_capacity=False)

    (given,) = results(shared("80Gi", features=off), claim())
    assert given.share_id is None
    assert shared("80Gi", share_of("1Gi"), features=off).gives(claim()) is None


def test_all_leaves_out_what_is_too_small_and_fails_on_what_is_used_up() -> None:
    small, big = (device(name, capacity={"memory": size}, shared=True) for name, size in (("s", "10Gi"), ("b", "80Gi")))
    everything = claim(request(mode="All", capacity={"memory": "40Gi"}))

    assert Cluster(slice_of([small, big])).gives(everything) == ["gpu=b"]
    taken = allocated(claim(name="other"), result("node-a/b", share="one", consumes={"memory": "41Gi"}))
    assert Cluster(slice_of([small, big]), taken).gives(everything) is None


@pytest.mark.parametrize(
    ("memory", "asked"),
    [
        (in_range("16E", "1", step="1"), "9223372036854775808"),
        (in_range("2", "250m", step="250m"), "300500u"),
        ("-1", None),
    ],
    ids=["beyond 64 bits", "finer than thousandths", "negative"],
)
def test_an_amount_that_cannot_be_computed_ends_the_decision(memory: str | DeviceCapacity, asked: str | None) -> None:
    assert shared(memory).error(asks(asked)) is Reason.REQUEST_INVALID
