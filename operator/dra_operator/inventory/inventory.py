"""All published ResourceSlices, kept by pool and by node as they come and go.

`version` grows with every change that could matter; an identical slice changes nothing. Devices are built once per
version of a slice, so what is cached on a Device (selector results) stays valid as long as its slice does. Slices are
shown with the taints that DeviceTaintRules add to them (`taintrules.py`).

Upstream: the slice informer and tracker of k8s.io/dynamic-resource-allocation/resourceslice.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Set
from dataclasses import dataclass
from typing import Final

from dra_operator.api.core import Node
from dra_operator.api.resource import DeviceTaintRule, ResourceSlice
from dra_operator.inventory.changes import Changes
from dra_operator.inventory.devices import Device, DeviceId, PoolKey
from dra_operator.inventory.pools import NodePools, NodeSelectorInvalid, PoolGates, gather_pools
from dra_operator.inventory.taintrules import TaintRules, names_pool

_ALL_GATES = PoolGates()
_NOWHERE: Set[str] = frozenset()
ANY_NODE: Final = ""
_MAX_GATHERED = 20_000


@dataclass(slots=True)
class _Gathered:
    """The pools of a node, and what they were gathered from."""

    node: Node
    state: tuple[tuple[PoolKey, int], ...]
    pools: NodePools | NodeSelectorInvalid
    checked: int
    """The version of the inventory at which this was last known to be right."""


class Inventory:
    """See the module."""

    def __init__(self) -> None:
        self.version = 0
        self.changes: Changes[str] = Changes()
        """Nodes whose pools were published anew or withdrawn; `ANY_NODE` for a pool that names none."""
        self._published: dict[str, ResourceSlice] = {}
        """As their drivers have them."""
        self._rules = TaintRules()
        self._slices: dict[str, ResourceSlice] = {}
        self._devices: dict[str, dict[str, Device]] = {}
        self._tainted: dict[str, tuple[Device, ...]] = {}
        """By slice, its devices that have taints; only slices that have some."""
        self._pools: dict[PoolKey, dict[str, ResourceSlice]] = {}
        self._pool_versions: dict[PoolKey, int] = {}
        self._by_node: dict[str, set[PoolKey]] = {}
        self._seen_from: dict[PoolKey, set[str]] = {}
        self._anywhere: set[PoolKey] = set()
        self._gathered: dict[tuple[str, PoolGates], _Gathered] = {}

    def apply_slice(self, slice_: ResourceSlice) -> None:
        """The slice is published like this now."""
        self._published[slice_.metadata.name] = slice_
        self._show(self._rules.taint(slice_))

    def remove_slice(self, name: str) -> None:
        """The slice is published no more."""
        if self._published.pop(name, None) is not None:
            self._hide(name)

    def apply_rule(self, rule: DeviceTaintRule) -> Iterator[None]:
        """Devices are tainted by this rule now. Driven slice by slice: it may name every device of the cluster."""
        before = self._rules.get(rule.metadata.name)
        if before is None or before.spec != rule.spec:
            self._rules.put(rule)
            yield from self._taint_anew(before, rule)

    def remove_rule(self, name: str) -> Iterator[None]:
        """Devices are tainted by the rule no more. Driven as `apply_rule`."""
        before = self._rules.get(name)
        self._rules.remove(name)
        yield from self._taint_anew(before)

    def rules(self) -> list[str]:
        """The names of the rules."""
        return self._rules.names()

    def _taint_anew(self, *changed: DeviceTaintRule | None) -> Iterator[None]:
        """What these rules name, or named, has other taints now."""
        for name in list(self._published):
            slice_ = self._published.get(name)  # meanwhile it may be withdrawn
            if slice_ is not None and any(rule is not None and names_pool(rule, slice_) for rule in changed):
                self._show(self._rules.taint(slice_))
            yield

    def _show(self, slice_: ResourceSlice) -> None:
        name = slice_.metadata.name
        old = self._slices.get(name)
        if old is not None:
            if old.spec == slice_.spec:
                return
            self._hide(name)
        key = PoolKey(slice_.spec.driver, slice_.spec.pool.name)
        self._slices[name] = slice_
        self._devices[name] = {basic.name: Device(slice_, basic) for basic in slice_.spec.devices or ()}
        if tainted := tuple(device for device in self._devices[name].values() if device.taints):
            self._tainted[name] = tainted
        self._pools.setdefault(key, {})[name] = slice_
        self._touch(key)

    def _hide(self, name: str) -> None:
        slice_ = self._slices.pop(name)
        del self._devices[name]
        self._tainted.pop(name, None)
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

    def tainted(self) -> Iterator[Device]:
        """Every published device that has a taint, of any generation. Asked often, so no other is looked at."""
        for devices in self._tainted.values():
            yield from devices

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

    @property
    def drivers(self) -> frozenset[str]:
        return frozenset(key.driver for key in self._pools)

    def pools(self, node: Node, gates: PoolGates = _ALL_GATES) -> NodePools:
        """The pools that have devices for the node, in the allocator's order. Remembered until one of them changes.

        Raises NodeSelectorInvalid.
        """
        name = node.metadata.name
        known = self._gathered.get((name, gates))
        if known is None or known.node is not node or known.checked != self.version:
            keys = self._by_node.get(name, set()) | self._anywhere
            state = tuple((key, self._pool_versions[key]) for key in sorted(keys))
            if known is not None and known.node.metadata.labels == node.metadata.labels:
                known.node = node  # selectors of slices look at nothing else: a heartbeat changes no pool
            if known is None or known.node is not node or known.state != state:
                if len(self._gathered) >= _MAX_GATHERED:
                    self._gathered.clear()  # nodes come and go; nobody tells which have gone
                known = self._gathered[name, gates] = _Gathered(node, state, self._gather(node, state, gates), 0)
            known.checked = self.version
        if isinstance(known.pools, NodeSelectorInvalid):
            raise known.pools.with_traceback(None)
        return known.pools

    def nodes_of(self, pool: PoolKey) -> Set[str] | None:
        """The nodes for which the pool has slices; None if that may be any node."""
        return None if pool in self._anywhere else self._seen_from.get(pool, _NOWHERE)

    def nodes_seeing(self, pools: Iterable[PoolKey]) -> set[str] | None:
        """The nodes that see one of the pools; None if that may be any node."""
        names: set[str] = set()
        for pool in pools:
            nodes = self.nodes_of(pool)
            if nodes is None:
                return None
            names |= nodes
        return names

    @property
    def is_local(self) -> bool:
        """Whether every pool belongs to nodes that it names."""
        return not self._anywhere

    def _gather(
        self, node: Node, state: tuple[tuple[PoolKey, int], ...], gates: PoolGates
    ) -> NodePools | NodeSelectorInvalid:
        try:
            return gather_pools({key: self._pools[key] for key, _ in state}, self._devices, node, gates)
        except NodeSelectorInvalid as error:
            return error

    def _touch(self, key: PoolKey) -> None:
        """A slice of the pool came or went: where the pool is seen from may have changed."""
        self.version += 1
        self._pool_versions[key] = self.version
        nodes = self._seen_from.pop(key, set())
        for node in nodes:
            self._by_node[node].discard(key)
        if key in self._anywhere:
            self._anywhere.discard(key)
            nodes.add(ANY_NODE)
        for slice_ in self._pools.get(key, {}).values():
            node = slice_.spec.node_name or ANY_NODE
            nodes.add(node)
            if node == ANY_NODE:
                self._anywhere.add(key)
            else:
                self._by_node.setdefault(node, set()).add(key)
                self._seen_from.setdefault(key, set()).add(node)
        for node in nodes:
            self.changes.note(self.version, node)
