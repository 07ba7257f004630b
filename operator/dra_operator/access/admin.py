"""Admin access: which namespaces may ask for devices that are in use.

`adminAccess: true` needs the label `resource.kubernetes.io/admin-access` with exactly the value `"true"` on the
namespace. The built-in API refuses claims and templates otherwise when they are written; this rule is asked again
before a claim is generated and before devices are allocated, since labels change.

Upstream: KEP-5018, `DRAAdminNamespaceLabelKey`. Not here: what admin access may share (`allocation/`).
"""

from __future__ import annotations

from dra_operator.api.core import Namespace
from dra_operator.api.names import ADMIN_ACCESS_LABEL
from dra_operator.api.resource import DeviceRequestAllocationResult, ResourceClaim, ResourceClaimSpec


def asks_admin_access(spec: ResourceClaimSpec) -> bool:
    """Whether any request of the claim wants admin access. Subrequests cannot ask for it."""
    return any(
        request.exactly is not None and request.exactly.admin_access is True for request in spec.devices.requests or ()
    )


def admin_results(claim: ResourceClaim) -> tuple[DeviceRequestAllocationResult, ...]:
    """The devices that the claim has admin access to now."""
    allocation = claim.status.allocation
    return tuple(one for one in (allocation and allocation.devices.results) or () if one.admin_access)


def grants_admin_access(namespace: Namespace | None) -> bool:
    """Whether the namespace carries the label with the exact value. An unknown namespace grants nothing."""
    return namespace is not None and namespace.metadata.label(ADMIN_ACCESS_LABEL) == "true"
