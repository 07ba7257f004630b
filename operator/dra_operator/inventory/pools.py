"""The pools that have devices for one node: which slices count, whether a pool is complete, whether it is sound.

A pool is usable when all slices of its newest generation are there. With as many slices for this node as the pool
should have, it is complete without a look at others; otherwise all slices of the pool count, and any newer generation
drops the pool altogether. Incomplete pools are skipped by a count and refused by All; invalid ones likewise.

Order: by driver, then pool name; pools with binding conditions on any device for this node come last; slices by name;
devices as listed.

Upstream: `GatherPools` of k8s.io/dynamic-resource-allocation/structured/internal/experimental.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from dra_operator.api.core import Node, NodeSelector
from dra_operator.api.resource import BasicDevice, CounterSet, ResourceSlice
from dra_operator.inventory.devices import Device, PoolKey
from dra_operator.inventory.nodeselector import matches_node_selector


@dataclass(frozen=True, slots=True)
class Pool:
    """A pool as seen from one node. An incomplete or invalid one has no devices."""

    key: PoolKey
    devices: tuple[Device, ...] = ()
    """In order, those of the pool's slices for this node."""
    incomplete: bool = False
    invalid: str = ""
    """What is wrong with the pool; empty if it is sound."""
    counter_sets: tuple[CounterSet, ...] = ()
    elsewhere: tuple[Device, ...] = ()
    """The pool's devices in slices that are not for this node; they draw on the same counters."""


def serves_node(node: Node, node_name: str | None, all_nodes: bool | None, selector: NodeSelector | None) -> bool:
    """Whether a slice (or a device that selects nodes itself) is there for the node. `NodeMatches` upstream."""
    if node_name:
        return node.metadata.name == node_name
    if all_nodes:
        return True
    return selector is not None and matches_node_selector(selector, node)


def gather_pools(
    pools: Mapping[PoolKey, Mapping[str, ResourceSlice]],
    devices: Mapping[str, Mapping[str, Device]],
    node: Node,
) -> tuple[Pool, ...]:
    """`pools` holds all slices by pool and name, `devices` the built devices by slice and device name."""
    first: list[Pool] = []
    last: list[Pool] = []
    for key in sorted(pools):
        pool = _gather(key, list(pools[key].values()), devices, node)
        if pool is not None:
            (last if any(device.basic.binding_conditions for device in pool.devices) else first).append(pool)
    return (*first, *last)


def _gather(
    key: PoolKey, slices: Sequence[ResourceSlice], devices: Mapping[str, Mapping[str, Device]], node: Node
) -> Pool | None:
    here = _newest([slice_ for slice_ in slices if _is_for(slice_, node)])
    if not here:
        return None
    others: list[ResourceSlice] = []
    wanted = here[0].spec.pool.resource_slice_count
    if len(here) != wanted:
        everything = _newest(slices)
        if everything[0].spec.pool.generation > here[0].spec.pool.generation:
            return None
        if len(everything) != wanted:
            return Pool(key, incomplete=True)
        mine = {slice_.metadata.name for slice_ in here}
        others = [slice_ for slice_ in everything if slice_.metadata.name not in mine]
    here = sorted(here, key=lambda slice_: slice_.metadata.name)
    counters = [counter for slice_ in (*here, *others) for counter in slice_.spec.shared_counters or ()]
    if wrong := _wrong(here, others, counters):
        return Pool(key, invalid=wrong)
    return Pool(
        key,
        tuple(_built(here, devices)),
        counter_sets=tuple(counters),
        elsewhere=tuple(_built(others, devices)),
    )


def _built(slices: Sequence[ResourceSlice], devices: Mapping[str, Mapping[str, Device]]) -> Iterator[Device]:
    for slice_ in slices:
        for basic in slice_.spec.devices or ():
            yield devices[slice_.metadata.name][basic.name]


def _newest(slices: Sequence[ResourceSlice]) -> list[ResourceSlice]:
    generation = max((slice_.spec.pool.generation for slice_ in slices), default=0)
    return [slice_ for slice_ in slices if slice_.spec.pool.generation == generation]


def _is_for(slice_: ResourceSlice, node: Node) -> bool:
    spec = slice_.spec
    if spec.node_name or spec.all_nodes or spec.node_selector is not None:
        return serves_node(node, spec.node_name, spec.all_nodes, spec.node_selector)
    if spec.per_device_node_selection:
        return any(device_serves(device, node) for device in spec.devices or ())
    return False


def device_serves(device: BasicDevice, node: Node) -> bool:
    """Whether a device of a perDeviceNodeSelection slice is there for the node."""
    return serves_node(node, device.node_name, device.all_nodes, device.node_selector)


def _wrong(here: Sequence[ResourceSlice], others: Sequence[ResourceSlice], counters: Sequence[CounterSet]) -> str:
    """What contradicts itself in the pool, or nothing."""
    names: set[str] = set()
    for slice_ in here:
        for device in slice_.spec.devices or ():
            if device.name in names:
                return f"duplicate device name {device.name}"
            names.add(device.name)
    sets: dict[str, CounterSet] = {}
    for counter_set in counters:
        if counter_set.name in sets:
            return f"duplicate counter set name {counter_set.name}"
        sets[counter_set.name] = counter_set
    for slice_ in (*here, *others):
        for device in slice_.spec.devices or ():
            for consumption in device.consumes_counters or ():
                counter_set_ = sets.get(consumption.counter_set)
                if counter_set_ is None:
                    return f"counter set {consumption.counter_set} not found"
                for counter in consumption.counters or ():
                    if counter not in (counter_set_.counters or {}):
                        return f"counter {counter} not found in counter set {consumption.counter_set}"
    return ""
