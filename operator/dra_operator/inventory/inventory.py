"""All published ResourceSlices, kept by pool and by node as they come and go.

`version` grows with every change that could matter; an identical slice changes nothing. Devices are built once per
version of a slice, so what is cached on a Device (selector results) stays valid as long as its slice does.

Upstream: the slice informer and tracker of k8s.io/dynamic-resource-allocation/resourceslice.
"""

from __future__ import annotations

from collections.abc import Iterator

from dra_operator.api.core import Node
from dra_operator.api.resource import ResourceSlice
from dra_operator.inventory.devices import Device, DeviceId, PoolKey
from dra_operator.inventory.pools import Pool, gather_pools


class Inventory:
    """See the module."""

    def __init__(self) -> None:
        self.version = 0
        self._slices: dict[str, ResourceSlice] = {}
        self._devices: dict[str, dict[str, Device]] = {}
        self._pools: dict[PoolKey, dict[str, ResourceSlice]] = {}
        self._pool_versions: dict[PoolKey, int] = {}
        self._by_node: dict[str, set[PoolKey]] = {}
        self._seen_from: dict[PoolKey, set[str]] = {}
        self._anywhere: set[PoolKey] = set()
        self._gathered: dict[str, tuple[Node, tuple[tuple[PoolKey, int], ...], tuple[Pool, ...]]] = {}

    def apply_slice(self, slice_: ResourceSlice) -> None:
        """The slice is published like this now."""
        name = slice_.metadata.name
        old = self._slices.get(name)
        if old is not None:
            if old.spec == slice_.spec:
                return
            self.remove_slice(name)
        key = PoolKey(slice_.spec.driver, slice_.spec.pool.name)
        self._slices[name] = slice_
        self._devices[name] = {basic.name: Device(slice_, basic) for basic in slice_.spec.devices or ()}
        self._pools.setdefault(key, {})[name] = slice_
        self._touch(key)

    def remove_slice(self, name: str) -> None:
        """The slice is published no more."""
        slice_ = self._slices.pop(name, None)
        if slice_ is None:
            return
        del self._devices[name]
        key = PoolKey(slice_.spec.driver, slice_.spec.pool.name)
        del self._pools[key][name]
        if not self._pools[key]:
            del self._pools[key]
        self._touch(key)

    def slices(self) -> Iterator[ResourceSlice]:
        return iter(self._slices.values())

    def devices(self) -> Iterator[Device]:
        """Every published device, of any generation."""
        for devices in self._devices.values():
            yield from devices.values()

    def device(self, id_: DeviceId) -> Device | None:
        """The device as its pool's newest slice lists it."""
        found: Device | None = None
        for name in self._pools.get(PoolKey(id_.driver, id_.pool), ()):
            device = self._devices[name].get(id_.device)
            if device is not None and (
                found is None or device.slice.spec.pool.generation > found.slice.spec.pool.generation
            ):
                found = device
        return found

    def pools(self, node: Node) -> tuple[Pool, ...]:
        """The pools that have devices for the node, in the allocator's order. Remembered until one of them changes."""
        keys = sorted(self._by_node.get(node.metadata.name, set()) | self._anywhere)
        state = tuple((key, self._pool_versions[key]) for key in keys)
        known = self._gathered.get(node.metadata.name)
        if known is not None and known[0] is node and known[1] == state:
            return known[2]
        pools = gather_pools({key: self._pools[key] for key in keys if key in self._pools}, self._devices, node)
        self._gathered[node.metadata.name] = (node, state, pools)
        return pools

    def _touch(self, key: PoolKey) -> None:
        """A slice of the pool came or went: where the pool is seen from may have changed."""
        self.version += 1
        self._pool_versions[key] = self.version
        for node in self._seen_from.pop(key, ()):
            self._by_node[node].discard(key)
        self._anywhere.discard(key)
        for slice_ in self._pools.get(key, {}).values():
            if slice_.spec.node_name:
                self._by_node.setdefault(slice_.spec.node_name, set()).add(key)
                self._seen_from.setdefault(key, set()).add(slice_.spec.node_name)
            else:
                self._anywhere.add(key)
