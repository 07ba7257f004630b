"""Which writes turn the slices that a node's pool has into those that it should have. Pure.

Allocators take a pool as it is when it has as many slices of its highest generation as each of them says. So a change
of one slice is one update at the same generation, and any larger change is written under the next generation, slice
by slice: until the last one is there, the pool is incomplete and nobody allocates from a mixture.

Slices are told apart by their place in the pool, a hexadecimal prefix of their name; allocators also try them in the
order of their names. Obsolete slices go first: a device that a node no longer has must go even if the rest fails.

Upstream: `syncPool` of k8s.io/dynamic-resource-allocation/resourceslice. Ours differs in two points. Of two slices
for one place, the one that needs no update stays (upstream: whichever comes first): two appear when the answer to a
creation is lost. And slices that another incarnation of the Node owns are obsolete at once, as the garbage collector
is about to take them. Not here: talking to the API server (`publisher.py`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, TypeAlias

from msgspec import structs

from dra_operator.api.codec import to_plain
from dra_operator.api.meta import Uid
from dra_operator.api.resource import (
    BasicDevice,
    CounterSet,
    DeviceTaint,
    ResourcePool,
    ResourceSlice,
    ResourceSliceSpec,
)

DEVICES_PER_SLICE: Final = 64
"""Upstream's limit for slices whose devices have taints or counters (others may hold 128). Always kept, so that a
taint set while the agent runs changes one slice and not the layout of all."""

COUNTER_SETS_PER_SLICE: Final = 8

TAINTS_FEATURE: Final = "DRADeviceTaints"
PARTITIONS_FEATURE: Final = "DRAPartitionableDevices"

_INDEX_DIGITS: Final = 5


@dataclass(frozen=True, slots=True)
class NodePool:
    """The pool that the slices are for: one per driver and node, named after the node and owned by it."""

    driver: str
    node_name: str
    node_uid: Uid


@dataclass(frozen=True, slots=True)
class SliceContent:
    """What a slice says, apart from which pool it belongs to."""

    devices: tuple[BasicDevice, ...] = ()
    shared_counters: tuple[CounterSet, ...] = ()


@dataclass(frozen=True, slots=True)
class DeleteSlice:
    """DELETE with uid and resourceVersion as preconditions. Already gone counts as done."""

    name: str
    uid: Uid
    resource_version: str


@dataclass(frozen=True, slots=True)
class UpdateSlice:
    """Merge patch, conditional on uid and resourceVersion."""

    index: int
    name: str
    uid: Uid
    resource_version: str
    spec: ResourceSliceSpec

    def body(self) -> dict[str, Any]:
        """The patch: lists are replaced whole, and what the slice no longer has is null."""
        metadata = {"uid": self.uid, "resourceVersion": self.resource_version}
        return {"metadata": metadata, "spec": {"sharedCounters": None, "devices": None, **_plain_spec(self.spec)}}


@dataclass(frozen=True, slots=True)
class CreateSlice:
    """POST; the API server completes the name."""

    index: int
    generate_name: str
    pool: NodePool
    spec: ResourceSliceSpec

    def body(self) -> dict[str, Any]:
        owner = {
            "apiVersion": "v1",
            "kind": "Node",
            "name": self.pool.node_name,
            "uid": self.pool.node_uid,
            "controller": True,
        }
        return {
            "apiVersion": "resource.k8s.io/v1",
            "kind": "ResourceSlice",
            "metadata": {"generateName": self.generate_name, "ownerReferences": [owner]},
            "spec": _plain_spec(self.spec),
        }


SliceWrite: TypeAlias = DeleteSlice | UpdateSlice | CreateSlice


def split_into_slices(devices: Sequence[BasicDevice], counters: Sequence[CounterSet] = ()) -> list[SliceContent]:
    """At least one slice: an empty pool says that the driver runs and has no devices, no pool says nothing.

    Counter sets have slices of their own, and those come first: what consumes counters must not be there without them.
    """
    shared = range(0, len(counters), COUNTER_SETS_PER_SLICE)
    starts = range(0, max(len(devices), 0 if counters else 1), DEVICES_PER_SLICE)
    return [
        *(SliceContent(shared_counters=tuple(counters[start : start + COUNTER_SETS_PER_SLICE])) for start in shared),
        *(SliceContent(tuple(devices[start : start + DEVICES_PER_SLICE])) for start in starts),
    ]


def plan_writes(pool: NodePool, existing: Sequence[ResourceSlice], desired: Sequence[SliceContent]) -> list[SliceWrite]:
    """The writes that make `existing` (all slices of the driver on the node) say `desired`, in the order to do them."""
    generation = max((s.spec.pool.generation for s in existing if s.spec.pool.name == pool.node_name), default=0)
    unchanged = ResourcePool(name=pool.node_name, generation=generation, resource_slice_count=len(desired))
    current, obsolete = _match(pool, existing, desired, unchanged)
    changed = [index for index, slice_ in current.items() if not _says(slice_, unchanged, desired[index])]

    writes: list[SliceWrite] = [
        DeleteSlice(s.metadata.name, s.metadata.uid, s.metadata.resource_version) for s in obsolete
    ]
    if len(current) == len(desired) and len(changed) <= 1:
        return writes + [_update(current[index], index, unchanged, desired[index]) for index in changed]

    next_pool = structs.replace(unchanged, generation=generation + 1)
    writes += [_update(current[index], index, next_pool, desired[index]) for index in sorted(current)]
    writes += [
        _create(pool, index, next_pool, content) for index, content in enumerate(desired) if index not in current
    ]
    return writes


def dropped_features(desired: SliceContent, stored: ResourceSliceSpec) -> list[str]:
    """The feature gates whose fields were sent and did not come back: the API server has them disabled."""
    pairs = list(zip(desired.devices, stored.devices or (), strict=False))
    checks = {
        TAINTS_FEATURE: any(len(sent.taints or ()) > len(kept.taints or ()) for sent, kept in pairs),
        PARTITIONS_FEATURE: len(desired.shared_counters) > len(stored.shared_counters or ())
        or any(len(sent.consumes_counters or ()) > len(kept.consumes_counters or ()) for sent, kept in pairs),
        "DRADeviceBindingConditions": any(
            len(sent.binding_conditions or ()) > len(kept.binding_conditions or ()) for sent, kept in pairs
        ),
        "DRAConsumableCapacity": any(
            sent.allow_multiple_allocations is not None and kept.allow_multiple_allocations is None
            for sent, kept in pairs
        ),
    }
    dropped = [feature for feature, missing in checks.items() if missing]
    if not dropped and not _same_content(desired, stored):
        return ["unknown"]
    return dropped


# --- matching --------------------------------------------------------------------------------------------------------


def _match(
    pool: NodePool, existing: Sequence[ResourceSlice], desired: Sequence[SliceContent], unchanged: ResourcePool
) -> tuple[dict[int, ResourceSlice], list[ResourceSlice]]:
    """Which slice stands for which place, and those that stand for none."""
    current: dict[int, ResourceSlice] = {}
    obsolete: list[ResourceSlice] = []
    digits = _digits(len(desired))
    for slice_ in sorted(existing, key=lambda s: s.metadata.name):
        index = _index(slice_.metadata.name, digits)
        if not _is_ours(slice_, pool, unchanged.generation) or index is None or index >= len(desired):
            obsolete.append(slice_)
        elif index not in current:
            current[index] = slice_
        elif _says(slice_, unchanged, desired[index]) and not _says(current[index], unchanged, desired[index]):
            obsolete.append(current[index])
            current[index] = slice_
        else:
            obsolete.append(slice_)
    return current, obsolete


def _is_ours(slice_: ResourceSlice, pool: NodePool, generation: int) -> bool:
    owner = slice_.metadata.controller
    return (
        slice_.spec.pool.name == pool.node_name
        and slice_.spec.pool.generation == generation
        and owner is not None
        and owner.uid == pool.node_uid
    )


def _digits(count: int) -> int:
    return max(_INDEX_DIGITS, len(f"{max(count - 1, 0):x}"))


def _index(name: str, digits: int) -> int | None:
    match = re.match(rf"([0-9a-f]{{{digits}}})-", name)
    return int(match.group(1), 16) if match else None


# --- writing ---------------------------------------------------------------------------------------------------------


def _update(slice_: ResourceSlice, index: int, pool: ResourcePool, content: SliceContent) -> UpdateSlice:
    spec = _spec(slice_.spec.driver, slice_.spec.node_name, pool, content)
    metadata = slice_.metadata
    return UpdateSlice(index, metadata.name, metadata.uid, metadata.resource_version, _keep_taint_times(spec, slice_))


def _create(pool: NodePool, index: int, next_pool: ResourcePool, content: SliceContent) -> CreateSlice:
    prefix = f"{index:0{_digits(next_pool.resource_slice_count)}x}"
    generate_name = f"{prefix}-{pool.driver}-{pool.node_name}-"
    return CreateSlice(index, generate_name, pool, _spec(pool.driver, pool.node_name, next_pool, content))


def _spec(driver: str, node_name: str | None, pool: ResourcePool, content: SliceContent) -> ResourceSliceSpec:
    return ResourceSliceSpec(
        driver=driver,
        node_name=node_name,
        pool=pool,
        devices=content.devices or None,
        shared_counters=content.shared_counters or None,
    )


def _plain_spec(spec: ResourceSliceSpec) -> dict[str, Any]:
    """The codec leaves out defaults, but the API has none for the pool's numbers: zero slices would be refused."""
    pool = spec.pool
    numbers = {"generation": pool.generation, "resourceSliceCount": pool.resource_slice_count}
    plain: dict[str, Any] = to_plain(spec)
    return {**plain, "pool": {"name": pool.name, **numbers}}


