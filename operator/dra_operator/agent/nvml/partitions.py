"""What a GPU in MIG mode can be cut into, and into what it is cut already.

A GPU instance with one compute instance that fills it is a partition that can be offered. One that is divided further
(several compute instances) is not ours to offer: it only keeps what it occupies.
"""

from __future__ import annotations

from ctypes import byref, c_uint
from dataclasses import dataclass
from typing import Any

import pynvml

from dra_operator.agent.mig import Partition, PartitionProfile
from dra_operator.agent.nvml.library import Library
from dra_operator.api.quantity import Quantity


@dataclass(frozen=True, slots=True)
class Layout:
    """One GPU in MIG mode."""

    profiles: tuple[PartitionProfile, ...]
    made: tuple[Partition, ...]
    """Partitions that exist."""
    divided: tuple[Partition, ...]
    """Instances that exist and cannot be offered."""


def read_layout(library: Library, handle: Any) -> Layout | None:
    """None if the GPU is not in MIG mode. Raises GpuLost."""
    mode = library.call(pynvml.nvmlDeviceGetMigMode, handle)
    if mode is None or mode[0] != pynvml.NVML_DEVICE_MIG_ENABLE:
        return None
    profiles = read_profiles(library, handle)
    made: dict[int, Partition] = {}
    divided: dict[int, Partition] = {}
    for instance, uuid in instances(library, handle):
        profile = next((each for each in profiles if each.id == instance.profileId), None)
        if profile is None:
            continue
        partition = Partition(profile=profile, start=instance.placement.start, uuid=uuid)
        if instance.id in made:
            divided[instance.id] = partition
        made[instance.id] = partition
    whole = [partition for id_, partition in made.items() if id_ not in divided]
    return Layout(profiles, tuple(sorted(whole, key=lambda one: one.start)), tuple(divided.values()))


def read_profiles(library: Library, handle: Any) -> tuple[PartitionProfile, ...]:
    """In the driver's order, which goes from small to large but for the special ones at the end."""
    profiles = []
    for index in range(pynvml.NVML_GPU_INSTANCE_PROFILE_COUNT):
        info = library.call(pynvml.nvmlDeviceGetGpuInstanceProfileInfo, handle, index)
        places = None if info is None else placements(library, handle, info.id)
        if info is None or not places:
            continue
        name = info.name.decode() if isinstance(info.name, bytes) else info.name
        profiles.append(
            PartitionProfile(
                name=name.removeprefix("MIG "),
                id=info.id,
                memory=Quantity.parse(f"{info.memorySizeMB}Mi"),
                multiprocessors=info.multiprocessorCount,
                copy_engines=info.copyEngineCount,
                decoders=info.decoderCount,
                encoders=info.encoderCount,
                jpeg_engines=info.jpegCount,
                ofa_engines=info.ofaCount,
                memory_slices=places[0][1],
                starts=tuple(start for start, _ in places),
            )
        )
    return tuple(profiles)


def placements(library: Library, handle: Any, profile: int) -> list[tuple[int, int]] | None:
    count = c_uint()
    possible = pynvml.nvmlDeviceGetGpuInstancePossiblePlacements
    if library.call(possible, handle, profile, None, byref(count)) is None or not count.value:
        return None
    places = (pynvml.c_nvmlGpuInstancePlacement_t * count.value)()
    if library.call(possible, handle, profile, places, byref(count)) is None:
        return None
    return [(place.start, place.size) for place in places[: count.value]]


def instances(library: Library, handle: Any) -> list[tuple[Any, str]]:
    """The GPU instance and the uuid of each MIG device: one for each compute instance."""
    found = []
    for index in range(library.call(pynvml.nvmlDeviceGetMaxMigDeviceCount, handle) or 0):
        device = library.call(pynvml.nvmlDeviceGetMigDeviceHandleByIndex, handle, index)
        id_ = None if device is None else library.call(pynvml.nvmlDeviceGetGpuInstanceId, device)
        instance = None if id_ is None else library.call(pynvml.nvmlDeviceGetGpuInstanceById, handle, id_)
        info = None if instance is None else library.call(pynvml.nvmlGpuInstanceGetInfo, instance)
        uuid = None if info is None else library.call(pynvml.nvmlDeviceGetUUID, device)
        if info is not None and uuid is not None:
            found.append((info, uuid))
    return found
