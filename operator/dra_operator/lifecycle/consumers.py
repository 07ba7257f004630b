"""A pod among the consumers of a claim: the writes by which it joins them and leaves them, and what they amount to.

An allocation is written with its `allocationTimestamp`; `stamped` says why.

Invariant: a claim that nobody is left to use has no allocation either.

Upstream: `reservedFor` of the resourceclaim controller and of the dynamicresources plugin's PreBind.
"""

from __future__ import annotations

from collections.abc import Sequence

from dra_operator.api.core import Pod
from dra_operator.api.names import DELETE_PROTECTION_FINALIZER
from dra_operator.api.resource import AllocationResult, ResourceClaim, ResourceClaimConsumerReference
from dra_operator.lifecycle.actions import SetFinalizers, WriteClaimStatus
from dra_operator.lifecycle.pin import allocated_node
from dra_operator.lifecycle.publish import timestamp


def reserve(claim: ResourceClaim, pod: Pod, allocation: AllocationResult | None) -> WriteClaimStatus:
    """The pod is a consumer from now on, if it was none, and the claim has this allocation."""
    consumers = claim.status.reserved_for or ()
    if not claim.reserved_for(pod.uid):
        me = ResourceClaimConsumerReference(resource="pods", name=pod.metadata.name, uid=pod.uid)
        consumers = (*consumers, me)
    return WriteClaimStatus(claim.key, claim.uid, claim.metadata.resource_version, allocation, consumers)


def leave(claim: ResourceClaim, pod: Pod) -> WriteClaimStatus:
    """The pod is no consumer any more; the last one takes the allocation along."""
    others = tuple(consumer for consumer in claim.status.reserved_for or () if consumer.uid != pod.uid)
    allocation = claim.status.allocation if others else None
    return WriteClaimStatus(claim.key, claim.uid, claim.metadata.resource_version, allocation, others)


def is_only_consumer(claim: ResourceClaim, pod: Pod) -> bool:
    consumers = claim.status.reserved_for or ()
    return bool(consumers) and all(consumer.uid == pod.uid for consumer in consumers)


def is_protected(claim: ResourceClaim) -> bool:
    """Without the finalizer a claim frees its devices when its user deletes it."""
    return DELETE_PROTECTION_FINALIZER in (claim.metadata.finalizers or ())


def protect(claim: ResourceClaim) -> SetFinalizers:
    finalizers = (*(claim.metadata.finalizers or ()), DELETE_PROTECTION_FINALIZER)
    return SetFinalizers(claim.key, claim.uid, claim.metadata.resource_version, finalizers)


def allocation_of(claim: ResourceClaim) -> AllocationResult:
    """Raises ValueError if there is none."""
    if claim.status.allocation is None:
        raise ValueError(f'ResourceClaim "{claim.key}" is not allocated')
    return claim.status.allocation


def stamped(allocation: AllocationResult, now: float) -> AllocationResult:
    """Without allocationTimestamp the first pod that kube-scheduler reserves the claim for fails for ever."""
    return AllocationResult(
        devices=allocation.devices, node_selector=allocation.node_selector, allocation_timestamp=timestamp(now)
    )


def nodes_tie(claims: Sequence[ResourceClaim]) -> bool:
    """Whether some allocation leaves only one node. Devices reachable from many leave the choice to kube-scheduler."""
    return any(allocated_node(allocation_of(claim)) is not None for claim in claims)


def allocated_sentence(claims: Sequence[ResourceClaim]) -> str:
    """What a pod is told that has its devices."""
    count = sum(len(allocation_of(claim).devices.results or ()) for claim in claims)
    return f"{count} device{'' if count == 1 else 's'} in {len(claims)} claim{'' if len(claims) == 1 else 's'}"
