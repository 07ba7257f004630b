"""What a node does with a pod that is bound to it, behind a small protocol.

The stand-in keeps the kubelet's contract with DRA: a pod runs only when each of its claims is allocated and reserved
for it; claims are prepared before it runs and unprepared after it ended. Which driver prepares them is the runtime's
business.

Upstream: pkg/kubelet/cm/dra (`PrepareResources`, `UnprepareResources`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Protocol

from dra_operator.api.core import Pod
from dra_operator.api.meta import ObjectKey
from dra_operator.api.resource import ResourceClaim
from dra_operator.lifecycle.groups import is_reserved


class NotYetError(Exception):
    """The pod cannot run yet, and why; it is tried again when one of its claims changes, or in so many seconds."""

    def __init__(self, why: str, *, again_in: float | None = None) -> None:
        super().__init__(why)
        self.again_in: Final = again_in


class NodeRuntime(Protocol):
    async def admit(self, pod: Pod, claims: Mapping[ObjectKey, ResourceClaim]) -> list[ResourceClaim]:
        """The pod's claims, if it may run with them. Raises `NotYetError`."""

    async def prepare(self, pod: Pod, claims: list[ResourceClaim]) -> None:
        """Make the devices of the claims ready for the pod. Raises `NotYetError`."""

    async def unprepare(self, pod: Pod, claims: list[ResourceClaim]) -> None:
        """The pod has ended; a claim that no other pod on the node uses gives its devices back."""


class SimulatedRuntime:
    """Prepares nothing but its own books: which claim is used by which pods. Real plugins: `plugins.py`."""

    def __init__(self) -> None:
        self._users: dict[str, set[str]] = {}

    async def admit(self, pod: Pod, claims: Mapping[ObjectKey, ResourceClaim]) -> list[ResourceClaim]:
        return admitted_claims(pod, claims)

    async def prepare(self, pod: Pod, claims: list[ResourceClaim]) -> None:
        for claim in claims:
            self._users.setdefault(claim.uid, set()).add(pod.uid)

    async def unprepare(self, pod: Pod, claims: list[ResourceClaim]) -> None:
        for claim in claims:
            users = self._users.get(claim.uid, set())
            users.discard(pod.uid)
            if not users:
                self._users.pop(claim.uid, None)


def admitted_claims(pod: Pod, claims: Mapping[ObjectKey, ResourceClaim]) -> list[ResourceClaim]:
    """The pod's claims, each allocated and reserved for it. Raises `NotYetError`."""
    needed = []
    for key in claim_keys(pod):
        claim = claims.get(key)
        if claim is None:
            raise NotYetError(f'claim "{key}" does not exist')
        if claim.status.allocation is None:
            raise NotYetError(f'claim "{key}" is not allocated')
        if not is_reserved(claim, pod):
            raise NotYetError(f'claim "{key}" is not reserved for the pod')
        needed.append(claim)
    return needed


def claim_keys(pod: Pod) -> list[ObjectKey]:
    """The claims that the pod needs, by what its spec and status say. Raises `NotYetError`."""
    published = {status.name: status.resource_claim_name for status in pod.status.resource_claim_statuses or ()}
    keys = []
    for entry in pod.spec.resource_claims or ():
        name = entry.resource_claim_name
        if name is None:
            if entry.name not in published:
                raise NotYetError(f'no claim has been generated for "{entry.name}"')
            name = published[entry.name]
            if name is None:
                continue  # not needed
        keys.append(ObjectKey(pod.metadata.namespace, name))
    return keys
