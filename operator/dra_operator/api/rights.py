"""What each part of the program needs of the API server: the rights, each with its reason.

One source for everybody who has to know: the roles in `manifests/` are written from here (`make manifests`), and the
end-to-end tests hold every right against what the API server's audit log says was used.

Invariant: a right is here because a request of ours needs it; nothing is here for later.

Not here, since every authenticated user has it by `system:discovery`: /api, /apis, /version. Nor any `finalizers`
subresource: owner references of generated claims leave blockOwnerDeletion unset, so that
OwnerReferencesPermissionEnforcement (on by default in OKD) asks for nothing more. Nor the virtual subresource
`resourceclaims/driver`, which the API server asks for when `status.devices` of an allocated claim changes: neither the
controller nor the agent writes that field, and a release takes it away without being asked.

Upstream: AuthorizedForBinding and AuthorizedForDeviceStatus in pkg/registry/resource (1.36 and later).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from dra_operator.api.names import (
    GATE_CONFIGURATION,
    LEASE_NAME,
    OPERATOR_NAMESPACE,
    SELECTORS_CONFIGURATION,
    WEBHOOK_SERVICE,
)

RESOURCE_GROUP: Final = "resource.k8s.io"
CONTROLLER_ACCOUNT: Final = "dra-operator"
AGENT_ACCOUNT: Final = "dra-operator-agent"

_READ: Final = ("get", "list", "watch")
_MIRROR: Final = ("list", "watch")


@dataclass(frozen=True, slots=True, kw_only=True)
class Right:
    """These verbs on these resources (`plural` or `plural/subresource`) of one API group."""

    group: str
    resources: tuple[str, ...]
    verbs: tuple[str, ...]
    why: str
    names: tuple[str, ...] = ()
    """Only objects of these names; empty: all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Role:
    """Rights under one name, bound to a ServiceAccount of the operator's namespace."""

    name: str
    rights: tuple[Right, ...]
    account: str = ""
    """Empty: bound to nobody."""
    namespace: str = ""
    """Where they hold; empty: everywhere."""


CONTROLLER: Final = Role(
    name="dra-operator",
    account=CONTROLLER_ACCOUNT,
    rights=(
        Right(
            group="",
            resources=("pods",),
            verbs=_READ,
            why="What decisions are made from. A pod that seems gone is read once more before its devices are freed.",
        ),
        Right(group="", resources=("nodes", "namespaces"), verbs=_MIRROR, why="What decisions are made from."),
        Right(
            group=RESOURCE_GROUP,
            resources=("deviceclasses", "resourceslices", "resourceclaimtemplates"),
            verbs=_MIRROR,
            why="What decisions are made from.",
        ),
        Right(
            group=RESOURCE_GROUP,
            resources=("devicetaintrules",),
            verbs=_MIRROR,
            why="Taints that admins give to devices, where the API server serves them (1.37 and later).",
        ),
        Right(
            group=RESOURCE_GROUP,
            resources=("resourceclaims",),
            verbs=_READ,
            why="What decisions are made from. A claim is read where the answer to a write to it was lost.",
        ),
        Right(
            group="",
            resources=("pods",),
            verbs=("patch",),
            why="Removing the gate, pinning the pod to the node of its devices.",
        ),
        Right(
            group="",
            resources=("pods/status",),
            verbs=("patch",),
            why="status.resourceClaimStatuses and the condition dra-operator.io/DevicesAllocated.",
        ),
        Right(
            group=RESOURCE_GROUP,
            resources=("resourceclaims",),
            verbs=("create", "patch", "delete"),
            why="Generating per-pod claims, setting and removing delete-protection, collecting generated claims.",
        ),
        Right(
            group=RESOURCE_GROUP,
            resources=("resourceclaims/status", "resourceclaims/binding"),
            verbs=("patch",),
            why="Allocation and reservation. From 1.36 on the API server also asks for the virtual subresource "
            "`binding`, with the verb of the request and in all namespaces, when either of the two changes.",
        ),
        Right(
            group="",
            resources=("pods/eviction",),
            verbs=("create",),
            why="Pods on devices with a NoExecute taint, where kube-controller-manager does not evict them "
            "(--taint-eviction).",
        ),
        Right(group="events.k8s.io", resources=("events",), verbs=("create", "patch"), why="What pods are told."),
        Right(
            group="admissionregistration.k8s.io",
            resources=("mutatingadmissionpolicies", "mutatingadmissionpolicybindings"),
            names=(GATE_CONFIGURATION,),
            verbs=("get",),
            why="To say so when the gate policy is missing.",
        ),
    ),
)

CONTROLLER_OWN: Final = Role(
    name="dra-operator",
    account=CONTROLLER_ACCOUNT,
    namespace=OPERATOR_NAMESPACE,
    rights=(
        Right(
            group="coordination.k8s.io",
            resources=("leases",),
            verbs=("create",),
            why="Leader election. A name cannot limit `create`, so that has a rule of its own.",
        ),
        Right(
            group="coordination.k8s.io",
            resources=("leases",),
            names=(LEASE_NAME,),
            verbs=("get", "patch"),
            why="Acquiring, renewing and releasing the one Lease.",
        ),
    ),
)

EVICT: Final = Role(
    name="dra-operator-evict",
    account=CONTROLLER_ACCOUNT,
    rights=(
        Right(
            group="",
            resources=("pods",),
            verbs=("delete",),
            why="--repack=evict: a pod that has devices and is not scheduled makes place for its replacement.",
        ),
    ),
)

WEBHOOK: Final = Role(
    name="dra-operator-webhook",
    account=CONTROLLER_ACCOUNT,
    rights=(
        Right(
            group="admissionregistration.k8s.io",
            resources=("mutatingwebhookconfigurations", "validatingwebhookconfigurations"),
            names=(GATE_CONFIGURATION, SELECTORS_CONFIGURATION),
            verbs=("get", "patch"),
            why="Telling API servers which authority the webhook's certificate is from (caBundle), and saying so when "
            "nothing gates pods.",
        ),
    ),
)

WEBHOOK_OWN: Final = Role(
    name="dra-operator-webhook",
    account=CONTROLLER_ACCOUNT,
    namespace=OPERATOR_NAMESPACE,
    rights=(
        Right(
            group="",
            resources=("secrets",),
            names=(WEBHOOK_SERVICE,),
            verbs=("get", "list", "watch", "patch"),
            why="The certificates of the webhook, which all replicas share. A list and a watch of this one name.",
        ),
    ),
)

AGENT: Final = Role(
    name="dra-operator-agent",
    account=AGENT_ACCOUNT,
    rights=(
        Right(group="", resources=("nodes",), verbs=("get",), why="Its own Node owns its slices."),
        Right(
            group=RESOURCE_GROUP,
            resources=("resourceclaims",),
            verbs=_READ,
            why="Preparing a claim, and seeing when one that is prepared is no longer allocated.",
        ),
        Right(
            group=RESOURCE_GROUP,
            resources=("resourceslices",),
            verbs=("list", "watch", "create", "patch", "delete"),
            why="Publishing its GPUs. RBAC cannot say of which node; agent-policy.yaml does.",
        ),
    ),
)

VIEW: Final = Role(
    name="dra-operator-view",
    rights=(
        Right(
            group=RESOURCE_GROUP,
            resources=("deviceclasses", "resourceslices", "devicetaintrules"),
            verbs=_READ,
            why="What users may read beside their own namespace, so that `dra-operator explain` can tell them what "
            "there is.",
        ),
    ),
)
