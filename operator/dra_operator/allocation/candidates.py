"""The devices that one alternative may have on one node: a walk over positions that asks as little as upstream.

Selectors are asked only when the walk gets to a device that is free then, since an error of theirs ends the decision
and must not come from a device that nobody looks at. What was answered is remembered for the rest of the search.

Upstream: the loop over pools, slices and devices in `allocateOne`, `isSelectable` of structured/internal/experimental.
"""

from __future__ import annotations

from dataclasses import dataclass

from dra_operator.allocation.constraints import Constraint
from dra_operator.allocation.outcome import Abort
from dra_operator.allocation.requests import Alternative
from dra_operator.allocation.selectors import matches
from dra_operator.allocation.taking import Taking
from dra_operator.api.reasons import Reason
from dra_operator.inventory.devices import Device
from dra_operator.inventory.pools import NodeSelectorInvalid, device_serves


class Candidates:
    """See the module. `may_prune`: nothing but selectors can fail on a device that is a candidate."""

    __slots__ = ("_alternative", "_known", "_may_prune", "_taking")

    def __init__(self, alternative: Alternative, taking: Taking, *, may_prune: bool) -> None:
        self._alternative = alternative
        self._taking = taking
        self._may_prune = may_prune
        self._known: dict[int, bool] = {}

    def next(self, start: int, claim: int) -> int | None:
        """The first position from `start` on whose device is free and may be had. Raises `Abort`."""
        taking, alternative, known = self._taking, self._alternative, self._known
        for position in range(start, len(taking.devices)):
            if known.get(position) is False or taking.is_in_use(claim, alternative, position):
                continue
            if self.is_selectable(position) and taking.has_capacity(alternative, position):
                if taking.is_permitted(alternative, position):
                    return position
                known[position] = False
        return None

    def has_enough(self, start: int, needed: int, claim: int) -> bool:
        """Whether a walk from `start` on may find that many candidates, or has to ask selectors for the first time."""
        if not self._may_prune:
            return True
        taking, alternative, known = self._taking, self._alternative, self._known
        for position in range(start, len(taking.devices)):
            answer = known.get(position)
            if answer is not False and not taking.is_in_use(claim, alternative, position):
                needed -= 1
                if needed == 0 or answer is None:
                    return True
        return False

    def is_selectable(self, position: int) -> bool:
        """Whether gates, selectors and the device's own node selection let the request have it. Raises `Abort`."""
        known = self._known.get(position)
        if known is None:
            known = self._known[position] = self._ask(self._taking.devices[position])
        return known

    def _ask(self, device: Device) -> bool:
        taking = self._taking
        if device.basic.binding_conditions and not taking.features.device_binding_and_status:
            return False
        if not matches(self._alternative, device):
            return False
        if not device.slice.spec.per_device_node_selection:
            return True
        try:
            return device_serves(device.basic, taking.node)
        except NodeSelectorInvalid as error:
            raise Abort(Reason.POOL_INVALID, f"device {device.id} has an invalid node selector: {error}") from error


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
