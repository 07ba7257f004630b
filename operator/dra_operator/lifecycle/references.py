"""Which pods and claims refer to each other, both ways, without a search.

A pod names claims and templates in its spec; a claim names its pod as controller, and its consumers in
`status.reservedFor`. Nothing here says that what is named exists.

Invariant: after `remove_pod` and `remove_claim` with what was added, nothing of it is left.

Upstream: the pod index of k8s.io/kubernetes/pkg/controller/resourceclaim.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Set
from typing import TypeVar

from dra_operator.api.core import Pod
from dra_operator.api.meta import ObjectKey, Uid
from dra_operator.api.resource import ResourceClaim
from dra_operator.lifecycle.groups import owning_group

K = TypeVar("K")
V = TypeVar("V")

_NO_PODS: Set[Uid] = frozenset()
_NO_CLAIMS: Set[ObjectKey] = frozenset()


class References:
    """See the module."""

    def __init__(self) -> None:
        self._naming: defaultdict[ObjectKey, set[Uid]] = defaultdict(set)
        """Pods by the claim that their spec names."""
        self._templates: defaultdict[ObjectKey, set[Uid]] = defaultdict(set)
        """Pods by the template that their spec names."""
        self._owned: defaultdict[Uid, set[ObjectKey]] = defaultdict(set)
        """Claims by the pod that is their controller."""
        self._grouped: defaultdict[ObjectKey, set[ObjectKey]] = defaultdict(set)
        """Claims by the PodGroup that is their controller."""
        self._reserved: defaultdict[Uid, set[ObjectKey]] = defaultdict(set)
        """Claims by their consumers."""

    # --- what refers to what -----------------------------------------------------------------------------------------

    def add_pod(self, pod: Pod) -> None:
        for claim in claims_named(pod):
            self._naming[claim].add(pod.uid)
        for template in templates_named(pod):
            self._templates[template].add(pod.uid)

    def remove_pod(self, pod: Pod) -> None:
        for claim in claims_named(pod):
            _drop(self._naming, claim, pod.uid)
        for template in templates_named(pod):
            _drop(self._templates, template, pod.uid)

    def add_claim(self, claim: ResourceClaim) -> None:
        owner = owning_pod_uid(claim)
        if owner is not None:
            self._owned[owner].add(claim.key)
        group = owning_group(claim)
        if group is not None:
            self._grouped[group].add(claim.key)
        for consumer in claim.status.reserved_for or ():
            self._reserved[consumer.uid].add(claim.key)

    def remove_claim(self, claim: ResourceClaim) -> None:
        owner = owning_pod_uid(claim)
        if owner is not None:
            _drop(self._owned, owner, claim.key)
            _drop(self._reserved, owner, claim.key)  # reserved by our own write, which the mirror never showed
        group = owning_group(claim)
        if group is not None:
            _drop(self._grouped, group, claim.key)
        for consumer in claim.status.reserved_for or ():
            _drop(self._reserved, consumer.uid, claim.key)

    # --- questions ---------------------------------------------------------------------------------------------------

    def pods_naming(self, claim: ObjectKey) -> Set[Uid]:
        """Pods whose spec names the claim."""
        return self._naming.get(claim, _NO_PODS)

    def pods_of_template(self, template: ObjectKey) -> Set[Uid]:
        """Pods whose spec names the template."""
        return self._templates.get(template, _NO_PODS)

    def pods_of(self, claim: ResourceClaim) -> Set[Uid]:
        """Pods that a change of the claim matters to: those that name it, and the one that it was generated for."""
        owner = owning_pod_uid(claim)
        naming = self.pods_naming(claim.key)
        return naming if owner is None else naming | {owner}

    def owned_by(self, pod: Uid) -> Set[ObjectKey]:
        """Claims whose controller is the pod."""
        return self._owned.get(pod, _NO_CLAIMS)

    def owned_by_group(self, group: ObjectKey) -> Set[ObjectKey]:
        """Claims whose controller is the PodGroup."""
        return self._grouped.get(group, _NO_CLAIMS)

    def claims_of(self, pod: Uid) -> Set[ObjectKey]:
        """Claims that the end of the pod matters to: its own, and those that are reserved for it."""
        return self.owned_by(pod) | self._reserved.get(pod, _NO_CLAIMS)


def claims_named(pod: Pod) -> tuple[ObjectKey, ...]:
    """The claims that the pod's spec names."""
    namespace = pod.metadata.namespace
    entries = pod.spec.resource_claims or ()
    return tuple(ObjectKey(namespace, one.resource_claim_name) for one in entries if one.resource_claim_name)


def templates_named(pod: Pod) -> tuple[ObjectKey, ...]:
    """The templates that the pod's spec names."""
    namespace = pod.metadata.namespace
    entries = pod.spec.resource_claims or ()
    return tuple(
        ObjectKey(namespace, one.resource_claim_template_name)
        for one in entries
        if one.resource_claim_template_name and not one.resource_claim_name
    )


def owning_pod_uid(claim: ResourceClaim) -> Uid | None:
    """The pod that is the claim's controller."""
    owner = claim.metadata.controller
    return owner.uid if owner is not None and owner.kind == "Pod" else None


def _drop(index: defaultdict[K, set[V]], key: K, value: V) -> None:
    values = index.get(key)
    if values is not None:
        values.discard(value)
        if not values:
            del index[key]
