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

What counts as held: results without admin access and without a share ID. Results with a `shareID` are shares: they do
not hold the device, but what they consume of its capacity adds up.

Upstream: kube-scheduler's in-flight allocations and assume cache; `foreachAllocatedDevice` of the structured
allocator. The confirmation rule is ours (docs/decisions).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from dra_operator.api.meta import Uid, as_number
from dra_operator.api.resource import AllocationResult, DeviceRequestAllocationResult, ResourceClaim
from dra_operator.inventory.changes import Changes
from dra_operator.inventory.devices import DeviceId, PoolKey

Amounts: TypeAlias = Mapping[str, int]
"""Capacity by name, in billionths: quantities have no finer unit, and integers add exactly."""

_NOBODY: frozenset[Uid] = frozenset()
_NOTHING: Amounts = {}
_NANO = -9


@dataclass(slots=True)
class _Hold:
    """One claim's allocation, as observed or as assumed."""

    results: tuple[DeviceRequestAllocationResult, ...]
    devices: frozenset[DeviceId]
    """Held exclusively."""
    shares: tuple[tuple[DeviceId, Amounts], ...] = ()
    """Devices of which there is a share, with what it consumes."""
    listing: int = 0
    """The number of the LIST that it was first seen through; 0 if it was seen live."""
    since: int = 0
    """Of what is assumed: the version of the claim that the write is based on. It shows in none before."""
    confirmed: bool = False
    rivals: set[Uid] = field(default_factory=set)


