"""The devices that one alternative may have on one node: a walk over positions, by bit sets.

Upstream asks selectors when its walk gets to a device that is free then, and an error of theirs ends the decision. So a
device whose selector fails is a candidate like any other, until the walk gets there.

Upstream: the loop over pools, slices and devices in `allocateOne`, `isSelectable` of structured/internal/experimental.
"""

from __future__ import annotations

from dataclasses import dataclass

from dra_operator.allocation.constraints import Constraint
from dra_operator.allocation.matching import Bits, fail, positions
from dra_operator.allocation.requests import Alternative
from dra_operator.allocation.taking import Taking


class Candidates:
    """See the module. `may_prune`: nothing but selectors and capacity can fail on a device that is a candidate."""

    __slots__ = ("_alternative", "_fails", "_may_prune", "_selectable", "_special", "_taking", "usable")

    def __init__(self, alternative: Alternative, taking: Taking, *, may_prune: bool) -> None:
        self._alternative = alternative
        self._taking = taking
        self._may_prune = may_prune
        site = taking.site
        match, room = site.match(alternative), site.room(alternative)
        self._selectable = match.selectable
        self._fails: Bits = match.failed | room.failed & match.selectable & ~taking.unavailable(-1, alternative)
        """Devices on which the walk ends."""
        self._special: Bits = (site.everything if alternative.capacity else site.special) | site.shared
        """Devices whose capacity has to be asked for."""
        if not taking.features.consumable_capacity:
            self._special = 0
        self.usable = match.selectable & match.permitted & room.capable
        """Devices that the request may have as long as nobody has them."""

    def next(self, start: int, claim: int) -> int | None:
        """The first position from `start` on whose device is free and may be had. Raises `Abort`."""
        bits = (self.usable | self._fails) & ~self._taking.unavailable(claim, self._alternative) >> start << start
        for position in positions(bits):
            bit = 1 << position
            if bit & self._fails:
                self._fail(position)
            if not bit & self._special or self._taking.has_capacity(self._alternative, position):
                return position
        return None

    def has_enough(self, start: int, needed: int, claim: int, constraints: tuple[Constraint, ...]) -> bool:
        """Whether a walk from `start` on may find that many candidates, or may fail."""
        if not self._may_prune:
            return True
        free = ~self._taking.unavailable(claim, self._alternative) >> start << start
        if self._fails & free:
            return True
        bits = self.usable & free
        for constraint in constraints:
            bits = constraint.narrow(bits, self._taking.site.groups(constraint.attribute))
        if bits.bit_count() < needed:
            return False
        return all(
            constraint.at_most(bits, self._taking.site.groups(constraint.attribute)) >= needed
            for constraint in constraints
        )

    def free(self, claim: int) -> Bits | None:
        """The devices that the request may have now, but for what capacity says; None if a walk might fail."""
        free = ~self._taking.unavailable(claim, self._alternative)
        return None if self._fails & free else self.usable & free

    @property
    def may_fail(self) -> bool:
        """Whether a walk over the devices may end the decision."""
        return bool(self._fails) or not self._may_prune

    def is_selectable(self, position: int) -> bool:
        """Whether gates, selectors and the device's own node selection let the request have it. Raises `Abort`."""
        bit = 1 << position
        if bit & self._fails & ~self._selectable:
            self._fail(position)
        return bool(bit & self._selectable)

    def _fail(self, position: int) -> None:
        """Raise what is wrong with the device."""
        fail(self._alternative, self._taking.devices[position], self._taking.site.node)
        self._taking.could_have_capacity(self._alternative, position)


@dataclass(slots=True, eq=False)
class Ask:
    """One alternative on one node, with what is known about it there."""

    alternative: Alternative
    candidates: Candidates
    constraints: tuple[Constraint, ...]
    """Those of the claim that cover it."""
    all_: tuple[int, ...] = ()
    """With mode All: the positions of the devices that it means."""

    @property
    def wanted(self) -> int:
        return len(self.all_) if self.alternative.all_devices else self.alternative.count
