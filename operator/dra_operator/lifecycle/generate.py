"""The claims of a pod: which exist, which have to be generated, and what stands in the way.

For every `resourceClaimTemplateName` the pod gets a ResourceClaim of its own, unless its PodGroup has one for all of
its pods (`groups.py`): controller ownerRef = the pod,
annotation `resource.kubernetes.io/pod-claim-name`, labels and annotations of the template, and the delete-protection
finalizer from the start, so that a claim in use survives its deletion.

The name is `<pod>-<claim>-` cut like upstream's `generateName`, but the five characters at its end are a hash of pod
UID, claim name and attempt, not random: creating is idempotent over crashes. A name that someone else holds leads to
the next attempt.

Invariant: one pod claim of one pod has one claim. An existing claim that carries owner and annotation is adopted,
whoever made it; of several, the one that the pod's status names stays, since that is what kube-scheduler and the
kubelet go by, and before any is published, the one in use. None takes the place of a published one before a live GET
says that it is gone: that the mirror has none of that name only says that it is late.

Upstream: `handleClaim` of k8s.io/kubernetes/pkg/controller/resourceclaim, `resourceclaim.Name` and `IsForPod` of
k8s.io/dynamic-resource-allocation.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final, TypeAlias

from dra_operator.access.admin import asks_admin_access, grants_admin_access
from dra_operator.api.core import Pod, PodResourceClaim
from dra_operator.api.meta import ObjectKey, ObjectMeta, OwnerReference
from dra_operator.api.names import DELETE_PROTECTION_FINALIZER, POD_CLAIM_NAME_ANNOTATION
from dra_operator.api.reasons import Reason
from dra_operator.api.resource import ResourceClaim, ResourceClaimTemplate
from dra_operator.lifecycle.gate import is_gated
from dra_operator.lifecycle.groups import generated_for_group, group_of, is_reserved
from dra_operator.lifecycle.view import View

BASE_MAX_LENGTH: Final = 57
"""Leaves room for a hyphen and five characters in a name of 63."""
_SUFFIX_ALPHABET: Final = "bcdfghjklmnpqrstvwxz2456789"
"""Upstream's for random names: no vowels, nothing that looks like another character."""
_SUFFIX_LENGTH: Final = 5
_ATTEMPTS: Final = 16


@dataclass(frozen=True, slots=True)
class Found:
    """The claim exists and is the pod's to use."""

    claim: ResourceClaim
    duplicates: tuple[ResourceClaim, ...] = ()
    """Further claims generated for the same pod claim, which nothing uses, or only this pod while it is gated.

    Listed once the claim is published: before that, their generator may be about to publish one of them.
    """
    unseen: ObjectKey | None = None
    """The published claim, if that is another which the mirror does not have, and which is not known to be gone."""


@dataclass(frozen=True, slots=True)
class ToCreate:
    """The claim has to be generated. Not decided here: whether by us (`turns.py`)."""

    claim: ResourceClaim
    template: ObjectKey
    unseen: ObjectKey | None = None
    """As that of `Found`."""


@dataclass(frozen=True, slots=True)
class NotNeeded:
    """The pod's status says that this pod claim needs no ResourceClaim, and there is none.

    Where there is one, nobody has said so: kube-controller-manager 1.34 to 1.36 states only entries of claims that it
    has just made. Of another, which it once gave another name than we had, ours is left: the entry, without a name.
    """


@dataclass(frozen=True, slots=True)
class Blocked:
    """The pod cannot go on until something about this claim changes."""

    reason: Reason
    message: str
    claim: ResourceClaim | None = None
    """The claim that is in the way, where the pod may hold a reservation of it."""


Resolution: TypeAlias = Found | ToCreate | NotNeeded | Blocked


