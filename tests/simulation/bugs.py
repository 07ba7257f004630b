"""Defects to plant on purpose: each must be caught by the invariants (`make simtest-bugs` says within how many seeds).

Each takes one rule out of the operator, where that rule stands.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

from dra_operator.allocation.counters import Book, Counters
from dra_operator.api.core import Namespace, Pod
from dra_operator.api.meta import ObjectKey, Uid
from dra_operator.api.resource import ResourceClaim
from dra_operator.cluster import writer as writer_module
from dra_operator.cluster.http import ApiClient
from dra_operator.cluster.lease import LeaderElection
from dra_operator.controller import engine as engine_module
from dra_operator.controller.lists import Lists
from dra_operator.controller.mirrors import KopfMirror
from dra_operator.controller.sending import Sender
from dra_operator.inventory.ledger import Ledger
from dra_operator.lifecycle import claim as claim_module
from dra_operator.lifecycle import gated as gated_module
from dra_operator.lifecycle import generate as generate_module
from dra_operator.lifecycle.actions import (
    Action,
    DeleteClaim,
    Outcome,
    SetFinalizers,
    WriteClaimStatus,
)
from dra_operator.lifecycle.claim import _Fate
from dra_operator.lifecycle.decide import Decider
from dra_operator.lifecycle.keys import Ref
from dra_operator.lifecycle.verdict import NOTHING, Verdict
from dra_operator.lifecycle.view import View

Bug = Callable[[], AbstractContextManager[None]]


def _replacing(*changes: tuple[Any, str, Any]) -> Bug:
    """A defect that is other functions in the place of these."""

    @contextmanager
    def planted() -> Iterator[None]:
        with ExitStack() as stack:
            for owner, name, new in changes:
                stack.enter_context(patch.object(owner, name, new))
            yield

    return planted


# --- writes ----------------------------------------------------------------------------------------------------------


def _without_version(original: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    def body(action: Any, **how: bool) -> dict[str, Any]:
        made = original(action, **how)
        del made["metadata"]["resourceVersion"]
        return made

    return body


async def _unread(self: Sender, action: Action, answered: Callable[[], None]) -> Outcome:
    """A write whose answer was lost counts as not done."""
    try:
        return await self.request(action)
    finally:
        answered()


def _no_assumption(self: View, claim: ResourceClaim, allocation: Any) -> None:
    """What is being written counts as free until the mirror shows it."""


# --- who may have what -----------------------------------------------------------------------------------------------


def _true(self: Ledger, uid: Uid) -> bool:
    return True


async def _take_in_like_events(
    self: Lists, pieces: Iterable[Iterable[Ref]], mark: Callable[[Iterable[Ref]], None]
) -> None:
    """Each piece of a list is looked at as soon as it is taken in."""
    for dirty in pieces:
        mark(dirty)
        await self.turn()


def _nobody(self: Ledger, uid: Uid) -> frozenset[Uid]:
    return frozenset()


def _all_granted(namespace: Namespace | None) -> bool:
    return True


def _bottomless(self: Counters, pool: Any, device: Any) -> Callable[[], None]:
    return lambda: None


def _room(self: Book, device: Any, only: str | None = None) -> bool:
    return True


# --- who uses what ---------------------------------------------------------------------------------------------------


def _whichever_pod_has_the_name(original: Callable[..., Verdict]) -> Callable[[View, ObjectKey], Verdict]:
    def reconcile(view: View, key: ObjectKey) -> Verdict:
        claim = view.claim(key)
        for user in (claim.status.reserved_for or ()) if claim is not None else ():
            pod = view.pod_named(ObjectKey(key.namespace, user.name))
            if pod is not None and not pod.done:
                return NOTHING
        return original(view, key)

    return reconcile


def _unused_is_deleted(original: Callable[..., Verdict]) -> Callable[[View, ResourceClaim], Verdict]:
    def unused(view: View, claim: ResourceClaim) -> Verdict:
        verdict = original(view, claim)
        if verdict is NOTHING and not any(True for _ in view.pods_naming(claim.key)):
            return Verdict(actions=(DeleteClaim(claim.key, claim.uid, claim.metadata.resource_version),))
        return verdict

    return unused


def _still_protected(original: Callable[..., Verdict]) -> Callable[[View, ResourceClaim], Verdict]:
    def unused(view: View, claim: ResourceClaim) -> Verdict:
        verdict = original(view, claim)
        return NOTHING if any(isinstance(action, SetFinalizers) for action in verdict.actions) else verdict

    return unused


def _absent_is_gone(view: View, uid: Uid) -> _Fate:
    """A pod that the mirror lacks is gone, without asking."""
    pod = view.pod(uid)
    return _Fate.LIVE if pod is not None and not pod.done else _Fate.DONE


def _absent_lives(view: View, uid: Uid) -> _Fate:
    """A pod that the mirror lacks may be anywhere: nobody asks."""
    pod = view.pod(uid)
    return _Fate.DONE if pod is not None and pod.done else _Fate.LIVE


def _release_keeps_the_devices(action: WriteClaimStatus, **how: bool) -> dict[str, Any]:
    """The last one out leaves the allocation behind."""
    body = _claim_status_body(action, **how)
    if action.allocation is None:
        del body["status"]["allocation"]
    return body


_claim_status_body = writer_module._claim_status_body
_done_when_deleted = property(lambda self: self.terminal or self.metadata.deletion_timestamp is not None)

BUGS: dict[str, Bug] = {
    "allocation without its resourceVersion": _replacing(
        (writer_module, "_claim_status_body", _without_version(_claim_status_body))
    ),
    "ungating before the mirror confirmed": _replacing(
        (Ledger, "confirmed", _true), (Ledger, "rivals", _nobody), (View, "claim_catching_up", lambda self, key: False)
    ),
    "users' claims allocated without the finalizer": _replacing((gated_module, "is_protected", lambda claim: True)),
    "releasing in the grace period": _replacing((Pod, "done", _done_when_deleted)),
    "deleting users' claims": _replacing((claim_module, "_unused", _unused_is_deleted(claim_module._unused))),
    "consumers by name, not by UID": _replacing(
        (engine_module, "reconcile_claim", _whichever_pod_has_the_name(claim_module.reconcile_claim))
    ),
    "lost answers count as not done": _replacing((Sender, "send", _unread)),
    "devices that are being written are free": _replacing((View, "assume_allocation", _no_assumption)),
    "census ignored": _replacing((KopfMirror, "vanished", lambda self, kind, key, uid: None)),
    "no write barrier": _replacing((ApiClient, "guarded", lambda self, allow: self)),
    "leading without a deadline": _replacing((LeaderElection, "holds", lambda self: self._renewed_at is not None)),
    "deciding between two pieces of a list": _replacing((Lists, "take_in", _take_in_like_events)),
    "counters not accounted": _replacing((Counters, "consume", _bottomless), (Book, "has_room", _room)),
    "capacity not accounted": _replacing(
        (Ledger, "consumed", lambda self, device: {}),
    ),
    "admin label not asked again": _replacing(
        (Decider, "admit", lambda self, pod, claims: None),
        (generate_module, "grants_admin_access", _all_granted),
    ),
    "absent pods are gone": _replacing((claim_module, "_pod_fate", _absent_is_gone)),
    "absent pods are never looked up": _replacing((claim_module, "_pod_fate", _absent_lives)),
    "released without deallocating": _replacing((writer_module, "_claim_status_body", _release_keeps_the_devices)),
    "finalizers never removed": _replacing((claim_module, "_unused", _still_protected(claim_module._unused))),
    "no pin": _replacing((gated_module, "pin", lambda pod, node: None)),
    "duplicates kept": _replacing(
        (generate_module, "_choose", lambda claims, ending, pod, published: generate_module.Found(claims[0]))
    ),
}
