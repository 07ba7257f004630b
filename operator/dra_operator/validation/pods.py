"""What a pod says about its claims: `spec.resourceClaims`, and the containers that use them.

Of a pod's spec nothing else is looked at. What its other fields hold may be anything, but names of fields that a pod, a
container or its resources do not have are unknown. Pod templates of workloads are checked by the same rules.

Upstream: `validatePodResourceClaims`, `validateResourceClaimNames` in pkg/apis/core/validation.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Annotated, ClassVar, Final

from dra_operator.api import content
from dra_operator.validation import names
from dra_operator.validation.errors import (
    FieldError,
    child,
    duplicate,
    forbidden,
    index,
    invalid,
    not_found,
    required,
)
from dra_operator.validation.metatypes import Object
from dra_operator.validation.shapes import Always, Wire

_MIRROR: Final = "kubernetes.io/config.mirror"
_OF_A_CONTAINER: Final = frozenset(
    """
    name image command args workingDir ports envFrom env resizePolicy restartPolicy restartPolicyRules volumeMounts
    volumeDevices livenessProbe readinessProbe startupProbe lifecycle terminationMessagePath terminationMessagePolicy
    imagePullPolicy securityContext stdin stdinOnce tty
    """.split()  # noqa: SIM905
)
_OF_A_POD: Final = frozenset(
    """
    volumes restartPolicy terminationGracePeriodSeconds activeDeadlineSeconds dnsPolicy nodeSelector serviceAccountName
    serviceAccount automountServiceAccountToken nodeName hostNetwork hostPID hostIPC shareProcessNamespace
    securityContext imagePullSecrets hostname subdomain affinity schedulerName tolerations hostAliases
    priorityClassName priority dnsConfig readinessGates runtimeClassName enableServiceLinks preemptionPolicy overhead
    topologySpreadConstraints setHostnameAsFQDN os hostUsers schedulingGates hostnameOverride workloadRef
    schedulingGroup evictionResponders
    """.split()  # noqa: SIM905
)


class PodResourceClaim(Wire, frozen=True):
    name: Annotated[str, Always()] = ""
    resource_claim_name: str | None = None
    resource_claim_template_name: str | None = None


class ContainerClaim(Wire, frozen=True):
    """A container's use of a claim, or of one request of it (`v1.ResourceClaim`)."""

    go_struct: ClassVar[str] = "ResourceClaim"

    name: Annotated[str, Always()] = ""
    request: str = ""


class ResourceRequirements(Wire, frozen=True):
    unread: ClassVar[frozenset[str]] = frozenset({"limits", "requests"})

    claims: tuple[ContainerClaim, ...] | None = None


class Container(Wire, frozen=True):
    unread: ClassVar[frozenset[str]] = _OF_A_CONTAINER

    resources: ResourceRequirements = ResourceRequirements()


class EphemeralContainer(Container, frozen=True):
    unread: ClassVar[frozenset[str]] = _OF_A_CONTAINER | {"targetContainerName"}


class PodSpec(Wire, frozen=True):
    unread: ClassVar[frozenset[str]] = _OF_A_POD

    resource_claims: tuple[PodResourceClaim, ...] | None = None
    containers: tuple[Container, ...] | None = None
    init_containers: tuple[Container, ...] | None = None
    ephemeral_containers: tuple[EphemeralContainer, ...] | None = None
    resources: ResourceRequirements | None = None


class Pod(Object, frozen=True):
    unread: ClassVar[frozenset[str]] = frozenset({"status"})

    spec: PodSpec = PodSpec()


def check_pod_claims(path: str, spec: PodSpec, annotations: Mapping[str, str]) -> list[FieldError]:
    """The mistakes around claims that the API server refuses a new pod, or a template of pods, for."""
    found = list(_claims(child(path, "resourceClaims"), spec.resource_claims or (), annotations))
    known = {claim.name for claim in spec.resource_claims or () if claim.name}
    for name, containers in (
        ("containers", spec.containers),
        ("initContainers", spec.init_containers),
        ("ephemeralContainers", spec.ephemeral_containers),
    ):
        for i, container in enumerate(containers or ()):
            where = child(index(child(path, name), i), "resources", "claims")
            found += _uses(where, container.resources.claims or (), known)
    if spec.resources is not None and spec.resources.claims is not None:
        found.append(forbidden(child(path, "resources", "claims"), "claims may not be set for Resources at pod-level"))
    return found


def _claims(path: str, claims: tuple[PodResourceClaim, ...], annotations: Mapping[str, str]) -> Iterator[FieldError]:
    seen: set[str] = set()
    for i, claim in enumerate(claims):
        where = index(path, i)
        if _MIRROR in annotations:
            yield forbidden("", "static pods do not support resource claims")
            continue
        name = child(where, "name")
        if not claim.name:
            yield required(name)
        elif claim.name in seen:
            yield duplicate(name, claim.name)
        else:
            yield from names.label(name, claim.name)
            seen.add(claim.name)
        yield from _source(where, claim)


def _source(path: str, claim: PodResourceClaim) -> Iterator[FieldError]:
    given = {
        "resourceClaimName": claim.resource_claim_name,
        "resourceClaimTemplateName": claim.resource_claim_template_name,
    }
    chosen = {name: value for name, value in given.items() if value is not None}
    if len(chosen) > 1:
        detail = "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified"
        yield invalid(path, claim, detail, internal=True)
    elif not chosen:
        detail = "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`"
        yield invalid(path, claim, detail, internal=True)
    for name, value in chosen.items():
        for message in content.dns_subdomain(value, unit=content.CHARACTERS):
            yield invalid(child(path, name), value, message)


def _uses(path: str, claims: tuple[ContainerClaim, ...], known: set[str]) -> Iterator[FieldError]:
    """A claim is used as a whole or request by request, and neither twice."""
    used: set[str] = set()
    for i, claim in enumerate(claims):
        where = index(path, i)
        if not claim.name:
            yield required(where)
            continue
        if claim.name in used:
            yield duplicate(where, claim.name)
        else:
            whole = f"{claim.name}/{claim.request}" if claim.request else claim.name
            if claim.request:
                yield from names.label(child(where, "request"), claim.request)
            if whole in used:
                yield duplicate(where, whole)
            elif not claim.request:
                for other in used:
                    if other.partition("/")[0] == claim.name:
                        yield duplicate(where, claim.name)
            used.add(whole)
        if claim.name not in known:
            listed = f": {', '.join(sorted(known))}" if known else " which is empty"
            detail = f"must be one of the names in pod.spec.resourceClaims{listed}"
            yield replace(not_found(where, claim.name), detail=detail)
