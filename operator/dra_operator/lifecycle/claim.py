"""One look at one claim: who still uses it, and what becomes of it when nobody does.

A pod leaves `status.reservedFor` when it is done (`Pod.done`), gone, or replaced under its name. The last one out
deallocates the claim in the same write. A generated claim whose pod is done is deleted; a user's own claim never is.
The delete-protection finalizer goes when the allocation has gone, so that a claim in use survives its deletion; of a
claim that is deleted and that nobody else protects, both go at once, with the claim.

So a generated claim is deleted first, and freed by the one write that lifts its finalizer. Where its pod is gone, the
garbage collector deletes it too, and at once: it has its turn (`View.collector_turn`), for two who delete cost more.

Invariants:
- a consumer is taken out only when it is known not to run: a pod that is merely absent from the mirror is looked up
  live first; consumers that are not pods stay;
- an allocation without consumers is cleared only if we wrote it and no live pod names the claim: others may allocate
  ahead of reserving.

Upstream: `syncClaim` of k8s.io/kubernetes/pkg/controller/resourceclaim, which leaves to the garbage collector what is
its, and takes two writes for what is one here; every write here is conditional, so that two who do it do it once.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import Final

from dra_operator.api.meta import ObjectKey, OwnerReference, Uid
from dra_operator.api.names import DELETE_PROTECTION_FINALIZER
from dra_operator.api.resource import ResourceClaim, ResourceClaimConsumerReference
from dra_operator.lifecycle.actions import Action, DeleteClaim, ReadPod, SetFinalizers, WriteClaimStatus
from dra_operator.lifecycle.answer import is_allocated_by_us
from dra_operator.lifecycle.groups import owning_group
from dra_operator.lifecycle.verdict import NOTHING, Verdict
from dra_operator.lifecycle.view import View

DELETE_AGAIN: Final = 5.0
"""Seconds for which a mirror may go on showing what has been deleted: it is not deleted again all the while."""


class _Fate(Enum):
    LIVE = auto()
    DONE = auto()
    UNKNOWN = auto()


def reconcile_claim(view: View, key: ObjectKey) -> Verdict:
    """The next step for the claim that holds this name."""
    claim = view.claim(key)
    if claim is None:
        return NOTHING
    consumers = claim.status.reserved_for or ()
    fates = [(consumer, _consumer_fate(view, consumer)) for consumer in consumers]
    remaining = tuple(consumer for consumer, fate in fates if fate is not _Fate.DONE)
    if not remaining:
        return _unused(view, claim)
    if len(remaining) < len(consumers):
        return _one(_release(claim, remaining))
    namespace = claim.metadata.namespace
    unknown = [consumer for consumer, fate in fates if fate is _Fate.UNKNOWN]
    return Verdict(actions=tuple(ReadPod(ObjectKey(namespace, pod.name), pod.uid) for pod in unknown))


def _unused(view: View, claim: ResourceClaim) -> Verdict:
    """Nobody uses the claim; consumers that it still names are done."""
    finalizers = claim.metadata.finalizers or ()
    protected = DELETE_PROTECTION_FINALIZER in finalizers
    holds = bool(claim.status.reserved_for) or claim.status.allocation is not None
    if claim.metadata.deletion_timestamp is not None:
        if holds and len(finalizers) > protected:
            return _one(_release(claim))
        return _one(_unprotect(claim)) if protected else NOTHING
    owner = owning_pod(claim)
    fate = _Fate.LIVE if owner is None else _pod_fate(view, owner.uid)
    if owner is not None and fate is _Fate.UNKNOWN:
        return _one(ReadPod(ObjectKey(claim.metadata.namespace, owner.name), owner.uid))
    if owner is not None and fate is _Fate.DONE:
        if (turn := view.collector_turn(owner.uid)) > 0:
            return Verdict(requeue_after=turn)
        deletion = DeleteClaim(claim.key, claim.uid, claim.metadata.resource_version)
        return Verdict(actions=(deletion,), requeue_after=DELETE_AGAIN)
    if claim.status.reserved_for:
        return _one(_release(claim))
    if owner is not None or any(not pod.done for pod in view.pods_naming(claim.key)):
        return NOTHING
    if owning_group(claim) is not None:
        return NOTHING  # kube-scheduler protects it first, then allocates it; its pods name the template
    if claim.status.allocation is not None:
        return _one(_release(claim)) if is_allocated_by_us(claim) else NOTHING
    return _one(_unprotect(claim)) if protected else NOTHING


def owning_pod(claim: ResourceClaim) -> OwnerReference | None:
    """The pod that the claim was generated for."""
    owner = claim.metadata.controller
    return owner if owner is not None and owner.kind == "Pod" and owner.api_version == "v1" else None


def _consumer_fate(view: View, consumer: ResourceClaimConsumerReference) -> _Fate:
    if consumer.api_group or consumer.resource != "pods":
        return _Fate.LIVE
    return _pod_fate(view, consumer.uid)


def _pod_fate(view: View, uid: Uid) -> _Fate:
    pod = view.pod(uid)
    if pod is not None:
        return _Fate.DONE if pod.done else _Fate.LIVE
    return _Fate.DONE if view.is_gone(uid) else _Fate.UNKNOWN


def _release(claim: ResourceClaim, remaining: tuple[ResourceClaimConsumerReference, ...] = ()) -> WriteClaimStatus:
    allocation = claim.status.allocation if remaining else None
    return WriteClaimStatus(claim.key, claim.uid, claim.metadata.resource_version, allocation, remaining)


def _unprotect(claim: ResourceClaim) -> SetFinalizers:
    finalizers = tuple(name for name in claim.metadata.finalizers or () if name != DELETE_PROTECTION_FINALIZER)
    return SetFinalizers(claim.key, claim.uid, claim.metadata.resource_version, finalizers)


def _one(action: Action) -> Verdict:
    return Verdict(actions=(action,))