class Ledger:
    """See the module. `version` grows with every change of what is held."""

    def __init__(self) -> None:
        self.version = 0
        self.changes: Changes[PoolKey] = Changes()
        """Pools of which something was taken or given back."""
        self.releases: Changes[PoolKey] = Changes()
        """Pools to which something was given back."""
        self._observed: dict[Uid, _Hold] = {}
        self._assumed: dict[Uid, _Hold] = {}
        self._holders: defaultdict[DeviceId, Counter[Uid]] = defaultdict(Counter)
        self._shares: defaultdict[DeviceId, list[Amounts]] = defaultdict(list)
        self._in_dispute_with: defaultdict[Uid, set[Uid]] = defaultdict(set)
        self._listing = 1

    # --- verbs -------------------------------------------------------------------------------------------------------

    def begin_listing(self) -> None:
        """What is observed with `live=False` from now on comes from a new LIST."""
        self._listing += 1

    def observe(self, claim: ResourceClaim, *, live: bool) -> None:
        """The mirror shows the claim: `live` by a watch event, otherwise through a LIST.

        What is assumed for the claim ends when exactly that is observed, and not of an earlier state: a claim may be
        given the same devices twice. Anything else that the mirror shows may be older than the write that is under
        way, so both are held.
        """
        uid, allocation = claim.uid, claim.status.allocation
        known = self._observed.get(uid)
        if allocation is None:
            self.remove(uid)
            return
        results = allocation.devices.results or ()
        assumed = self._assumed.get(uid)
        version = as_number(claim.metadata.resource_version)
        if assumed is not None and assumed.results == results and version >= assumed.since:
            self.forget_assumed(uid)
        if known is not None and known.results == results:
            return
        self.remove(uid)
        hold = self._observed[uid] = self._take(uid, results)
        hold.listing = 0 if live else self._listing
        self._judge(uid, hold)

    def remove(self, uid: Uid) -> None:
        """The mirror shows no allocation of the claim any more. What is assumed stays."""
        hold = self._observed.pop(uid, None)
        if hold is None:
            return
        self._give(uid, hold)
        for rival in hold.rivals & self._in_dispute_with.keys():
            self._in_dispute_with[rival].discard(uid)
        for other in self._in_dispute_with.pop(uid, set()):
            opposed = self._observed[other]
            opposed.rivals.discard(uid)
            opposed.confirmed = opposed.confirmed or not opposed.rivals

    def assume(self, uid: Uid, allocation: AllocationResult, *, since: int = 0) -> None:
        """We are about to write this allocation to the claim as it is at version `since`."""
        self.forget_assumed(uid)
        hold = self._assumed[uid] = self._take(uid, allocation.devices.results or ())
        hold.since = since

    def forget_assumed(self, uid: Uid) -> None:
        """The write did not take effect, or its effect is observed. Nothing happens to what the mirror shows."""
        hold = self._assumed.pop(uid, None)
        if hold is not None:
            self._give(uid, hold)

    # --- questions ---------------------------------------------------------------------------------------------------

    def is_assumed(self, uid: Uid) -> bool:
        return uid in self._assumed

    def confirmed(self, uid: Uid) -> bool:
        """Whether the mirror shows the allocation as we last wrote it, and nobody else's came first."""
        hold = self._observed.get(uid)
        return hold is not None and hold.confirmed and uid not in self._assumed

    def rivals(self, uid: Uid) -> frozenset[Uid]:
        """The claims whose allocation came, or may have come, before this one's."""
        hold = self._observed.get(uid)
        return frozenset(hold.rivals) if hold is not None else _NOBODY

    def holders(self, device: DeviceId) -> frozenset[Uid]:
        """The claims that hold the device exclusively."""
        return frozenset(self._holders.get(device, ()))

    @property
    def held(self) -> Collection[DeviceId]:
        """Every device that some claim holds exclusively."""
        return self._holders

    @property
    def shared(self) -> Collection[DeviceId]:
        """Every device of which some claim has a share."""
        return self._shares

    def is_held(self, device: DeviceId) -> bool:
        return device in self._holders

    def is_shared(self, device: DeviceId) -> bool:
        """Whether some claim has a share of the device."""
        return device in self._shares

    def consumed(self, device: DeviceId) -> Amounts:
        """What all shares of the device take of its capacity."""
        shares = self._shares.get(device)
        if shares is None:
            return _NOTHING
        if len(shares) == 1:
            return shares[0]
        names = {name for amounts in shares for name in amounts}
        return {name: sum(amounts.get(name, 0) for amounts in shares) for name in names}

    def allocations(self) -> Mapping[Uid, tuple[DeviceRequestAllocationResult, ...]]:
        """The results of all claims, shares and admin access included; the assumed ones where there are both."""
        everything = {**self._observed, **self._assumed}
        return {uid: hold.results for uid, hold in everything.items()}

    # --- mechanics ---------------------------------------------------------------------------------------------------

    def _take(self, uid: Uid, results: tuple[DeviceRequestAllocationResult, ...]) -> _Hold:
        own = [result for result in results if not result.admin_access]
        hold = _Hold(
            results,
            frozenset(_id(result) for result in own if result.share_id is None),
            tuple((_id(result), _amounts(result)) for result in own if result.share_id is not None),
        )
        for device in hold.devices:
            self._holders[device][uid] += 1
        for device, amounts in hold.shares:
            self._shares[device].append(amounts)
        self._note(hold, released=False)
        return hold

    def _give(self, uid: Uid, hold: _Hold) -> None:
        for device in hold.devices:
            holders = self._holders[device]
            holders[uid] -= 1
            if not holders[uid]:
                del holders[uid]
            if not holders:
                del self._holders[device]
        for device, amounts in hold.shares:
            shares = self._shares[device]
            shares.remove(amounts)
            if not shares:
                del self._shares[device]
        self._note(hold, released=True)

    def _note(self, hold: _Hold, *, released: bool) -> None:
        """The hold came or went."""
        self.version += 1
        devices = hold.devices.union(device for device, _ in hold.shares)
        for pool in {PoolKey(device.driver, device.pool) for device in devices}:
            self.changes.note(self.version, pool)
            if released:
                self.releases.note(self.version, pool)

    def _judge(self, uid: Uid, hold: _Hold) -> None:
        others = self._holding(hold.devices, uid)
        for other in others:
            self._oppose(uid, other)
            if hold.listing and self._observed[other].listing == hold.listing:
                self._oppose(other, uid)
                self._observed[other].confirmed = False
        hold.confirmed = not others

    def _holding(self, devices: frozenset[DeviceId], but_for: Uid) -> set[Uid]:
        """The claims that are observed to hold one of the devices."""
        return {
            other
            for device in devices
            for other in self._holders[device]
            if other != but_for and other in self._observed and device in self._observed[other].devices
        }

    def _oppose(self, uid: Uid, rival: Uid) -> None:
        self._observed[uid].rivals.add(rival)
        self._in_dispute_with[rival].add(uid)


def _id(result: DeviceRequestAllocationResult) -> DeviceId:
    return DeviceId(result.driver, result.pool, result.device)


def _amounts(result: DeviceRequestAllocationResult) -> Amounts:
    return {name: amount.scaled_value(_NANO) for name, amount in (result.consumed_capacity or {}).items()}
