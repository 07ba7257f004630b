"""Claims that the pods of a PodGroup share.

kube-scheduler places the pods of a PodGroup (`spec.schedulingGroup`) at once and allocates their claims, so they are
not gated. An entry that the PodGroup lists, too, means one claim for all of them: resourceclaim-controller generates it
with the PodGroup as its controller, publishes its name on each pod, and it is reserved for the PodGroup. An entry that
the PodGroup does not list means a claim of the pod's own, as ever.

PodGroups themselves are not read here: a claim says whose it is. That a claim is not there yet says nothing, so a pod
of a group gives the other generator more time (`turns.py`).

Upstream: `BindTo`, `IsForPod` and `IsReservedForPod` of k8s.io/dynamic-resource-allocation/resourceclaim, with the
feature DRAWorkloadResourceClaims.
"""

from __future__ import annotations

from typing import Final

from dra_operator.api.core import Pod
from dra_operator.api.meta import ObjectKey
from dra_operator.api.names import POD_CLAIM_NAME_ANNOTATION
from dra_operator.api.resource import ResourceClaim

API_GROUP: Final = "scheduling.k8s.io"


def group_of(pod: Pod) -> ObjectKey | None:
    """The PodGroup that the pod is of."""
    group = pod.spec.scheduling_group
    return ObjectKey(pod.metadata.namespace, group.pod_group_name) if group and group.pod_group_name else None


def owning_group(claim: ResourceClaim) -> ObjectKey | None:
    """The PodGroup that the claim was generated for."""
    owner = claim.metadata.controller
    if owner is None or owner.kind != "PodGroup" or not owner.api_version.startswith(f"{API_GROUP}/"):
        return None
    return ObjectKey(claim.metadata.namespace, owner.name)


def generated_for_group(claim: ResourceClaim, entry: str) -> bool:
    """Whether the claim of a PodGroup is the one for that entry."""
    return claim.metadata.annotation(POD_CLAIM_NAME_ANNOTATION) == entry


def is_reserved(claim: ResourceClaim, pod: Pod) -> bool:
    """Whether the pod may use the claim: it is reserved for it, or for its PodGroup."""
    if claim.reserved_for(pod.uid):
        return True
    group = group_of(pod)
    return group is not None and any(
        (user.api_group, user.resource, user.name) == (API_GROUP, "podgroups", group.name)
        for user in claim.status.reserved_for or ()
    )
