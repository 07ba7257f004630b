"""Where a request is written down, so that a suggestion can name the field to change.

The claims that a pod gets from a template are changed in the template; a claim of one's own is changed itself.
"""

from __future__ import annotations

from collections.abc import Iterator

from dra_operator.api.core import Pod
from dra_operator.api.names import POD_CLAIM_NAME_ANNOTATION
from dra_operator.api.resource import DeviceRequest, DeviceSubRequest, ExactDeviceRequest, ResourceClaim
from dra_operator.query.changes import Change, Step
from dra_operator.query.report import Struct


class Suggestion(Struct, frozen=True, kw_only=True):
    message: str
    changes: tuple[Change, ...]


class Target:
    """Where a request of a pod's claim is written down: its template, or the claim itself."""

    def __init__(self, pod: Pod, claim: ResourceClaim) -> None:
        entry = next(
            (
                one
                for one in pod.spec.resource_claims or ()
                if one.resource_claim_template_name and claim.metadata.annotation(POD_CLAIM_NAME_ANNOTATION) == one.name
            ),
            None,
        )
        self.kind = "ResourceClaim" if entry is None else "ResourceClaimTemplate"
        self.name = claim.metadata.name if entry is None else entry.resource_claim_template_name or ""
        self.namespace = claim.metadata.namespace
        self._root: tuple[Step, ...] = ("spec", "devices") if entry is None else ("spec", "spec", "devices")
        self._claim = claim

    @property
    def label(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}"

    def set(self, path: tuple[Step, ...], value: object) -> Change:
        return Change(
            action="set",
            kind=self.kind,
            namespace=self.namespace,
            name=self.name,
            path=(*self._root, *path),
            value=value,
        )

    def ask(self, request: str, subrequest: str) -> tuple[Step, ...]:
        """The path of an alternative, below `devices`."""
        requests = self._claim.spec.devices.requests or ()
        index = next(number for number, one in enumerate(requests) if one.name == request)
        if not subrequest:
            return ("requests", index, "exactly")
        subs = requests[index].first_available or ()
        return ("requests", index, "firstAvailable", next(n for n, one in enumerate(subs) if one.name == subrequest))


def asks_of(request: DeviceRequest) -> Iterator[tuple[str, ExactDeviceRequest | DeviceSubRequest]]:
    """The request's alternatives by the name of the subrequest, which is empty for `exactly`."""
    if request.exactly is not None:
        yield "", request.exactly
    for sub in request.first_available or ():
        yield sub.name, sub


def of_pod(pod: Pod, message: str, path: tuple[Step, ...], value: object) -> Suggestion:
    """A change of the pod itself."""
    key = pod.key
    change = Change(action="set", kind="Pod", namespace=key.namespace, name=key.name, path=path, value=value)
    return Suggestion(message=message, changes=(change,))
