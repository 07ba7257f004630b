"""Who holds which device: assume, confirm, forget.

A claim *holds* the devices of its allocation from the moment the mirror shows it (observed), or from the moment we
start to write it (assumed). Only what is observed can be *confirmed*.

Confirmation decides who wins when two allocations name one device, without asking anyone: all allocations are writes
to one resource whose watch is totally ordered, so every replica sees them in the same order.
- First seen live, and nobody else held any of its devices in the mirror at that moment: confirmed, for good.
- First seen live while others held one of them: disputed; those others are its rivals.
- First seen through a LIST, which has no order: those of one LIST on one device dispute it with each other, and come
  behind what was seen before the LIST; confirmed if it is alone.
A dispute ends when the last rival is gone.

What counts as held: results without admin access and without a share ID. Shares are kept beside.

Upstream: kube-scheduler's in-flight allocations and assume cache; `foreachAllocatedDevice` of the structured
allocator. The confirmation rule is ours (docs/decisions).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from dra_operator.api.meta import Uid
from dra_operator.api.resource import AllocationResult, DeviceRequestAllocationResult, ResourceClaim
from dra_operator.inventory.devices import DeviceId

_NOBODY: frozenset[Uid] = frozenset()


@dataclass(slots=True)
class _Hold:
    """One claim's allocation."""

    results: tuple[DeviceRequestAllocationResult, ...]
    devices: frozenset[DeviceId]
    """Held exclusively."""
    observed: bool
    listing: int = 0
    """The number of the LIST that it was first seen through; 0 if it was seen live."""
    confirmed: bool = False
    rivals: set[Uid] = field(default_factory=set)


class Ledger:
    """See the module. `version` grows with every change of what is held."""

    def __init__(self) -> None:
        self.version = 0
        self._holds: dict[Uid, _Hold] = {}
        self._holders: defaultdict[DeviceId, set[Uid]] = defaultdict(set)
        self._in_dispute_with: defaultdict[Uid, set[Uid]] = defaultdict(set)
        self._listing = 1

    # --- verbs -------------------------------------------------------------------------------------------------------

    def begin_listing(self) -> None:
        """What is observed with `live=False` from now on comes from a new LIST."""
        self._listing += 1

    def observe(self, claim: ResourceClaim, *, live: bool) -> None:
        """The mirror shows the claim: `live` by a watch event, otherwise through a LIST."""
        uid, allocation = claim.uid, claim.status.allocation
        known = self._holds.get(uid)
        if allocation is None:
            if known is not None and known.observed:
                self._drop(uid)
            return
        results = allocation.devices.results or ()
        if known is not None and known.observed and known.results == results:
            return
        if known is not None:
            self._drop(uid)
        hold = self._take(uid, results, observed=True)
        hold.listing = 0 if live else self._listing
        self._judge(uid, hold)

    def remove(self, uid: Uid) -> None:
        """The mirror has the claim no more."""
        hold = self._holds.get(uid)
        if hold is not None and hold.observed:
            self._drop(uid)

    def assume(self, uid: Uid, allocation: AllocationResult) -> None:
        """We are about to write this allocation. What the mirror shows later takes its place."""
        hold = self._holds.get(uid)
        if hold is not None and hold.observed:
            return
        if hold is not None:
            self._drop(uid)
        self._take(uid, allocation.devices.results or (), observed=False)

    def forget_assumed(self, uid: Uid) -> None:
        """The write did not take effect. Nothing happens to what the mirror shows."""
        if self.is_assumed(uid):
            self._drop(uid)

    # --- questions ---------------------------------------------------------------------------------------------------

    def is_assumed(self, uid: Uid) -> bool:
        hold = self._holds.get(uid)
        return hold is not None and not hold.observed

    def confirmed(self, uid: Uid) -> bool:
        """Whether the mirror has shown the allocation, and nobody else's came first."""
        hold = self._holds.get(uid)
        return hold is not None and hold.confirmed

    def rivals(self, uid: Uid) -> frozenset[Uid]:
        """The claims whose allocation came, or may have come, before this one's."""
        hold = self._holds.get(uid)
        return frozenset(hold.rivals) if hold is not None else _NOBODY

    def holders(self, device: DeviceId) -> frozenset[Uid]:
        """The claims that hold the device exclusively."""
        return frozenset(self._holders.get(device, _NOBODY))

    def is_held(self, device: DeviceId) -> bool:
        return bool(self._holders.get(device))

    def allocations(self) -> Mapping[Uid, tuple[DeviceRequestAllocationResult, ...]]:
        """All results of all claims, shares and admin access included."""
        return {uid: hold.results for uid, hold in self._holds.items()}

    # --- mechanics ---------------------------------------------------------------------------------------------------

    def _take(self, uid: Uid, results: Iterable[DeviceRequestAllocationResult], *, observed: bool) -> _Hold:
        results = tuple(results)
        devices = frozenset(
            DeviceId(result.driver, result.pool, result.device)
            for result in results
            if not result.admin_access and result.share_id is None
        )
        hold = _Hold(results, devices, observed)
        self._holds[uid] = hold
        for device in devices:
            self._holders[device].add(uid)
        self.version += 1
        return hold

    def _judge(self, uid: Uid, hold: _Hold) -> None:
        others = {
            other
            for device in hold.devices
            for other in self._holders[device]
            if other != uid and self._holds[other].observed
        }
        for other in others:
            self._oppose(uid, other)
            if hold.listing and self._holds[other].listing == hold.listing:
                self._oppose(other, uid)
                self._holds[other].confirmed = False
        hold.confirmed = not others

    def _oppose(self, uid: Uid, rival: Uid) -> None:
        self._holds[uid].rivals.add(rival)
        self._in_dispute_with[rival].add(uid)

    def _drop(self, uid: Uid) -> None:
        hold = self._holds.pop(uid)
        for device in hold.devices:
            holders = self._holders[device]
            holders.discard(uid)
            if not holders:
                del self._holders[device]
        for rival in hold.rivals:
            self._in_dispute_with[rival].discard(uid)
        for other in self._in_dispute_with.pop(uid, set()):
            opposed = self._holds[other]
            opposed.rivals.discard(uid)
            opposed.confirmed = opposed.confirmed or not opposed.rivals
        self.version += 1
