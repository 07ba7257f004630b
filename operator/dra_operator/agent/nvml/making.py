"""Makes and undoes partitions of a GPU in MIG mode, each with one compute instance that fills it.

The allocator picks a partition that is only possible; its name says where it lies (`gpu-0-mig-1g10gb-19-4`: GPU 0,
profile 19, from memory slice 4). What is found at that place is what was made before: both calls may be repeated.
All of it is to be called within `Library.use`.
"""

from __future__ import annotations

import re
from typing import Any, Final

import pynvml

from dra_operator.agent.nvml.library import Library
from dra_operator.agent.nvml.partitions import instances, placements

_NAME: Final = re.compile(r"gpu-(\d+)-mig-.+-(\d+)-(\d+)")


class PartitionError(Exception):
    """The driver does not make it, or undo it; the message is its own."""


def make_partition(library: Library, device: str) -> str:
    """The uuid of the partition. Raises PartitionError."""
    handle, profile, start = _place(library, device)
    found = _at(library, handle, profile, start)
    if found is None:
        size = next((size for begin, size in placements(library, handle, profile) or () if begin == start), None)
        if size is None:
            raise PartitionError(f"{device}: the GPU has no such partition (any more)")
        place = pynvml.c_nvmlGpuInstancePlacement_t(start, size)
        try:
            instance = pynvml.nvmlDeviceCreateGpuInstanceWithPlacement(handle, profile, pynvml.byref(place))
        except pynvml.NVMLError as error:
            raise PartitionError(f"{device} could not be made: {error}") from error
        try:
            pynvml.nvmlGpuInstanceCreateComputeInstance(instance, _filling(library, instance))
        except pynvml.NVMLError as error:
            library.call(pynvml.nvmlGpuInstanceDestroy, instance)
            raise PartitionError(f"{device} could not be made usable: {error}") from error
        found = _at(library, handle, profile, start)
    if found is None:
        raise PartitionError(f"{device} was made and is not listed by the driver")
    return found[1]


def undo_partition(library: Library, device: str) -> None:
    """Nothing if it is not there. Raises PartitionError, for one that is in use too."""
    handle, profile, start = _place(library, device)
    found = _at(library, handle, profile, start)
    if found is None:
        return
    try:
        instance = pynvml.nvmlDeviceGetGpuInstanceById(handle, found[0].id)
        for compute in _compute_instances(library, instance):
            pynvml.nvmlComputeInstanceDestroy(compute)
        pynvml.nvmlGpuInstanceDestroy(instance)
    except pynvml.NVMLError as error:
        raise PartitionError(f"{device} could not be undone: {error}") from error


def instances_of(library: Library, uuid: str) -> tuple[int, int]:
    """The driver's numbers of a partition's GPU instance and compute instance."""
    handle: Any = library.must(pynvml.nvmlDeviceGetHandleByUUID, uuid)
    gpu: int = library.must(pynvml.nvmlDeviceGetGpuInstanceId, handle)
    compute: int = library.must(pynvml.nvmlDeviceGetComputeInstanceId, handle)
    return gpu, compute


def _place(library: Library, device: str) -> tuple[Any, int, int]:
    """The GPU, the profile and the first memory slice that a name says."""
    match = _NAME.fullmatch(device)
    if match is None:
        raise PartitionError(f"{device!r} is no name of a partition")
    minor, profile, start = (int(number) for number in match.groups())
    for index in range(library.must(pynvml.nvmlDeviceGetCount)):
        handle = library.call(pynvml.nvmlDeviceGetHandleByIndex, index)
        if handle is not None and library.call(pynvml.nvmlDeviceGetMinorNumber, handle) == minor:
            return handle, profile, start
    raise PartitionError(f"{device}: the driver lists no GPU {minor}")


def _at(library: Library, handle: Any, profile: int, start: int) -> tuple[Any, str] | None:
    """The GPU instance at that place, and the uuid of its partition."""
    for instance, uuid in instances(library, handle):
        if (instance.profileId, instance.placement.start) == (profile, start):
            return instance, uuid
    return None


def _filling(library: Library, instance: Any) -> int:
    """The profile of the compute instance that takes all of the GPU instance."""
    shared = pynvml.NVML_COMPUTE_INSTANCE_ENGINE_PROFILE_SHARED
    infos = [
        library.call(pynvml.nvmlGpuInstanceGetComputeInstanceProfileInfo, instance, index, shared)
        for index in range(pynvml.NVML_COMPUTE_INSTANCE_PROFILE_COUNT)
    ]
    largest = max((info for info in infos if info is not None), key=lambda info: info.sliceCount, default=None)
    if largest is None:
        raise PartitionError("the driver names no compute instance that a partition could have")
    profile: int = largest.id
    return profile


def _compute_instances(library: Library, instance: Any) -> list[Any]:
    found = [library.call(pynvml.nvmlGpuInstanceGetComputeInstanceById, instance, number) for number in range(8)]
    return [compute for compute in found if compute is not None]
