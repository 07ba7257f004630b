"""What the containers of a pod use of its claims: requests that are not there.

A container may name one request of a claim. The API server does not look into the claim for it, and the kubelet hands
a container no device for a request that the claim does not have, and starts it. So such a pod is told before it is
given devices.

Upstream: `resources.claims[].request` of core/v1; `cdiDevicesAsList` of k8s.io/kubernetes/pkg/kubelet/cm/dra.
"""

from __future__ import annotations

from collections.abc import Mapping

from dra_operator.api.core import Pod
from dra_operator.api.reasons import Reason
from dra_operator.api.resource import ResourceClaim
from dra_operator.lifecycle.generate import Blocked


def find_unknown_request(pod: Pod, claims: Mapping[str, ResourceClaim]) -> Blocked | None:
    """The first use of a request that is not in its claim. `claims` by entry of `spec.resourceClaims`."""
    for container in (*(pod.spec.init_containers or ()), *pod.spec.containers):
        for use in container.resources.claims or ():
            claim = claims.get(use.name)
            if claim is None or not use.request:
                continue
            known = [request.name for request in claim.spec.devices.requests or ()]
            if use.request not in known:
                listed = ", ".join(f'"{name}"' for name in known)
                return Blocked(
                    Reason.REQUEST_INVALID,
                    f'container "{container.name}" uses request "{use.request}" of ResourceClaim "{claim.key}", which '
                    f"has only {listed}: it would get no device; correct the name in the pod or in the claim",
                )
    return None
