"""One look at one claim: who still uses it, and what becomes of it when nobody does.

A pod leaves `status.reservedFor` when it is done (`Pod.done`), gone, or replaced under its name. The last one out
deallocates the claim in the same write. A generated claim whose pod is done is deleted; a user's own claim never is.
The delete-protection finalizer goes when the allocation has gone, so that a claim in use survives its deletion.

Invariants:
- a consumer is taken out only when it is known not to run: a pod that is merely absent from the mirror is looked up
  live first; consumers that are not pods stay;
- an allocation without consumers is cleared only if we wrote it and no live pod names the claim: others may allocate
  ahead of reserving.

Upstream: `syncClaim` of k8s.io/kubernetes/pkg/controller/resourceclaim, which does the same in a stock cluster; every
write here is conditional, so that two who do it do it once.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import Final

from dra_operator.api.meta import ObjectKey, OwnerReference, Uid
from dra_operator.api.names import DELETE_PROTECTION_FINALIZER, FIELD_MANAGER
from dra_operator.api.resource import ResourceClaim, ResourceClaimConsumerReference
from dra_operator.lifecycle.actions import Action, DeleteClaim, ReadPod, SetFinalizers, WriteClaimStatus
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
    if len(remaining) < len(consumers):
        allocation = claim.status.allocation if remaining else None
        return _one(
            WriteClaimStatus(claim.key, claim.uid, claim.metadata.resource_version, allocation, remaining),
        )
    unknown = [consumer for consumer, fate in fates if fate is _Fate.UNKNOWN]
    if unknown:
        namespace = claim.metadata.namespace
        return Verdict(actions=tuple(ReadPod(ObjectKey(namespace, pod.name), pod.uid) for pod in unknown))
    if remaining:
        return NOTHING
    return _unused(view, claim)


def _unused(view: View, claim: ResourceClaim) -> Verdict:
    """The claim has no consumers."""
    owner = owning_pod(claim)
    fate = _Fate.LIVE if owner is None else _pod_fate(view, owner.uid)
    if fate is _Fate.UNKNOWN and owner is not None:
        return _one(ReadPod(ObjectKey(claim.metadata.namespace, owner.name), owner.uid))
    deleting = claim.metadata.deletion_timestamp is not None
    orphan = fate is _Fate.DONE
    named = any(not pod.done for pod in view.pods_naming(claim.key))
    if claim.status.allocation is not None:
        if deleting or orphan or (not named and owner is None and is_allocated_by_us(claim)):
            return _one(WriteClaimStatus(claim.key, claim.uid, claim.metadata.resource_version, None, ()))
        return NOTHING
    protected = DELETE_PROTECTION_FINALIZER in (claim.metadata.finalizers or ())
    awaited = (named or owner is not None) and not orphan
    if protected and (deleting or not awaited):
        return _one(_unprotect(claim))
    if orphan and not deleting:
        deletion = DeleteClaim(claim.key, claim.uid, claim.metadata.resource_version)
        return Verdict(actions=(deletion,), requeue_after=DELETE_AGAIN)
    return NOTHING


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


def is_allocated_by_us(claim: ResourceClaim) -> bool:
    return any(
        entry.manager == FIELD_MANAGER and entry.subresource == "status"
        for entry in claim.metadata.managed_fields or ()
    )


def _unprotect(claim: ResourceClaim) -> SetFinalizers:
    finalizers = tuple(name for name in claim.metadata.finalizers or () if name != DELETE_PROTECTION_FINALIZER)
    return SetFinalizers(claim.key, claim.uid, claim.metadata.resource_version, finalizers)


def _one(action: Action) -> Verdict:
    return Verdict(actions=(action,))
