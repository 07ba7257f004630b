"""The devices of one node as the search needs them, and what is free of them now.

A site outlives decisions: what follows from the devices alone (matches, groups by attribute) stays as long as the
node's pools stay, and what follows from the ledger (what is free, which counters are left) is worked out anew only
when something of the node's pools was taken or given back.

Invariant: a site that `Sites.of` returns agrees with inventory and ledger as they are at that moment.

Upstream builds all of this anew for each pod (`NewAllocator`) and each node (`GatherPools`).
"""

from __future__ import annotations

from typing import Final, NamedTuple

from dra_operator.allocation.capacity import Share, find_share
from dra_operator.allocation.constraints import Groups, scalar_of, values_of
from dra_operator.allocation.counters import Book, Totals
from dra_operator.allocation.features import Features
from dra_operator.allocation.matching import Bits, Match, match, positions
from dra_operator.allocation.outcome import Abort
from dra_operator.allocation.reach import is_ambiguous
from dra_operator.allocation.requests import Alternative, Question
from dra_operator.api.core import Node
from dra_operator.api.quantity import Quantity
from dra_operator.inventory.devices import DeviceId, PoolKey
from dra_operator.inventory.inventory import Inventory
from dra_operator.inventory.ledger import Ledger
from dra_operator.inventory.pools import NodePools, Pool, PoolGates

_MAX_SITES: Final = 20_000
_MAX_BLOCKED: Final = 1_000
_MAX_QUESTIONS: Final = 64
"""Distinct ones that a site remembers its answers to."""


class Room(NamedTuple):
    """What capacity says about the devices, for one request."""

    capable: Bits
    """They have enough when all is free."""
    enough: Bits
    """They have enough left."""
    failed: Bits
    """It cannot be computed."""


