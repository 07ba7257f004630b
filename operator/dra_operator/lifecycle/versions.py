"""Which of two states of an object is the later one, what it takes back, and which objects are known to be gone.

Resource versions of one resource may be compared as integers (KEP-5504), also between objects of one name.
"""

from __future__ import annotations

from dra_operator.api.meta import Object, Uid
from dra_operator.api.resource import ResourceClaim


def newer(candidate: Object, than: Object) -> bool:
    """Whether `candidate` is the same object at a later (or the same) resourceVersion."""
    if candidate.uid != than.uid:
        return True
    return version_of(candidate) >= version_of(than)


def version_of(object_: Object) -> int:
    """The resourceVersion as a number; 0 where it is none."""
    text = object_.metadata.resource_version
    return int(text) if text.isdigit() else 0


class Tombstones:
    """The UIDs seen deleted last, and when. A UID never comes back; one that was dropped only costs a live GET."""

    _MAX = 20_000

    def __init__(self) -> None:
        self._uids: dict[Uid, float] = {}

    def add(self, uid: Uid, now: float = 0.0) -> None:
        self._uids.setdefault(uid, now)
        if len(self._uids) > self._MAX:
            del self._uids[next(iter(self._uids))]

    def __contains__(self, uid: object) -> bool:
        return uid in self._uids

    def since(self, uid: Uid) -> float | None:
        """When it was first known to be gone."""
        return self._uids.get(uid)


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
