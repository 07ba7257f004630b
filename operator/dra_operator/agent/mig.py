"""Partitions of a GPU (NVIDIA's MIG) as devices of a slice.

A GPU in MIG mode is offered as every partition that could be made of it: one device for each profile and each place
where it may begin. What two of them cannot share are counters of their GPU: its memory slices, one counter each, and
its multiprocessors and engines. So the allocator picks partitions that exist side by side, and nobody decides on a
layout beforehand. A partition that somebody made already is a device like any other; what it occupies is not to be had,
so it consumes nothing, the counters are what is left, and of the others only those remain that fit beside it.

The GPU itself is not offered in MIG mode: it cannot be used whole before the mode is off. Its largest partition can.

Devices and counter sets are named as NVIDIA's driver names them (`gpu-0-mig-1g10gb-19-0`, `gpu-0-counter-set`).
Limit of the API: attributes and capacities of a device are 32 at most, so memory slices are counters and not
capacities; with NVIDIA's names, where they are both, the board's numbers give way.

Upstream: KEP-4815 (partitionable devices).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from dra_operator.agent.gpu import (
    Gpu,
    Naming,
    board_attributes,
    capacities,
    count,
    device_name,
    identity_attributes,
    known,
    profile_attributes,
    string,
)
from dra_operator.api.meta import Struct
from dra_operator.api.quantity import Quantity
from dra_operator.api.resource import BasicDevice, Counter, CounterSet, DeviceCounterConsumption

_ONE: Final = Quantity(1)


class PartitionProfile(Struct, frozen=True, kw_only=True):
    """A kind of partition of one GPU model, and where on the GPU it may begin."""

    name: str
    """As `nvidia-smi mig -lgip` prints it, without `MIG`: `1g.10gb`, `1g.10gb+me`."""
    id: int
    """The driver's number of the profile."""
    memory: Quantity
    multiprocessors: int
    copy_engines: int = 0
    decoders: int = 0
    encoders: int = 0
    jpeg_engines: int = 0
    ofa_engines: int = 0
    memory_slices: int
    """How many of the GPU's memory slices it takes."""
    starts: tuple[int, ...]
    """The memory slices with which it may begin."""

    def counts(self) -> dict[str, int]:
        """What partitions of one GPU share, apart from memory."""
        return {
            "multiprocessors": self.multiprocessors,
            "copyEngines": self.copy_engines,
            "decoders": self.decoders,
            "encoders": self.encoders,
            "jpegEngines": self.jpeg_engines,
            "ofaEngines": self.ofa_engines,
        }


class Partition(Struct, frozen=True, kw_only=True):
    """A profile at a place. `uuid` where somebody made it already; else it is only possible."""

    profile: PartitionProfile
    start: int
    uuid: str | None = None

    @property
    def slices(self) -> range:
        return range(self.start, self.start + self.profile.memory_slices)

    def needs(self) -> dict[str, int]:
        """What it takes of the GPU, by counter; what it does not take is left out."""
        counts = {_dashed(name): value for name, value in self.profile.counts().items() if value}
        return {**counts, **{f"memory-slice-{index}": 1 for index in self.slices}}

    def name_on(self, gpu: Gpu) -> str:
        profile = self.profile.name.replace(".", "").replace("+", "-")
        return f"{device_name(gpu)}-mig-{profile}-{self.profile.id}-{self.start}"


def possible_partitions(profiles: Sequence[PartitionProfile], taken: Sequence[Partition] = ()) -> list[Partition]:
    """All that could be made beside those that are there, in the order of profiles and places."""
    left = counters_left(profiles, taken)
    everything = [Partition(profile=profile, start=start) for profile in profiles for start in profile.starts]
    return [one for one in everything if all(left.get(name, 0) >= value for name, value in one.needs().items())]


def counters_left(profiles: Sequence[PartitionProfile], taken: Sequence[Partition] = ()) -> dict[str, int]:
    """What of a GPU is still to be had: as much as its largest partition takes is all there is."""
    left: dict[str, int] = {}
    for profile in profiles:
        for start in profile.starts:
            for name, value in Partition(profile=profile, start=start).needs().items():
                left[name] = max(left.get(name, 0), value)
    for partition in taken:
        for name, value in partition.needs().items():
            left[name] = max(left.get(name, 0) - value, 0)
    return left


def partition_device(gpu: Gpu, partition: Partition, naming: Naming = Naming.OWN) -> BasicDevice:
    """`partition` as a slice lists it."""
    profile = partition.profile
    attributes = {
        "type": string("mig"),
        "uuid": string(partition.uuid),
        "parentUUID": string(gpu.uuid),
        "profile": string(profile.name),
        **identity_attributes(gpu),
        **profile_attributes(gpu),
    }
    capacity = {"memory": profile.memory, **{name: count(value) for name, value in profile.counts().items()}}
    if naming is Naming.OWN:
        attributes |= board_attributes(gpu)
    elif partition.uuid:
        capacity |= {f"memorySlice{index}": _ONE for index in partition.slices}
    return BasicDevice(
        name=partition.name_on(gpu),
        attributes=known(attributes),
        capacity=capacities(capacity),
        consumes_counters=None if partition.uuid else (_consumption(gpu, partition),),
    )


def counter_set(gpu: Gpu, left: Mapping[str, int]) -> CounterSet:
    """What the partitions that could be made of a GPU share. A counter stays when nothing is left of it."""
    return CounterSet(name=counter_set_name(gpu), counters=_counters(left))


def counter_set_name(gpu: Gpu) -> str:
    return f"{device_name(gpu)}-counter-set"


def _consumption(gpu: Gpu, partition: Partition) -> DeviceCounterConsumption:
    return DeviceCounterConsumption(counter_set=counter_set_name(gpu), counters=_counters(partition.needs()))


def _counters(values: Mapping[str, int]) -> dict[str, Counter]:
    return {name: Counter(value=Quantity(value)) for name, value in values.items()}


def _dashed(name: str) -> str:
    """Names of counters are DNS labels."""
    return "".join(f"-{letter.lower()}" if letter.isupper() else letter for letter in name)
