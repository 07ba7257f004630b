"""Partitions of a GPU (NVIDIA's MIG) as devices of a slice.

A GPU in MIG mode is offered as every partition that could be made of it: one device for each profile and each place
where it may begin. What two of them cannot share are counters of their GPU: its memory slices, one counter each, and
its multiprocessors and engines. So the allocator picks partitions that exist side by side, and nobody decides on a
layout beforehand. A partition that somebody made already keeps what it occupies: of the others only those remain that
do not overlap with it.

The GPU itself is not offered in MIG mode: it cannot be used whole before the mode is off. Its largest partition can.

Devices and counter sets are named as NVIDIA's driver names them (`gpu-0-mig-1g10gb-19-0`, `gpu-0-counter-set`).
Limit of the API: attributes and capacities of a device are 32 at most, so memory slices are counters and not
capacities; with NVIDIA's names, where they are both, the board's numbers give way.

Upstream: KEP-4815 (partitionable devices).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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

    def overlaps(self, other: Partition) -> bool:
        return bool(set(self.slices) & set(other.slices))

    def name_on(self, gpu: Gpu) -> str:
        profile = self.profile.name.replace(".", "").replace("+", "-")
        return f"{device_name(gpu)}-mig-{profile}-{self.profile.id}-{self.start}"


def possible_partitions(profiles: Sequence[PartitionProfile], made: Sequence[Partition] = ()) -> list[Partition]:
    """Those that were made, and all that could be made beside them, in the order of profiles and places."""
    there = {(partition.profile.id, partition.start): partition for partition in made}
    partitions: list[Partition] = []
    for profile in profiles:
        for start in profile.starts:
            partition = there.pop((profile.id, start), None) or Partition(profile=profile, start=start)
            if partition.uuid or not any(partition.overlaps(one) for one in made):
                partitions.append(partition)
    return partitions + list(there.values())


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
        consumes_counters=(
            DeviceCounterConsumption(counter_set=counter_set_name(gpu), counters=dict(_counters([partition]))),
        ),
    )


def counter_set(gpu: Gpu, profiles: Sequence[PartitionProfile]) -> CounterSet:
    """What the partitions of a GPU share: as much as the largest of them takes is all there is."""
    everything = [Partition(profile=profile, start=start) for profile in profiles for start in profile.starts]
    return CounterSet(name=counter_set_name(gpu), counters=dict(_counters(everything)))


def counter_set_name(gpu: Gpu) -> str:
    return f"{device_name(gpu)}-counter-set"


def _counters(partitions: Sequence[Partition]) -> Iterator[tuple[str, Counter]]:
    """For each counter the most that one of the partitions takes; what none takes is no counter."""
    most: dict[str, int] = {}
    for partition in partitions:
        for name, value in partition.profile.counts().items():
            most[name] = max(most.get(name, 0), value)
    for name, value in most.items():
        if value:
            yield _dashed(name), Counter(value=Quantity(value))
    for index in sorted({index for partition in partitions for index in partition.slices}):
        yield f"memory-slice-{index}", Counter(value=_ONE)


def _dashed(name: str) -> str:
    """Names of counters are DNS labels."""
    return "".join(f"-{letter.lower()}" if letter.isupper() else letter for letter in name)
