"""Partitions of a device: shared counters and compatibility groups."""

from __future__ import annotations

from dra_operator.allocation.features import Features
from dra_operator.api.resource import BasicDevice, ResourceClaim, ResourceSlice
from tests.builders import allocated, claim, device, request, result, slice_of
from tests.unit.allocation.cluster import Cluster

POOL = "node-a"


def counters(**sets: str) -> ResourceSlice:
    """The slice that lists how much memory each counter set has; with one more slice the pool is complete."""
    return slice_of(
        name="counters", pool=POOL, count=2, counters={name: {"memory": memory} for name, memory in sets.items()}
    )


def partition(name: str, memory: str, of: str = "one", *groups: str, shared: bool = False) -> BasicDevice:
    return device(name, consumes={of: {"memory": memory}}, groups=groups, shared=shared)


def partitions(*devices: BasicDevice, node: str = "node-a") -> ResourceSlice:
    return slice_of(devices, name="devices", pool=POOL, count=2, node=node)


def used(name: str) -> ResourceClaim:
    return allocated(claim(name=f"user-of-{name}"), f"{POOL}/{name}")


def two() -> ResourceClaim:
    return claim(request(count=2))


def test_partitions_share_what_there_is() -> None:
    devices = partitions(partition("half", "20Gi"), partition("most", "30Gi"), partition("rest", "20Gi"))

    assert Cluster(counters(one="40Gi"), devices).gives(two()) == ["gpu=half gpu=rest"]
    assert Cluster(counters(one="40Gi"), devices).gives(claim(request(count=3))) is None


def test_a_partition_in_use_has_taken_its_share() -> None:
    devices = partitions(partition("half", "20Gi"), partition("most", "30Gi"), partition("rest", "20Gi"))

    assert Cluster(counters(one="40Gi"), devices, used("half")).gives(claim()) == ["gpu=rest"]
    assert Cluster(counters(one="40Gi"), devices, used("most")).gives(claim()) is None


def test_what_a_device_gone_from_its_slice_had_taken_is_there_again() -> None:
    devices = partitions(partition("all", "40Gi"))

    assert Cluster(counters(one="40Gi"), devices, used("gone")).gives(claim()) == ["gpu=all"]


def test_an_overdrawn_device_blocks_all_partitions_of_its_pool_but_no_plain_device() -> None:
    devices = partitions(
        partition("a", "40Gi"), partition("b", "40Gi"), partition("other", "1Gi", "two"), device("plain")
    )

    overdrawn = Cluster(counters(one="40Gi", two="40Gi"), devices, used("a"), used("b"))

    assert overdrawn.gives(claim()) == ["gpu=plain"]


def test_an_admin_pays_counters_too() -> None:
    devices = partitions(partition("all", "40Gi"))

    assert Cluster(counters(one="40Gi"), devices, used("all")).gives(claim(request(admin=True))) is None


def test_shares_of_a_partition_pay_once() -> None:
    shared = partitions(partition("all", "40Gi", shared=True))
    other = allocated(claim(name="other"), result(f"{POOL}/all", share="one"))

    assert Cluster(counters(one="40Gi"), shared).gives(claim(name="a"), claim(name="b")) == ["gpu=all", "gpu=all"]
    assert Cluster(counters(one="40Gi"), shared, other).gives(claim()) == ["gpu=all"]


def test_without_the_gate_partitions_are_not_given_but_plain_devices_are() -> None:
    cluster = Cluster(
        counters(one="40Gi"),
        partitions(partition("half", "20Gi"), device("plain")),
        features=Features(partitionable_devices=False),
    )

    assert cluster.gives(claim()) == ["gpu=plain"]
    assert cluster.gives(two()) is None


# --- compatibility groups --------------------------------------------------------------------------------------------


def test_partitions_on_one_counter_set_have_a_group_in_common() -> None:
    devices = partitions(
        partition("a", "1Gi", "one", "x"), partition("b", "1Gi", "one", "y"), partition("c", "1Gi", "one", "x", "y")
    )

    assert Cluster(counters(one="40Gi"), devices).gives(two()) == ["gpu=a gpu=c"]
    assert Cluster(counters(one="40Gi"), devices).gives(claim(request(count=3))) is None
    assert Cluster(counters(one="40Gi"), devices, used("b")).gives(claim()) == ["gpu=c"]


def test_partitions_without_groups_keep_to_themselves() -> None:
    devices = partitions(partition("a", "1Gi", "one", "x"), partition("b", "1Gi"), partition("c", "1Gi"))

    assert Cluster(counters(one="40Gi"), devices).gives(two()) == ["gpu=b gpu=c"]


def test_groups_are_about_one_counter_set() -> None:
    devices = partitions(partition("a", "1Gi", "one", "x"), partition("b", "1Gi", "two", "y"))

    assert Cluster(counters(one="40Gi", two="40Gi"), devices).gives(two()) == ["gpu=a gpu=b"]