def _keep_taint_times(spec: ResourceSliceSpec, stored: ResourceSlice) -> ResourceSliceSpec:
    """A taint that stays keeps the time at which it was added, though the agent does not know it."""
    times = {
        (device.name, taint.key, taint.value, taint.effect): taint.time_added
        for device in stored.spec.devices or ()
        for taint in device.taints or ()
    }

    def timed(device: BasicDevice) -> BasicDevice:
        taints = tuple(
            structs.replace(t, time_added=t.time_added or times.get((device.name, t.key, t.value, t.effect)))
            for t in device.taints or ()
        )
        return structs.replace(device, taints=taints) if taints else device

    return structs.replace(spec, devices=tuple(timed(device) for device in spec.devices or ()) or None)


# --- comparing -------------------------------------------------------------------------------------------------------


def _says(slice_: ResourceSlice, pool: ResourcePool, content: SliceContent) -> bool:
    return slice_.spec.pool == pool and _same_content(content, slice_.spec)


def _same_content(content: SliceContent, stored: ResourceSliceSpec) -> bool:
    """Order counts, absent and empty are the same, and a taint without a time equals one with any time."""
    theirs = stored.devices or ()
    return (
        len(content.devices) == len(theirs)
        and content.shared_counters == (stored.shared_counters or ())
        and all(_same_device(a, b) for a, b in zip(content.devices, theirs, strict=True))
    )


def _same_device(a: BasicDevice, b: BasicDevice) -> bool:
    a_taints, b_taints = a.taints or (), b.taints or ()
    return (
        len(a_taints) == len(b_taints)
        and all(_same_taint(x, y) for x, y in zip(a_taints, b_taints, strict=True))
        and _without_taints(a) == _without_taints(b)
    )


def _without_taints(device: BasicDevice) -> BasicDevice:
    return structs.replace(
        device,
        taints=None,
        attributes=device.attributes or None,
        capacity=device.capacity or None,
        consumes_counters=device.consumes_counters or None,
        binding_conditions=device.binding_conditions or None,
        binding_failure_conditions=device.binding_failure_conditions or None,
    )


def _same_taint(a: DeviceTaint, b: DeviceTaint) -> bool:
    return (a.key, a.value, a.effect) == (b.key, b.value, b.effect) and _same_time(a.time_added, b.time_added)


def _same_time(a: str | None, b: str | None) -> bool:
    """The API stores whole seconds."""
    if a is None or b is None or a == b:
        return True
    return abs(datetime.fromisoformat(a) - datetime.fromisoformat(b)) <= timedelta(seconds=1)
