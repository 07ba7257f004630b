"""Which of two states of an object is the later one, what it takes back, and which objects are known to be gone.

Resource versions of one resource may be compared as integers (KEP-5504), also between objects of one name.
"""

from __future__ import annotations

from typing import Final

from dra_operator.api.meta import Object, Uid, as_number
from dra_operator.api.resource import ResourceClaim


def newer(candidate: Object, than: Object) -> bool:
    """Whether `candidate` is the later state of the two, or the same; they are one object, or had one name in turn."""
    return version_of(candidate) >= version_of(than)


def version_of(object_: Object) -> int:
    """The resourceVersion as a number; 0 where it is none."""
    return as_number(object_.metadata.resource_version)


class Tombstones:
    """The UIDs seen deleted last, and when. A UID never comes back; one that was dropped only costs a live GET.

    They are dropped by halves: those that came before the last ten minutes, or before the last so many.
    """

    SECONDS: Final = 600.0
    MOST: Final = 10_000

    def __init__(self) -> None:
        self._begun = 0.0
        self._new: dict[Uid, float] = {}
        self._old: dict[Uid, float] = {}

    def add(self, uid: Uid, now: float) -> None:
        if uid in self:
            return
        if len(self._new) >= self.MOST or not 0 <= now - self._begun < self.SECONDS:
            self._begun, self._old, self._new = now, self._new, {}
        self._new[uid] = now

    def discard(self, uid: Uid) -> None:
        """It is there after all."""
        self._new.pop(uid, None)
        self._old.pop(uid, None)

    def __contains__(self, uid: object) -> bool:
        return uid in self._new or uid in self._old

    def __len__(self) -> int:
        return len(self._new) + len(self._old)

    def since(self, uid: Uid) -> float | None:
        """When it was first known to be gone."""
        return self._new.get(uid, self._old.get(uid))


def takes_back(newer_one: ResourceClaim, written: ResourceClaim) -> bool:
    """Whether the allocation that we wrote was already replaced by someone when the mirror caught up.

    Without an allocation in what was written, the assumption belongs to a write that is still on its way.
    """
    return written.status.allocation is not None and not same_results(newer_one, written)


def same_results(one: ResourceClaim, other: ResourceClaim) -> bool:
    mine, theirs = one.status.allocation, other.status.allocation
    if mine is None or theirs is None:
        return mine is theirs
    return mine.devices.results == theirs.devices.results