class Site:
    """See the module. Positions are those of `devices`."""

    __slots__ = (
        "_alike",
        "_blocked_by",
        "_books",
        "_counted_of",
        "_features",
        "_groups",
        "_ledger",
        "_matches",
        "_rooms",
        "_sets",
        "_shares",
        "_totals",
        "ambiguous",
        "broken",
        "counted",
        "devices",
        "free",
        "is_by_value",
        "listed",
        "node",
        "pool_of",
        "pools",
        "readings",
        "shareable",
        "shared",
        "source",
        "special",
        "stale",
        "used",
    )

    def __init__(self, node: Node, source: NodePools, ledger: Ledger, features: Features, *, by_value: bool) -> None:
        self.node = node
        self.source = source
        self.pools = source.pools
        self.is_by_value = by_value
        order = list(range(len(source.devices)))
        if by_value:
            order.sort(key=lambda position: source.devices[position].value)
        self.listed = sorted(range(len(order)), key=order.__getitem__)
        """Positions in the order in which the slices list the devices."""
        self.devices = tuple(source.devices[position] for position in order)
        self.pool_of = tuple(source.pool_of[position] for position in order)
        self._ledger = ledger
        self._features = features
        self._matches: dict[Question, Match] = {}
        self._groups: dict[str, dict[tuple[str, bool | int | str], Bits]] = {}
        self._totals: dict[PoolKey, Totals] = {}
        self._shares: dict[tuple[tuple[str, Quantity], ...], tuple[tuple[Share | None, ...], Bits]] = {}
        self._rooms: dict[tuple[tuple[str, Quantity], ...], Room] = {}
        self._alike: dict[int, Bits] = {}
        for position, device in enumerate(self.devices):
            self._alike[device.value] = self._alike.get(device.value, 0) | 1 << position
        self.ambiguous = any(map(is_ambiguous, self.devices))
        """Whether a device could not be written into an allocation: which one is chosen decides about an error."""
        self.counted: Bits = 0
        """Devices that draw on counters."""
        self.shareable: Bits = 0
        self.special: Bits = 0
        """Devices whose capacity has to be looked at even by those who ask for none."""
        for position, device in enumerate(self.devices):
            if device.basic.consumes_counters and features.partitionable_devices:
                self.counted |= 1 << position
            if device.allow_multiple_allocations and features.consumable_capacity:
                self.shareable |= 1 << position
            if features.consumable_capacity and (device.allow_multiple_allocations or not device.has_plain_capacity):
                self.special |= 1 << position
        self._counted_of: dict[PoolKey, Bits] = {}
        self._sets: list[tuple[Pool, dict[str, Bits]]] = []
        """The pools with counters, and the devices that draw on each of their counter sets."""
        self._index_counters()
        self.free: Bits = 0
        """Devices that nobody holds, and whose counters (if they draw on any) would suffice."""
        self.used: Bits = 0
        """Devices that somebody holds."""
        self.shared: Bits = 0
        """Devices of which somebody has a share."""
        self.broken: Bits = 0
        """Devices that draw on a counter set of which something is used."""
        self._books: dict[PoolKey, Book] = {}
        self._blocked_by: dict[tuple[PoolKey, str, Bits], Bits] = {}
        self.stale = True
        self.readings = 0
        """How often the ledger was read: between two, all is the same."""

    def _index_counters(self) -> None:
        sets: dict[PoolKey, dict[str, Bits]] = {}
        for position in positions(self.counted):
            pool, bit = self.pool_of[position], 1 << position
            if pool.key not in sets:
                self._sets.append((pool, sets.setdefault(pool.key, {})))
            self._counted_of[pool.key] = self._counted_of.get(pool.key, 0) | bit
            of_pool = sets[pool.key]
            for (name, _), _ in self.devices[position].counters:
                of_pool[name] = of_pool.get(name, 0) | bit

    @property
    def everything(self) -> Bits:
        return (1 << len(self.devices)) - 1

    @property
    def is_sound(self) -> bool:
        """Whether no pool is incomplete or invalid."""
        return all(pool.usable for pool in self.pools)

    # --- what never changes ------------------------------------------------------------------------------------------

    def match(self, alternative: Alternative) -> Match:
        """What the request would take of the devices."""
        known = self._matches.get(alternative.question)
        if known is None:
            if len(self._matches) >= _MAX_QUESTIONS:
                self._matches.clear()
            answer = match(alternative, self.devices, self.node, self._features)
            known = self._matches[alternative.question] = _ANSWERS.setdefault(answer, answer)
            if len(_ANSWERS) > _MAX_ANSWERS:
                _ANSWERS.clear()
        return known

    def groups(self, attribute: str) -> Groups:
        """The devices by each value of the attribute."""
        known = self._groups.get(attribute)
        if known is None:
            known = self._groups[attribute] = {}
            read = values_of if self._features.list_type_attributes else scalar_of
            for position, device in enumerate(self.devices):
                found = device.attribute(attribute)
                for value in () if found is None else read(found):
                    known[value] = known.get(value, 0) | 1 << position
        return known

    def sharing_counters(self, position: int) -> Bits:
        """The devices that draw on a counter set on which this one draws."""
        bits = 0
        for pool, sets in self._sets:
            if pool is self.pool_of[position]:
                for (name, _), _ in self.devices[position].counters:
                    bits |= sets[name]
        return bits

    def alike(self, bits: Bits) -> Bits:
        """Those of the devices that are worth as much as the first of them."""
        return bits & self._alike[self.devices[(bits & -bits).bit_length() - 1].value]

    # --- what the ledger says ----------------------------------------------------------------------------------------

    def is_in_use(self, device: DeviceId) -> bool:
        """Whether an allocated claim has the device or a share of it."""
        return self._ledger.is_held(device) or self._ledger.is_shared(device)

    def room(self, alternative: Alternative) -> Room:
        """Which devices have the capacity that the request asks for."""
        if not self._features.consumable_capacity:
            return Room(~0, ~0, 0)
        known = self._rooms.get(alternative.amounts)
        if known is None:
            known = self._rooms[alternative.amounts] = self._read_room(alternative)
        return known

    def _read_room(self, alternative: Alternative) -> Room:
        capable = enough = ~0
        looked_at = self.everything if alternative.amounts else self.special | self.shared
        if not looked_at:
            return Room(~0, ~0, 0)
        shares, failed = self._shares_for(alternative)
        for position in positions(looked_at):
            share, bit = shares[position], 1 << position
            if share is None:
                capable &= ~bit
                enough &= ~bit
            elif not share.fits(self._ledger.consumed(self.devices[position].id)):
                enough &= ~bit
        return Room(capable | failed, enough, failed & looked_at)

    def _shares_for(self, alternative: Alternative) -> tuple[tuple[Share | None, ...], Bits]:
        """What a share takes of each device, and the devices for which that cannot be computed."""
        known = self._shares.get(alternative.amounts)
        if known is None:
            if len(self._shares) >= _MAX_QUESTIONS:
                self._shares.clear()
            fractional, failed = self._features.fractional_capacity_range, 0
            shares: list[Share | None] = []
            for position, device in enumerate(self.devices):
                try:
                    shares.append(find_share(device, alternative.amounts, fractional=fractional))
                except Abort:
                    shares.append(None)
                    failed |= 1 << position
            known = self._shares[alternative.amounts] = (tuple(shares), failed)
        return known

    def refresh(self) -> None:
        """Read the ledger."""
        self.readings += 1
        self._rooms.clear()
        self._books.clear()
        held, shares = self._ledger.held, self._ledger.shared
        free = shared = 0
        bit = 1
        for device in self.devices:
            if device.id not in held:
                free |= bit
            if shares and device.id in shares:
                shared |= bit
            bit <<= 1
        self.used = self.everything & ~free
        if not self._features.consumable_capacity:
            free &= ~shared  # without the gate a share is the whole device
        self.free, self.shared, self.broken = free, shared, 0
        if self.counted:
            self._count()
        self.stale = False

    def _count(self) -> None:
        """Leave the devices that would overdraw a counter out of what is free.

        Counters belong to one set each, so a set is worked out for each way in which its devices were ever in use.
        """
        in_use = (self.used | self.shared) & self.counted
        paid = self.shared & self.shareable
        for pool, sets in self._sets:
            elsewhere = any(self.is_in_use(device.id) for device in self.totals(pool).elsewhere)
            blocked = self._counted_of[pool.key] if elsewhere and self.book(pool).overdrawn else 0
            for name, bits in sets.items():
                using = in_use & bits
                if using:
                    self.broken |= bits
                blocked |= self._blocked(pool, name, bits, using) if not elsewhere else self._crowded_out(pool, bits)
            self.free &= ~blocked | paid

    def _blocked(self, pool: Pool, name: str, bits: Bits, using: Bits) -> Bits:
        """The devices that find too little in the counter set beside those that use it; all of the pool if these do."""
        known = self._blocked_by.get((pool.key, name, using))
        if known is None:
            if len(self._blocked_by) >= _MAX_BLOCKED:
                self._blocked_by.clear()
            devices = [self.devices[position] for position in positions(using)]
            book = Book.of(self.totals(pool), devices, only=name)
            known = self._counted_of[pool.key] if book.overdrawn else self._without_room(book, bits, only=name)
            self._blocked_by[pool.key, name, using] = known
        return known

    def _crowded_out(self, pool: Pool, bits: Bits) -> Bits:
        return self._without_room(self.book(pool), bits)

    def _without_room(self, book: Book, bits: Bits, only: str | None = None) -> Bits:
        return sum(1 << position for position in positions(bits) if not book.has_room(self.devices[position], only))

    def totals(self, pool: Pool) -> Totals:
        """What the counter sets of the pool list."""
        known = self._totals.get(pool.key)
        if known is None:
            known = self._totals[pool.key] = Totals(pool)
        return known

    def book(self, pool: Pool) -> Book:
        """What is left of the pool's counters."""
        known = self._books.get(pool.key)
        if known is None:
            totals = self.totals(pool)
            bits = (self.used | self.shared) & self._counted_of[pool.key]
            in_use = [self.devices[position] for position in positions(bits)]
            in_use += [device for device in totals.elsewhere if self.is_in_use(device.id)]
            known = self._books[pool.key] = Book.of(totals, in_use)
        return known


