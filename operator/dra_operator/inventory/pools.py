"""The pools that have devices for one node: which slices count, whether a pool is complete, whether it is sound.

A slice is for a node by one of `nodeName`, `allNodes` and `nodeSelector`; with `perDeviceNodeSelection` each device is.

A pool is usable when all slices of its newest generation are there. With as many slices for this node as the pool
should have (`resourceSliceCount`), it is complete without a look at others; otherwise all slices of the pool count, and
any newer generation drops the pool altogether. Incomplete pools are skipped by a count and refused by All; invalid ones
likewise.

Order: by driver, then pool name; pools with `bindingConditions` on any device for this node come last; slices by name;
devices as listed. Slices with shared counters list no devices.

Upstream: `GatherPools` of k8s.io/dynamic-resource-allocation/structured/internal/experimental.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from dra_operator.api.core import Node, NodeSelector
from dra_operator.api.resource import BasicDevice, CounterSet, ResourceSlice
from dra_operator.inventory.devices import Device, PoolKey
from dra_operator.inventory.nodeselector import find_mistake, matches_node_selector

Slices = Mapping[str, ResourceSlice]
Devices = Mapping[str, Mapping[str, Device]]


class PoolGates(NamedTuple):
    """The feature gates that decide which slices are seen. A slice that is not seen is not validated either."""

    partitionable_devices: bool = True
    compatibility_groups: bool = True


class NodeSelectorInvalid(ValueError):
    """A visible slice (or a device of it) has a node selector that cannot be parsed."""


@dataclass(frozen=True, slots=True, eq=False)
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

    @property
    def usable(self) -> bool:
        return not self.incomplete and not self.invalid


@dataclass(frozen=True, slots=True, eq=False)
class NodePools:
    """All pools for one node, and the devices of the usable ones in the order of the search."""

    pools: tuple[Pool, ...] = ()
    devices: tuple[Device, ...] = ()
    pool_of: tuple[Pool, ...] = field(default=(), repr=False)
    """By position of the device."""


def serves_node(node: Node, node_name: str | None, all_nodes: bool | None, selector: NodeSelector | None) -> bool:
    """Whether a slice (or a device that selects nodes itself) is there for the node. Raises NodeSelectorInvalid."""
    if node_name:
        return node.metadata.name == node_name
    if all_nodes:
        return True
    if selector is None:
        return False
    if mistake := find_mistake(selector):
        raise NodeSelectorInvalid(mistake)
    return matches_node_selector(selector, node)


def device_serves(device: BasicDevice, node: Node) -> bool:
    """Whether a device of a perDeviceNodeSelection slice is there for the node. Raises NodeSelectorInvalid."""
    return serves_node(node, device.node_name, device.all_nodes, device.node_selector)


def gather_pools(pools: Mapping[PoolKey, Slices], devices: Devices, node: Node, gates: PoolGates) -> NodePools:
    """`pools` holds all slices by pool and name, `devices` the built devices by slice and device name.

    Raises NodeSelectorInvalid.
    """
    first: list[Pool] = []
    last: list[Pool] = []
    for key in sorted(pools):
        pool = _gather(key, list(pools[key].values()), devices, node, gates)
        if pool is not None:
            binds = any(device.basic.binding_conditions is not None for device in pool.devices)
            (last if binds else first).append(pool)
    ordered = (*first, *last)
    usable = [(pool, device) for pool in ordered if pool.usable for device in pool.devices]
    return NodePools(ordered, tuple(device for _, device in usable), tuple(pool for pool, _ in usable))


def _gather(
    key: PoolKey, slices: Sequence[ResourceSlice], devices: Devices, node: Node, gates: PoolGates
) -> Pool | None:
    # Upstream looks at slices with a nodeName first; the count that the pool should have is the first one's.
    in_order = sorted(slices, key=lambda slice_: not slice_.spec.node_name)
    here = _newest([slice_ for slice_ in in_order if _is_visible(slice_, gates) and _is_for(slice_, node)])
    if not here:
        return None
    others: list[ResourceSlice] = []
    generation, wanted = here[0].spec.pool.generation, here[0].spec.pool.resource_slice_count
    if len(here) != wanted:
        if any(slice_.spec.pool.generation > generation for slice_ in slices):
            return None
        everything = [slice_ for slice_ in slices if slice_.spec.pool.generation == generation]
        if not gates.compatibility_groups:
            everything = [slice_ for slice_ in everything if not _uses_groups(slice_)]
        if len(everything) != wanted:
            return Pool(key, incomplete=True)
        mine = {slice_.metadata.name for slice_ in here}
        others = [slice_ for slice_ in everything if slice_.metadata.name not in mine]
    here.sort(key=lambda slice_: slice_.metadata.name)
    return _build(key, here, others, devices, gates)


def _build(
    key: PoolKey, here: Sequence[ResourceSlice], others: Sequence[ResourceSlice], devices: Devices, gates: PoolGates
) -> Pool:
    usable = tuple(_built(here, devices))
    if name := _first_twice(device.id.device for device in usable):
        return Pool(key, invalid=f"duplicate device name {name}")
    if not gates.partitionable_devices:
        return Pool(key, usable)
    counter_sets = tuple(counter for slice_ in (*here, *others) for counter in slice_.spec.shared_counters or ())
    if name := _first_twice(counter_set.name for counter_set in counter_sets):
        return Pool(key, invalid=f"duplicate counter set name {name}")
    elsewhere = tuple(_built(others, devices))
    if wrong := _unknown_counter(counter_sets, (*usable, *elsewhere)):
        return Pool(key, invalid=wrong)
    return Pool(key, usable, counter_sets=counter_sets, elsewhere=elsewhere)


def _built(slices: Sequence[ResourceSlice], devices: Devices) -> Iterator[Device]:
    for slice_ in slices:
        if not slice_.spec.shared_counters:
            built = devices[slice_.metadata.name]
            for basic in slice_.spec.devices or ():
                yield built[basic.name]


def _newest(slices: Sequence[ResourceSlice]) -> list[ResourceSlice]:
    generation = max((slice_.spec.pool.generation for slice_ in slices), default=0)
    return [slice_ for slice_ in slices if slice_.spec.pool.generation == generation]


def _is_visible(slice_: ResourceSlice, gates: PoolGates) -> bool:
    spec = slice_.spec
    if not gates.partitionable_devices and (spec.per_device_node_selection is not None or spec.shared_counters):
        return False
    return gates.compatibility_groups or not _uses_groups(slice_)


def _uses_groups(slice_: ResourceSlice) -> bool:
    return any(
        consumption.compatibility_groups
        for device in slice_.spec.devices or ()
        for consumption in device.consumes_counters or ()
    )


def _is_for(slice_: ResourceSlice, node: Node) -> bool:
    spec = slice_.spec
    if spec.node_name or spec.all_nodes or spec.node_selector is not None:
        return serves_node(node, spec.node_name, spec.all_nodes, spec.node_selector)
    if spec.per_device_node_selection:
        return any(device_serves(device, node) for device in spec.devices or ())
    return False


def _first_twice(names: Iterable[str]) -> str:
    """The first name that comes again, or nothing."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    return ""


def _unknown_counter(counter_sets: Sequence[CounterSet], devices: Sequence[Device]) -> str:
    """The first counter that a device consumes and nobody provides, in words, or nothing."""
    sets = {counter_set.name: counter_set.counters or {} for counter_set in counter_sets}
    for device in devices:
        for consumption in device.basic.consumes_counters or ():
            provided = sets.get(consumption.counter_set)
            if provided is None:
                return f"counter set {consumption.counter_set} not found"
            for counter in consumption.counters or ():
                if counter not in provided:
                    return f"counter {counter} not found in counter set {consumption.counter_set}"
    return ""
