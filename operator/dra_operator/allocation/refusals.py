"""The nodes that had no devices for a plan, remembered until something there could have changed that.

Most pods ask for what others asked for before, and most nodes have not changed since. A node that refused is not
searched again until a device or share of a pool it sees is given back, such a pool is published anew, or the node
itself changes. Devices being taken never lets anything fit: that only makes the explanation outdated.

What is remembered is only "no, not here". Errors end a decision, and devices are found anew each time.

Invariant: for every node that is remembered, `Plan.allocate` would still say `Unschedulable`.

Upstream has nothing like it: kube-scheduler searches every node for every pod. DESIGN: "work shared across nodes and
pods".
"""

from __future__ import annotations

from bisect import insort
from collections import Counter, OrderedDict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Final, Generic, NamedTuple, TypeVar

from dra_operator.api.codec import encode
from dra_operator.api.core import Node
from dra_operator.api.resource import DeviceClass, ResourceClaim
from dra_operator.inventory.changes import Changes
from dra_operator.inventory.devices import PoolKey
from dra_operator.inventory.inventory import ANY_NODE, Inventory
from dra_operator.inventory.ledger import Ledger

F = TypeVar("F", bound=Hashable)
"""A finding: what a node that refused looks like, for the explanation."""

_MAX_MEMORIES: Final = 32
"""Distinct asks. At 5,000 nodes one takes about half a megabyte."""


class _Moment(NamedTuple):
    """What a memory has caught up with."""

    inventory: int
    ledger: int
    nodes: int


class Memory(Generic[F]):
    """What is known about the nodes for one ask. Nodes are *open* until they refuse."""

    __slots__ = ("_findings", "_open", "_refused", "classes", "moment")

    def __init__(self, classes: Sequence[DeviceClass], nodes: Iterable[str], moment: _Moment) -> None:
        self.classes = classes
        self.moment = moment
        self._open = sorted(nodes)
        self._refused: dict[str, F | None] = {}
        self._findings: Counter[F] = Counter()

    def open(self) -> tuple[str, ...]:
        """The nodes that have to be searched, in order of their names."""
        return tuple(self._open)

    def is_refused(self, name: str) -> bool:
        return name in self._refused

    def refuse(self, name: str) -> None:
        """The node has no devices for the ask."""
        if name not in self._refused:
            self._open.remove(name)
            self._refused[name] = None

    def reopen(self, name: str) -> None:
        """The node may have devices now."""
        if name in self._refused:
            self.outdate(name)
            del self._refused[name]
            insort(self._open, name)

    def admit(self, name: str) -> None:
        """The node is new."""
        if name not in self._refused and name not in self._open:
            insort(self._open, name)

    def forget(self, name: str) -> None:
        """The node is gone."""
        self.reopen(name)
        if name in self._open:
            self._open.remove(name)

    def outdate(self, name: str) -> None:
        """The node still refuses, but looks different now."""
        finding = self._refused.get(name)
        if finding is not None:
            self._findings[finding] -= 1
            if not self._findings[finding]:
                del self._findings[finding]
            self._refused[name] = None

    # --- for the explanation -----------------------------------------------------------------------------------------

    def unexplained(self) -> list[str]:
        """The nodes that refuse, and nobody looked why."""
        return [name for name, finding in self._refused.items() if finding is None]

    def explain(self, name: str, finding: F) -> None:
        """This is why the node refuses."""
        self.outdate(name)
        self._refused[name] = finding
        self._findings[finding] += 1

    @property
    def findings(self) -> Mapping[F, int]:
        """How many nodes look like that."""
        return self._findings


class Refusals(Generic[F]):
    """A `Memory` for each of the asks that came last."""

    def __init__(self) -> None:
        self._memories: OrderedDict[bytes, Memory[F]] = OrderedDict()
        self._nodes: list[Node] = []
        self._node_changes: Changes[str] = Changes()
        self._node_version = 0

    def recall(
        self,
        claims: Sequence[ResourceClaim],
        classes: Sequence[DeviceClass],
        nodes: Mapping[str, Node],
        inventory: Inventory,
        ledger: Ledger,
    ) -> Memory[F]:
        """What is known about the nodes for claims like these, up to date. `classes` are those they resolve to."""
        self._look_at(nodes)
        now = _Moment(inventory.version, ledger.version, self._node_version)
        key = encode([claim.spec for claim in claims])
        memory = self._memories.get(key)
        if memory is None or not _same(memory.classes, classes) or not self._catch_up(memory, nodes, inventory, ledger):
            memory = self._memories[key] = Memory(classes, nodes, now)
            if len(self._memories) > _MAX_MEMORIES:
                self._memories.popitem(last=False)
        self._memories.move_to_end(key)
        memory.moment = now
        return memory

    def _look_at(self, nodes: Mapping[str, Node]) -> None:
        """Notice nodes that came, went or changed in what devices depend on."""
        current = list(nodes.values())
        if current == self._nodes:  # compares identities first: 5,000 nodes cost 0.1 ms
            return
        before = {node.metadata.name: node for node in self._nodes}
        self._nodes = current
        self._node_version += 1
        for name in before.keys() - nodes.keys():
            self._node_changes.note(self._node_version, name)
        for name, node in nodes.items():
            known = before.get(name)
            if known is None or (known is not node and not _looks_alike(known, node)):
                self._node_changes.note(self._node_version, name)

    def _catch_up(self, memory: Memory[F], nodes: Mapping[str, Node], inventory: Inventory, ledger: Ledger) -> bool:
        """Apply what happened since the memory was used last. False if that cannot be told: it has to start anew."""
        changed = self._node_changes.since(memory.moment.nodes)
        published = inventory.changes.since(memory.moment.inventory)
        released = ledger.releases.since(memory.moment.ledger)
        taken = ledger.changes.since(memory.moment.ledger)
        if changed is None or published is None or released is None or taken is None:
            return False
        for name in changed:
            if name in nodes:
                memory.reopen(name)
                memory.admit(name)
            else:
                memory.forget(name)
        better = _seen_from(released, inventory)
        other = _seen_from(taken, inventory)
        if better is None or other is None or ANY_NODE in published:
            return False
        for name in better | published:
            memory.reopen(name)
        for name in other:
            memory.outdate(name)
        return True


def _seen_from(pools: Iterable[PoolKey], inventory: Inventory) -> set[str] | None:
    """The nodes that see one of the pools; None if that may be any node."""
    names: set[str] = set()
    for pool in pools:
        nodes = inventory.nodes_of(pool)
        if nodes is None:
            return None
        names |= nodes
    return names


def _same(one: Sequence[DeviceClass], other: Sequence[DeviceClass]) -> bool:
    return len(one) == len(other) and all(mine is theirs for mine, theirs in zip(one, other, strict=True))


def _looks_alike(one: Node, other: Node) -> bool:
    return (
        one.metadata.labels == other.metadata.labels and one.status.declared_features == other.status.declared_features
    )
