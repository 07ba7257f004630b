"""Pods that share an allocated claim are reserved in one write.

A claim has one writer at a time, so a hundred pods that name it would take a hundred writes, one after the other. Each
of them is looked at as always; where its verdict is nothing but the same claim with itself added, that joins the write
that goes out anyway.

Invariant: nobody is reserved whose own look did not say so at this moment, the placements of those before included.

Upstream: none; kube-scheduler and the resourceclaim controller reserve pod by pod.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from typing import Final

from dra_operator.api.meta import Uid
from dra_operator.api.resource import RESERVED_FOR_MAX_SIZE
from dra_operator.lifecycle.actions import WriteClaimStatus
from dra_operator.lifecycle.verdict import Verdict
from dra_operator.lifecycle.view import View
from dra_operator.lifecycle.waiting import turn

ASKED_MAX: Final = 32
"""Pods that are looked at for one write."""


def find_sharers(view: View, uid: Uid, verdict: Verdict) -> Iterator[Uid]:
    """Who may join the verdict of pod `uid`, in their turn: pods that name the claim it reserves and lack just that."""
    write = _reservation(verdict)
    if write is None or all(user.uid != uid for user in write.reserved_for):
        return  # it gives its place up: a write made of the claim as it stands would give it back
    claim = view.claim(write.key)
    if claim is None or claim.status.allocation is None:
        return  # the allocation itself is being written: where the others may go is not known yet
    lacking = [pod for pod in view.pods_naming(claim.key) if pod.uid != uid and not claim.reserved_for(pod.uid)]
    yield from islice((pod.uid for pod in sorted(lacking, key=turn)), ASKED_MAX)


def join(verdict: Verdict, other: Verdict) -> Verdict | None:
    """Both in one write; None where they are not the same but for who is added, or there is no room for more."""
    ours, theirs = _reservation(verdict), _reservation(other)
    if ours is None or theirs is None:
        return None
    if replace(theirs, reserved_for=()) != replace(ours, reserved_for=()):
        return None
    users = {user.uid for user in ours.reserved_for}
    added = tuple(user for user in theirs.reserved_for if user.uid not in users)
    if not added or len(users) + len(added) > RESERVED_FOR_MAX_SIZE:
        return None
    return replace(verdict, actions=(replace(ours, reserved_for=(*ours.reserved_for, *added)),))


def _reservation(verdict: Verdict) -> WriteClaimStatus | None:
    """The write, where the verdict is one write that keeps an allocation, and tells nobody anything."""
    match verdict.actions:
        case (WriteClaimStatus(allocation=allocation) as write,) if allocation is not None and not verdict.notices:
            return write
        case _:
            return None
