"""Partitions of a GPU: which there are, what they share, and that only such fit together as exist side by side."""

from __future__ import annotations

from itertools import combinations

import pytest

from dra_operator.agent.gpu import Gpu, Naming
from dra_operator.agent.mig import (
    Partition,
    PartitionProfile,
    counter_set,
    counter_set_name,
    counters_left,
    partition_device,
    possible_partitions,
)
from dra_operator.agent.profiles import Identity, load_profile
from dra_operator.api.quantity import Quantity
from dra_operator.api.resource import BasicDevice, CounterSet

PROFILES = load_profile("a100-sxm-80gb-mig").partitions
GPU = Gpu(uuid="GPU-1", product_name="A100", minor=3)


def profile(name: str) -> PartitionProfile:
    (found,) = [each for each in PROFILES if each.name == name]
    return found


def partition(name: str, start: int, uuid: str | None = None) -> Partition:
    return Partition(profile=profile(name), start=start, uuid=uuid)


def together(*chosen: Partition) -> bool:
    """Whether the counters let these be allocated at once."""
    left = counters_left(PROFILES)
    for one in chosen:
        (consumption,) = partition_device(GPU, one).consumes_counters or ()
        for name, counter in (consumption.counters or {}).items():
            left[name] -= counter.value.value()
    return all(value >= 0 for value in left.values())


def test_a_partition_is_named_after_its_gpu_its_profile_and_its_place() -> None:
    assert partition("1g.10gb+me", 6).name_on(GPU) == "gpu-3-mig-1g10gb-me-20-6"


def test_all_partitions_of_a_gpu_in_mig_mode() -> None:
    counts = {each.name: len(each.starts) for each in PROFILES}
    assert counts == {
        "1g.10gb": 7,
        "1g.10gb+me": 7,
        "1g.20gb": 4,
        "2g.20gb": 3,
        "3g.40gb": 2,
        "4g.40gb": 1,
        "7g.80gb": 1,
    }
    assert len(possible_partitions(PROFILES)) == 25


@pytest.mark.parametrize(
    "layout",
    [
        [("1g.10gb", start) for start in range(7)],
        [("1g.20gb", start) for start in (0, 2, 4, 6)],
        [("2g.20gb", 0), ("2g.20gb", 2), ("2g.20gb", 4), ("1g.10gb", 6)],
        [("3g.40gb", 0), ("3g.40gb", 4)],
        [("4g.40gb", 0), ("3g.40gb", 4)],
        [("4g.40gb", 0), ("2g.20gb", 4), ("1g.20gb", 6)],
        [("1g.10gb+me", 0), *(("1g.10gb", start) for start in range(1, 7))],
        [("7g.80gb", 0)],
    ],
)
def test_layouts_that_the_model_allows_fit(layout: list[tuple[str, int]]) -> None:
    assert together(*(partition(name, start) for name, start in layout))


def test_partitions_that_overlap_do_not_fit_together() -> None:
    for one, other in combinations(possible_partitions(PROFILES), 2):
        if set(one.slices) & set(other.slices):
            assert not together(one, other)


def test_a_gpu_has_one_media_extension() -> None:
    assert not together(partition("1g.10gb+me", 0), partition("1g.10gb+me", 1))


def test_beside_a_partition_that_is_there_only_those_are_offered_that_fit() -> None:
    offered = possible_partitions(PROFILES, [partition("3g.40gb", 0, uuid="MIG-1")])
    assert {one.start for one in offered} == {4, 5, 6}
    assert len(offered) == 3 + 3 + 2 + 1 + 1

    offered = possible_partitions(PROFILES, [partition("1g.10gb+me", 0, uuid="MIG-1")])
    assert "1g.10gb+me" not in {one.profile.name for one in offered}


def test_a_partition_that_is_there_is_a_device_of_its_own_and_not_drawn_from_the_rest() -> None:
    made = partition("3g.40gb", 0, uuid="MIG-1")
    device = partition_device(GPU, made)
    assert device.consumes_counters is None
    assert (device.attributes or {})["uuid"].string_value == "MIG-1"

    left = counters_left(PROFILES, [made])
    assert {name: left[name] for name in ("multiprocessors", "memory-slice-0", "memory-slice-4", "decoders")} == {
        "multiprocessors": 56,
        "memory-slice-0": 0,
        "memory-slice-4": 1,
        "decoders": 3,
    }


def test_all_counters_of_a_gpu() -> None:
    counters = counter_set(GPU, counters_left(PROFILES))

    assert counters.name == counter_set_name(GPU) == "gpu-3-counter-set"
    assert {name: counter.value for name, counter in (counters.counters or {}).items()} == {
        "multiprocessors": Quantity(98),
        "copy-engines": Quantity(7),
        "decoders": Quantity(5),
        "jpeg-engines": Quantity(1),
        "ofa-engines": Quantity(1),
        **{f"memory-slice-{index}": Quantity(1) for index in range(8)},
    }


def test_memory_slices_are_capacity_only_of_what_is_there_and_only_under_nvidias_names() -> None:
    def slices(device: BasicDevice) -> set[str]:
        return {name for name in device.capacity or {} if name.startswith("memorySlice")}

    made = partition("2g.20gb", 4, uuid="MIG-1")
    assert slices(partition_device(GPU, made, Naming.NVIDIA)) == {"memorySlice4", "memorySlice5"}
    assert not slices(partition_device(GPU, made))
    assert not slices(partition_device(GPU, partition("2g.20gb", 4), Naming.NVIDIA))


def test_the_fullest_partition_stays_within_the_limit_of_the_api() -> None:
    full = load_profile("a100-sxm-80gb-mig")
    gpu = full.gpu_of(Identity("node-1", 0))
    for naming in Naming:
        device = partition_device(gpu, partition("7g.80gb", 0, uuid="MIG-1"), naming)
        assert len(device.attributes or {}) + len(device.capacity or {}) <= 32


def test_counter_sets_are_all_that_consumers_name() -> None:
    node = load_profile("a100-sxm-80gb-mig").devices_of("node-1")
    sets: dict[str, CounterSet] = {each.name: each for each in node.shared_counters}

    for device in node.devices:
        for consumption in device.consumes_counters or ():
            assert set(consumption.counters or {}) <= set(sets[consumption.counter_set].counters or {})
