"""What one look at a pod sees: the pod, its claims as far as they are there, and what stands in the way.

Put together once, before anything is decided. Who decides (`pod.py`, `gated.py`, `ungated.py`) reads this and the
View, and changes neither.

Not here: how an entry of `spec.resourceClaims` finds its claim (`generate.py`).

Upstream: the state that the dynamicresources plugin of kube-scheduler keeps of a pod from PreFilter on (`stateData`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from dra_operator.api.core import Pod
from dra_operator.api.meta import ObjectKey
from dra_operator.api.names import DEVICES_ALLOCATED
from dra_operator.api.resource import ResourceClaim
from dra_operator.lifecycle.decide import Decider
from dra_operator.lifecycle.generate import Blocked, Found, NotNeeded, ToCreate, resolve
from dra_operator.lifecycle.groups import owning_group
from dra_operator.lifecycle.policy import Policy
from dra_operator.lifecycle.publish import moment
from dra_operator.lifecycle.view import View


@dataclass(frozen=True, slots=True)
class Look:
    """See the module. `now`: seconds since the epoch."""

    decider: Decider
    pod: Pod
    policy: Policy
    now: float
    entries: Mapping[str, ResourceClaim]
    """The claims by their names in `spec.resourceClaims`."""
    claims: tuple[ResourceClaim, ...]
    """Each of them once: two entries may name one claim."""
    names: Mapping[str, str]
    """The names of claims that were generated for the pod, by entry, as its status has to have them."""
    missing: tuple[ToCreate, ...]
    duplicates: tuple[ResourceClaim, ...]
    unseen: tuple[ObjectKey, ...]
    """Published claims that the mirror lacks, where others are there: not known to be gone (`Found.unseen`)."""
    blocked: tuple[Blocked, ...]

    @classmethod
    def at(cls, pod: Pod, decider: Decider, policy: Policy, now: float) -> Look:
        """The pod as it is now."""
        entries: dict[str, ResourceClaim] = {}
        claims: dict[str, ResourceClaim] = {}
        names: dict[str, str] = {}
        missing: list[ToCreate] = []
        duplicates: list[ResourceClaim] = []
        unseen: list[ObjectKey] = []
        blocked: list[Blocked] = []
        for entry, resolution in resolve(decider.view, pod):
            match resolution:
                case ToCreate():
                    missing.append(resolution)
                case Found(claim, spare, published):
                    if published is not None:
                        unseen.append(published)
                    claims.setdefault(claim.uid, claim)
                    entries[entry.name] = claim
                    duplicates += spare
                    if entry.resource_claim_template_name and owning_group(claim) is None:
                        names[entry.name] = claim.metadata.name
                case Blocked():
                    blocked.append(resolution)
                case NotNeeded():
                    pass
        return cls(
            decider,
            pod,
            policy,
            now,
            entries=entries,
            claims=tuple(claims.values()),
            names=names,
            missing=tuple(missing),
            duplicates=tuple(duplicates),
            unseen=tuple(unseen),
            blocked=tuple(blocked),
        )

    @property
    def view(self) -> View:
        return self.decider.view

    @property
    def waits_since(self) -> float | None:
        """When the pod was told that there is nothing for it; None where it was not, or was given devices since."""
        current = self.pod.condition(DEVICES_ALLOCATED)
        if current is None or current.status == "True":
            return None
        return moment(current.last_transition_time, self.now)

    def until(self, *times: float | None) -> float | None:
        """Seconds until the first of the times that are set."""
        return min((max(0.0, time - self.now) for time in times if time is not None), default=None)
