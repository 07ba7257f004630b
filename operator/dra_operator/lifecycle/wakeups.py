"""What became free, and which waiting pods are looked at again for that.

The pods wait in groups (`waiting.py`). One of them may have a node kept for it (`reservation.py`): it is woken by what
becomes free there although it may not be the first of its group, and what was kept is free for all when it is served.

Upstream: the moves of kube-scheduler's queue on cluster events, and its nominated nodes.
"""

from __future__ import annotations

from collections.abc import Collection

from dra_operator.api.core import Pod
from dra_operator.api.meta import Uid
from dra_operator.lifecycle.keys import PodRef, Ref
from dra_operator.lifecycle.reservation import Reservation
from dra_operator.lifecycle.waiting import Group, Waiting


class Wakeups:
    """See the module. What is returned has to be looked at again."""

    def __init__(self) -> None:
        self.waiting = Waiting()
        self.reservation: Reservation | None = None
        self.epoch = 0
        """Grows whenever something happened that could let a waiting pod fit: a memory of "does not fit" holds for
        one epoch. Devices being taken never lets anything fit, so allocations do not count."""

    def wait(self, uid: Uid, pod: Pod | None, group: Group | None, *, no_device_helps: bool) -> set[Ref]:
        """The pod was told to wait, with those of its group."""
        next_ = self.waiting.add_deaf(uid) if no_device_helps else self.waiting.add(uid, pod, group)
        return {PodRef(one) for one in next_}

    def keep(self, uid: Uid, reservation: Reservation | None) -> set[Ref]:
        """The pod that waits has this kept for it from now on, or nothing."""
        kept = self.reservation
        if reservation is not None:
            self.reservation = reservation
        elif kept is not None and kept.uid == uid:
            self.reservation = None
        if kept is not None and (self.reservation is None or self.reservation.node != kept.node):
            return self.freed((kept.node,))
        return set()

    def serve(self, uid: Uid) -> set[Ref]:
        """The pod does not wait any more."""
        refs: set[Ref] = {PodRef(next_) for next_ in self.waiting.discard(uid)}
        kept = self.reservation
        if kept is not None and kept.uid == uid:
            self.reservation = None
            refs |= self.freed((kept.node,))
        return refs

    def freed(self, nodes: Collection[str] | None) -> set[Ref]:
        """Something became free, came or changed on the nodes (None: anywhere)."""
        self.count()
        woken: set[Ref] = {PodRef(uid) for uid in self.waiting.wake(nodes)}
        kept = self.reservation
        if kept is not None and (nodes is None or kept.node in nodes):
            woken.add(PodRef(kept.uid))  # though it may not be the first of its group
        return woken

    def count(self) -> None:
        """What was found not to fit has to be asked again."""
        self.epoch += 1