def claim_name(pod: Pod, pod_claim: str, attempt: int) -> str:
    """The name of the generated claim; deterministic, at most 63 characters, valid as a DNS subdomain."""
    pod_part, claim_part = pod.metadata.name, pod_claim
    length = len(pod_part) + len(claim_part) + 2
    if length > BASE_MAX_LENGTH:
        # In proportion, but something of both: a name that begins with a hyphen is refused.
        claim_part = claim_part[: max(1, len(claim_part) * BASE_MAX_LENGTH // length)]
        pod_part = pod_part[: max(1, len(pod_part) * BASE_MAX_LENGTH // length)]
        pod_part = pod_part[: BASE_MAX_LENGTH - 1 - len(claim_part)]
    pod_part, claim_part = pod_part.rstrip("-."), claim_part.rstrip("-.")
    digest = hashlib.sha256(f"{pod.uid}/{pod_claim}/{attempt}".encode()).digest()
    suffix = "".join(_SUFFIX_ALPHABET[byte % len(_SUFFIX_ALPHABET)] for byte in digest[:_SUFFIX_LENGTH])
    return f"{pod_part}-{claim_part}-{suffix}"


def generated_for(claim: ResourceClaim, pod: Pod, pod_claim: str) -> bool:
    """Whether the claim was generated for this pod and this entry of its `spec.resourceClaims`."""
    owner = claim.metadata.controller
    return (
        owner is not None
        and owner.kind == "Pod"
        and owner.uid == pod.uid
        and claim.metadata.annotation(POD_CLAIM_NAME_ANNOTATION) == pod_claim
    )


def build_claim(pod: Pod, pod_claim: str, template: ResourceClaimTemplate, name: str) -> ResourceClaim:
    """The claim to create."""
    meta = template.spec.metadata
    return ResourceClaim(
        api_version="resource.k8s.io/v1",
        kind="ResourceClaim",
        metadata=ObjectMeta(
            name=name,
            namespace=pod.metadata.namespace,
            labels=meta.labels,
            annotations={**(meta.annotations or {}), POD_CLAIM_NAME_ANNOTATION: pod_claim},
            finalizers=(DELETE_PROTECTION_FINALIZER,),
            owner_references=(
                OwnerReference(api_version="v1", kind="Pod", name=pod.metadata.name, uid=pod.uid, controller=True),
            ),
        ),
        spec=template.spec.spec,
    )


def resolve(view: View, pod: Pod) -> Iterator[tuple[PodResourceClaim, Resolution]]:
    """Every entry of the pod's `spec.resourceClaims`, in order, with what has become of it."""
    for entry in pod.spec.resource_claims or ():
        if entry.resource_claim_name:
            yield entry, _resolve_named(view, pod, entry.resource_claim_name)
        elif entry.resource_claim_template_name:
            yield entry, _resolve_template(view, pod, entry.name, entry.resource_claim_template_name)
        else:
            yield (
                entry,
                Blocked(
                    Reason.REQUEST_INVALID,
                    f'entry "{entry.name}" of spec.resourceClaims names neither a claim nor a template',
                ),
            )


def _resolve_named(view: View, pod: Pod, name: str) -> Resolution:
    key = ObjectKey(pod.metadata.namespace, name)
    claim = view.claim(key)
    if claim is None:
        slip = (
            ", or name the ResourceClaimTemplate that is called so as resourceClaimTemplateName"
            if key in view.templates
            else ""
        )
        return Blocked(Reason.CLAIM_NOT_FOUND, f'ResourceClaim "{key}" does not exist; create it{slip}')
    owner = claim.metadata.controller
    if owner is not None and owner.kind == "Pod" and owner.uid != pod.uid:
        return Blocked(
            Reason.CLAIM_NOT_OWNED,
            f'ResourceClaim "{key}" was generated for pod "{owner.name}" and ends with it; '
            "name its template, or a claim of your own",
        )
    return _usable(claim, pod)


def _usable(claim: ResourceClaim, pod: Pod) -> Resolution:
    if not _stays(claim, pod):
        return Blocked(
            Reason.CLAIM_DELETING,
            f'ResourceClaim "{claim.key}" is being deleted; it can be used once it has been created anew',
            claim,
        )
    return Found(claim)


def _stays(claim: ResourceClaim, pod: Pod) -> bool:
    """A claim that is being deleted serves the pods that run with it, and nobody else: kube-scheduler refuses it."""
    return claim.metadata.deletion_timestamp is None or (bool(pod.spec.node_name) and is_reserved(claim, pod))


def _resolve_template(view: View, pod: Pod, entry: str, template_name: str) -> Resolution:
    key = ObjectKey(pod.metadata.namespace, template_name)
    published = next((status for status in pod.status.resource_claim_statuses or () if status.name == entry), None)
    ours = [claim for claim in view.claims_owned_by(pod.uid) if generated_for(claim, pod, entry)]
    if published is not None and published.resource_claim_name is None and not ours:
        return NotNeeded()
    name = published.resource_claim_name if published is not None else None
    shared = _find_shared(view, pod, entry, name)
    if shared is not None:
        return _usable(shared, pod)
    live = [claim for claim in ours if _stays(claim, pod)]
    unseen = _find_unseen(view, pod, name)
    if live:
        ending = [claim for claim in ours if claim.status.reserved_for and not _stays(claim, pod)]
        return replace(_choose(live, ending, pod, name), unseen=unseen)
    template = view.templates.get(key)
    if template is None:
        slip = "" if view.claim(key) is None else ", or name the ResourceClaim that is called so as resourceClaimName"
        return Blocked(
            Reason.TEMPLATE_NOT_FOUND,
            f'ResourceClaimTemplate "{key}" does not exist; create it in the namespace of the pod{slip}',
        )
    if asks_admin_access(template.spec.spec) and not grants_admin_access(view.namespaces.get(pod.metadata.namespace)):
        return Blocked(Reason.ADMIN_ACCESS_DENIED, admin_access_denied(f'ResourceClaimTemplate "{key}"', pod))
    for attempt in range(_ATTEMPTS):
        made = claim_name(pod, entry, attempt)
        holder = view.claim(ObjectKey(pod.metadata.namespace, made))
        if holder is None:
            return ToCreate(build_claim(pod, entry, template, made), key, unseen)
        if generated_for(holder, pod, entry):
            return Blocked(
                Reason.CLAIM_DELETING,
                f'ResourceClaim "{holder.key}" of this pod is being deleted; it is generated anew once it is gone',
                holder,
            )
    return Blocked(
        Reason.CLAIM_NOT_OWNED,
        f'the names for the claim "{entry}" of this pod are all taken, last by ResourceClaim '
        f'"{pod.metadata.namespace}/{made}"; delete it',
    )


def _find_unseen(view: View, pod: Pod, published: str | None) -> ObjectKey | None:
    if published is None:
        return None
    key = ObjectKey(pod.metadata.namespace, published)
    return key if view.claim(key) is None and not view.claim_is_missing(key) else None


def _find_shared(view: View, pod: Pod, entry: str, published: str | None) -> ResourceClaim | None:
    """The claim of the pod's PodGroup for this entry; not where the pod has been told of another."""
    group = group_of(pod)
    shared = () if group is None else view.claims_owned_by_group(group)
    return next(
        (
            claim
            for claim in sorted(shared, key=lambda claim: claim.metadata.deletion_timestamp is not None)
            if generated_for_group(claim, entry) and published in (None, claim.metadata.name)
        ),
        None,
    )


def _choose(claims: list[ResourceClaim], ending: list[ResourceClaim], pod: Pod, published: str | None) -> Found:
    """The published claim stays, else the one in use, else the first by name.

    One that somebody deletes (`ending`) would keep its devices as long as the pod lives.
    """
    chosen = min(
        claims,
        key=lambda claim: (
            claim.metadata.name != published,
            not claim.status.reserved_for,
            claim.status.allocation is None,
            claim.metadata.name,
        ),
    )
    if chosen.metadata.name != published:
        return Found(chosen)
    idle = {pod.uid} if is_gated(pod) else set()
    spare = (
        claim
        for claim in (*claims, *ending)
        if claim is not chosen and {user.uid for user in claim.status.reserved_for or ()} <= idle
    )
    return Found(chosen, tuple(spare))


def admin_access_denied(what: str, pod: Pod) -> str:
    return (
        f'{what} asks for admin access, which namespace "{pod.metadata.namespace}" does not grant: it needs the label '
        'resource.kubernetes.io/admin-access: "true"'
    )