class Sites:
    """The sites of all nodes, kept up to date."""

    def __init__(self) -> None:
        self._sites: dict[tuple[str, bool], Site] = {}
        self._seen = -1

    def of(
        self, node: Node, inventory: Inventory, ledger: Ledger, features: Features, *, by_value: bool = False
    ) -> Site:
        """The node's site. `by_value`: the least valuable devices first. Raises NodeSelectorInvalid."""
        if self._seen != ledger.version:
            self._catch_up(inventory, ledger)
        gates = PoolGates(features.partitionable_devices, features.compatibility_groups)
        pools = inventory.pools(node, gates)
        key = node.metadata.name, by_value
        site = self._sites.get(key)
        if site is None or site.source is not pools or not _serves_as(site.node, node):
            if len(self._sites) >= _MAX_SITES:
                self._sites.clear()
            site = self._sites[key] = Site(node, pools, ledger, features, by_value=by_value)
        elif site.node is not node:
            site.node = node
        if site.stale:
            site.refresh()
        return site

    def _catch_up(self, inventory: Inventory, ledger: Ledger) -> None:
        changed = ledger.changes.since(self._seen)
        self._seen = ledger.version
        names = None if changed is None else inventory.nodes_seeing(changed)
        if names is None:
            for site in self._sites.values():
                site.stale = True
            return
        for name in names:
            for by_value in (False, True):
                site_ = self._sites.get((name, by_value))
                if site_ is not None:
                    site_.stale = True


def _serves_as(known: Node, node: Node) -> bool:
    """Whether devices depend on nothing in which the two versions of a node differ."""
    if known is node:
        return True
    same_features = known.status.declared_features == node.status.declared_features
    return same_features and known.metadata.labels == node.metadata.labels


_MAX_ANSWERS: Final = 100_000
_ANSWERS: dict[Match, Match] = {}
"""One object for equal answers: most nodes of a cluster look the same."""
