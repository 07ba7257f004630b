"""The pods that wait for devices, by what they ask for: who is woken when something becomes free.

Pods that ask for the same and may go to the same nodes form a group: one answer holds for all of them. An event wakes
a group only if one of the nodes that it is about may serve it now, and of the group only the pod whose turn it is, by
priority, then age. When that pod gets its devices the next one is woken, until one is refused: so an event costs as
many looks as it can serve, and one more.

Pods that wait for something else (a claim that is full, a node that does not take them) are in no group, and are woken
by every event. Those that lack a template or a claim are woken by none: only what they name can help them.

Invariant: after an event that may serve a group, the group sleeps again only when its first pod has been refused.

Upstream: the scheduling queue of kube-scheduler with its queueing hints, which wake pods one by one.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

from dra_operator.api.core import Pod
from dra_operator.api.meta import Uid

Turn: TypeAlias = tuple[int, str, str]
"""Pods with less come first."""


@dataclass(frozen=True, slots=True)
class Group:
    """What a pod waits for. `may_serve` tells whether a node may have it now, by name."""

    key: bytes
    may_serve: Callable[[str], bool] = field(compare=False, repr=False)


@dataclass(slots=True)
class _Members:
    may_serve: Callable[[str], bool]
    turns: list[Turn] = field(default_factory=list)
    is_awake: bool = False


def turn(pod: Pod) -> Turn:
    """Higher priority first, then the older."""
    return -(pod.spec.priority or 0), pod.metadata.creation_timestamp or "", pod.uid


class Waiting:
    """See the module. Whoever takes a pod out has to look at those that are returned."""

    def __init__(self) -> None:
        self._group_of: dict[Uid, bytes | None] = {}
        self._turns: dict[Uid, Turn] = {}
        self._groups: dict[bytes, _Members] = {}
        self._alone: set[Uid] = set()

    def __len__(self) -> int:
        return len(self._group_of)

    def __iter__(self) -> Iterator[Uid]:
        return iter(self._group_of)

    def __contains__(self, uid: object) -> bool:
        return uid in self._group_of

    def add(self, uid: Uid, pod: Pod | None = None, group: Group | None = None) -> set[Uid]:
        """The pod was told to wait. Returns who has to be looked at in its place."""
        if group is None or pod is None:
            woken = self.discard(uid)
            self._group_of[uid] = None
            self._alone.add(uid)
            return woken
        if self._group_of.get(uid) != group.key:
            woken = self.discard(uid)
            self._group_of[uid] = group.key
            self._turns[uid] = turn(pod)
            members = self._groups.setdefault(group.key, _Members(group.may_serve))
            insort(members.turns, self._turns[uid])
        else:
            woken = set()
            members = self._groups[group.key]
        members.may_serve = group.may_serve
        if members.turns[0] == self._turns[uid]:
            members.is_awake = False  # nobody of the group gets what its first pod was refused
        return woken

    def add_deaf(self, uid: Uid) -> set[Uid]:
        """The pod waits for something that no event about devices brings: it is only counted."""
        woken = self.discard(uid)
        self._group_of[uid] = None
        return woken

    def discard(self, uid: Uid) -> set[Uid]:
        """The pod waits no more: it was served, or is gone. Returns who has to be looked at in its place."""
        key = self._group_of.pop(uid, None)
        self._alone.discard(uid)
        if key is None:
            return set()
        members = self._groups[key]
        members.turns.remove(self._turns.pop(uid))
        if not members.turns:
            del self._groups[key]
            return set()
        return {_first(members)} if members.is_awake else set()

    def wake(self, nodes: Collection[str] | None) -> set[Uid]:
        """Something became free on the nodes (None: anywhere). Returns who has to be looked at."""
        woken = set(self._alone)
        for members in self._groups.values():
            if nodes is None or any(members.may_serve(name) for name in nodes):
                members.is_awake = True
                woken.add(_first(members))
        return woken


def _first(members: _Members) -> Uid:
    return Uid(members.turns[0][2])
