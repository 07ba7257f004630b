"""The nodes as one ask sees them, remembered over decisions: who refuses, and in which order to try the rest.

Most pods ask for what others asked for before, and most nodes have not changed since. A node that refused is not
searched again until a device or share of a pool it sees is given back, such a pool is published anew, or the node
itself changes. Devices being taken never lets anything fit: that only makes its rank, or the explanation, outdated.

What is remembered is only "no, not here", and how well a node suits. Errors end a decision, and devices are found anew
each time.

Invariant: for every node that is remembered to refuse, `Plan.allocate` would still say `Unschedulable`; every node that
is open has the rank that `Plan.rank` would give it, or is fresh.

Upstream has nothing like it: kube-scheduler searches every node for every pod.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import Counter, OrderedDict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Final, Generic, NamedTuple, TypeVar

from dra_operator.allocation.gauge import Rank
from dra_operator.api.core import Node
from dra_operator.api.resource import DeviceClass
from dra_operator.inventory.changes import Changes
from dra_operator.inventory.inventory import ANY_NODE, Inventory
from dra_operator.inventory.ledger import Ledger
from dra_operator.inventory.nodes import Nodes

F = TypeVar("F", bound=Hashable)
"""A finding: what a node that refused looks like, for the explanation."""

_MAX_MEMORIES: Final = 64
"""Distinct asks. At 5,000 nodes one takes about half a megabyte."""


class _Moment(NamedTuple):
    """What a memory has caught up with."""

    inventory: int
    ledger: int
    nodes: int


class Memory(Generic[F]):
    """What is known about the nodes for one ask.

    A node is *fresh* until it is ranked, then *open* until it refuses. Without ranks nodes are open at once, in the
    order of their names.
    """

    __slots__ = ("_findings", "_fresh", "_open", "_ranked", "_ranks", "_refused", "_unexplained", "classes", "moment")

    def __init__(self, classes: Sequence[DeviceClass], nodes: Iterable[str], moment: _Moment, *, ranked: bool) -> None:
        self.classes = classes
        self.moment = moment
        self._ranked = ranked
        self._fresh: dict[str, None] = {}
        self._open: list[tuple[Rank, str]] = []
        self._ranks: dict[str, Rank] = {}
        self._refused: dict[str, F | None] = {}
        self._unexplained: dict[str, None] = {}
        self._findings: Counter[F] = Counter()
        for name in sorted(nodes):
            self.admit(name)

    # --- who may be tried --------------------------------------------------------------------------------------------

    def open(self, position: int) -> str | None:
        """The open node at that place in the order, best first; None behind the last."""
        return self._open[position][1] if position < len(self._open) else None

    def fresh(self) -> list[str]:
        """The nodes that have no rank yet."""
        return list(self._fresh)

    def is_refused(self, name: str) -> bool:
        return name in self._refused

    def rank(self, name: str, rank: Rank) -> None:
        """The fresh node suits so well."""
        self._fresh.pop(name, None)
        self._close(name)
        self._ranks[name] = rank
        insort(self._open, (rank, name))

    def rank_of(self, name: str) -> Rank | None:
        """The rank of an open node, if nodes are ranked."""
        return self._ranks.get(name) if self._ranked else None

    def refuse(self, name: str) -> None:
        """The node has no devices for the ask."""
        self._fresh.pop(name, None)
        self._close(name)
        if name not in self._refused:
            self._refused[name] = None
            self._unexplained[name] = None

    # --- what happens to nodes ---------------------------------------------------------------------------------------

    def admit(self, name: str) -> None:
        """The node is new, or may have devices now."""
        self.outdate(name)
        self._refused.pop(name, None)
        self._unexplained.pop(name, None)
        if self._ranked:
            self._close(name)
            self._fresh[name] = None
        elif name not in self._ranks:
            self.rank(name, ())

    def forget(self, name: str) -> None:
        """The node is gone."""
        self.outdate(name)
        self._refused.pop(name, None)
        self._unexplained.pop(name, None)
        self._fresh.pop(name, None)
        self._close(name)

    def note_taken(self, name: str) -> None:
        """The node has less than before: it refuses as before, and may suit better or worse."""
        if name in self._refused:
            self.outdate(name)
        elif self._ranked:
            self.admit(name)

    def outdate(self, name: str) -> None:
        """If the node refuses, it looks different now."""
        finding = self._refused.get(name)
        if finding is not None:
            self._findings[finding] -= 1
            if not self._findings[finding]:
                del self._findings[finding]
            self._refused[name] = None
            self._unexplained[name] = None

    def _close(self, name: str) -> None:
        rank = self._ranks.pop(name, None)
        if rank is not None:
            del self._open[bisect_left(self._open, (rank, name))]

    # --- for the explanation -----------------------------------------------------------------------------------------

    def unexplained(self) -> list[str]:
        """The nodes that refuse, and nobody looked why."""
        return list(self._unexplained)

    def explain(self, name: str, finding: F) -> None:
        """This is why the node refuses."""
        self.outdate(name)
        self._unexplained.pop(name, None)
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
        self._seen = (0, -1)
        self._node_changes: Changes[str] = Changes()
        self._node_version = 0

    def recall(
        self,
        key: bytes,
        classes: Sequence[DeviceClass],
        nodes: Mapping[str, Node],
        inventory: Inventory,
        ledger: Ledger,
        *,
        ranked: bool = False,
    ) -> Memory[F]:
        """What is known about the nodes for an ask, up to date. `key` stands for it, `classes` are those it names."""
        self._look_at(nodes)
        now = _Moment(inventory.version, ledger.version, self._node_version)
        memory = self._memories.get(key)
        if memory is None or not _same(memory.classes, classes) or not self._catch_up(memory, nodes, inventory, ledger):
            memory = self._memories[key] = Memory(classes, nodes, now, ranked=ranked)
            if len(self._memories) > _MAX_MEMORIES:
                self._memories.popitem(last=False)
        self._memories.move_to_end(key)
        memory.moment = now
        return memory

    def _look_at(self, nodes: Mapping[str, Node]) -> None:
        """Notice nodes that came, went or changed in what devices depend on."""
        if isinstance(nodes, Nodes):
            seen = id(nodes), nodes.version
            if seen == self._seen:
                return
            self._seen = seen
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
        better = inventory.nodes_seeing(released)
        other = inventory.nodes_seeing(taken)
        if better is None or other is None or ANY_NODE in published:
            return False
        for name in changed:
            if name in nodes:
                memory.admit(name)
            else:
                memory.forget(name)
        for name in better | published:
            if name in nodes:
                memory.admit(name)
        for name in other - better:
            if name in nodes:
                memory.note_taken(name)
        return True


def _same(one: Sequence[DeviceClass], other: Sequence[DeviceClass]) -> bool:
    return len(one) == len(other) and all(mine is theirs for mine, theirs in zip(one, other, strict=True))


def _looks_alike(one: Node, other: Node) -> bool:
    return (
        one.metadata.labels == other.metadata.labels and one.status.declared_features == other.status.declared_features
    )
