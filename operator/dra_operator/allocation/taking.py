"""Taking devices in one search and giving them back: in use, counters, groups, taints, constraints, capacity.

What can fail runs in upstream's order. A device that is taken is marked with its claim; one that allows multiple
allocations is not marked, but what its shares consume adds up. Admin access ignores what others use, and marks the
device all the same for the rest of the search; it pays counters and capacity.

Invariant: `take()` that returns None changed nothing; after `Taken.undo()` all is as before the `take()`. (One that
raises `Abort` may leave traces: the search is over then.)

Upstream: `allocateDevice` and `rollbackDevice` of structured/internal/experimental.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from dra_operator.allocation.capacity import Share, find_share
from dra_operator.allocation.compatibility import Compatibility
from dra_operator.allocation.constraints import Constraint, Undo
from dra_operator.allocation.counters import Counters
from dra_operator.allocation.features import Features
from dra_operator.allocation.matching import Bits
from dra_operator.allocation.outcome import Abort
from dra_operator.allocation.requests import Alternative
from dra_operator.allocation.sites import Site
from dra_operator.api.quantity import Quantity
from dra_operator.api.reasons import Reason
from dra_operator.inventory.devices import Device
from dra_operator.inventory.ledger import Amounts, Ledger

_NOTHING: Mapping[str, Quantity] = {}
_NO_AMOUNTS: Amounts = {}


@dataclass(slots=True, eq=False)
class Taken:
    """A device for a request. `consumption` is None for a device that is not shared."""

    alternative: Alternative
    device: Device
    consumption: Mapping[str, Quantity] | None
    undos: list[Undo]

    def undo(self) -> None:
        for undo in reversed(self.undos):
            undo()


class Taking:
    """A node's devices, by position, and what the search has taken of them so far."""

    def __init__(self, site: Site, ledger: Ledger, features: Features) -> None:
        self.site = site
        self.devices = site.devices
        self.features = features
        self._ledger = ledger
        self._shares = features.consumable_capacity
        self._counters = Counters(site.book)
        self._compatibility = Compatibility(site.is_in_use)
        self._held = site.used if self._shares else site.used | site.shared
        self._marked: Bits = 0
        self._marks: dict[int, list[int]] = {}
        self._consumed: dict[int, list[Amounts]] = {}

    # --- questions ---------------------------------------------------------------------------------------------------

    def unavailable(self, claim: int, alternative: Alternative) -> Bits:
        """The devices that are taken, for this request: nobody's share counts, and for admins only their own claim."""
        if not alternative.admin_access:
            return self._held | self._marked
        bits = 0
        for position, claims in self._marks.items():
            if claim in claims:
                bits |= 1 << position
        return bits

    def marks(self, position: int) -> tuple[int, ...]:
        """The claims that the device is taken for."""
        return tuple(self._marks.get(position, ()))

    def is_shareable(self, position: int) -> bool:
        return bool(self.site.shareable >> position & 1)

    def has_capacity(self, alternative: Alternative, position: int) -> bool:
        """Whether the device has, and has left, what the request asks for. Raises `Abort`."""
        if not self._shares:
            return True
        device = self.devices[position]
        own = self._consumed.get(position, ())
        others = self._ledger.consumed(device.id)
        if device.has_plain_capacity and not alternative.capacity and not own and not others:
            return True
        share = self.share(alternative, position)
        return share is not None and share.fits(others, *own)

    def could_have_capacity(self, alternative: Alternative, position: int) -> bool:
        """Whether the device, all free, has what the request asks for. Raises `Abort`."""
        if not self._shares or (self.devices[position].has_plain_capacity and not alternative.capacity):
            return True
        return self.share(alternative, position) is not None

    def share(self, alternative: Alternative, position: int) -> Share | None:
        """What a share for the request takes; None if the device cannot give that, even all free. Raises `Abort`."""
        device = self.devices[position]
        try:
            return find_share(device, alternative.amounts, fractional=self.features.fractional_capacity_range)
        except Abort as abort:
            error = abort.error
            message = f'request "{alternative.name}", device {device.id}: {error.message}'
            raise Abort(error.reason, message) from abort

    # --- taking ------------------------------------------------------------------------------------------------------

    def take(
        self,
        claim: int,
        alternative: Alternative,
        constraints: tuple[Constraint, ...],
        position: int,
        *,
        must: bool,
    ) -> Taken | None:
        """Take the device, which must be selectable. `must`: one of All, which no constraint may keep away.

        Raises `Abort`.
        """
        bit = 1 << position
        if bit & self.unavailable(claim, alternative) or not bit & self.site.match(alternative).permitted:
            return None
        undos: list[Undo] = []
        if not self._admit(alternative, constraints, position, undos, must=must):
            for undo in reversed(undos):
                undo()
            return None
        consumption = None
        if self.is_shareable(position):
            share = self.share(alternative, position)
            consumption = _NOTHING if share is None else share.consumed
            own = self._consumed.setdefault(position, [])
            own.append(_NO_AMOUNTS if share is None else share.amounts)
            undos.append(own.pop)
        else:
            self._mark(position, claim)
            undos.append(lambda: self._unmark(position))
        return Taken(alternative, self.devices[position], consumption, undos)

    def _mark(self, position: int, claim: int) -> None:
        self._marks.setdefault(position, []).append(claim)
        self._marked |= 1 << position

    def _unmark(self, position: int) -> None:
        marks = self._marks[position]
        marks.pop()
        if not marks:
            self._marked &= ~(1 << position)

    def _admit(
        self,
        alternative: Alternative,
        constraints: tuple[Constraint, ...],
        position: int,
        undos: list[Undo],
        *,
        must: bool,
    ) -> bool:
        """Groups, counters, constraints, capacity; what was taken is added to `undos` even if all fails."""
        device = self.devices[position]
        if device.basic.consumes_counters and not self._count(device, position, undos):
            return False
        for constraint in constraints:
            undo = constraint.admit(alternative, device)
            if undo is None:
                if must:
                    raise Abort(
                        Reason.CONSTRAINT_UNSATISFIED,
                        f'request "{alternative.name}" asks for all devices, which a constraint of the claim forbids',
                    )
                return False
            undos.append(undo)
        return self.has_capacity(alternative, position)

    def _count(self, device: Device, position: int, undos: list[Undo]) -> bool:
        if self.is_shareable(position) and (self._consumed.get(position) or self._ledger.is_shared(device.id)):
            return True  # another share of it has paid
        pool = self.site.pool_of[position]
        if self.features.compatibility_groups and self.site.totals(pool).has_groups:
            leave = self._compatibility.join(pool, device)
            if leave is None:
                return False
            undos.append(leave)
        give_back = self._counters.consume(pool, device)
        if give_back is None:
            return False
        undos.append(give_back)
        return True
