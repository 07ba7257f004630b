"""What must hold at every revision of a cluster, and once it has come to rest.

A pod has its devices from when it is let go (its gate is removed, and nothing else keeps it from running) until it is
done as upstream means it: terminal, gone, or deleted before it had a node. While it has them:

- its claims stay allocated as they are, reserved for it, and are not deleted;
- no other claim in the same position holds one of the devices, unless it is a monitor (admin access);
- the counters that all of them draw from suffice.

kube-scheduler takes its reservation back when it cannot bind (the namespace is being deleted, the API server does not
answer), and reserves again for its next try: until a pod is bound that is counted and violates nothing, and all of it
is checked again when it is bound. It does so, too, where the pod was bound and only the answer was lost: the next try
is told "already assigned". That is counted; the claim has to keep its devices, and be reserved again if the pod stays.

Two claims may hold one device for a moment while a pod of one of them is still gated: nothing has been given out, and
one is taken back. Those moments are counted, and do not violate anything.

A user's own claim is deleted by its user only; one that is deleted while a pod runs with it stays until that ends. Pods
with claims are gated from their first revision on.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum

from dra_operator.api.codec import decode
from dra_operator.api.core import Pod
from dra_operator.api.meta import ObjectKey, Uid
from dra_operator.api.names import GATE
from dra_operator.api.quantity import Quantity
from dra_operator.api.resource import DeviceRequestAllocationResult, ResourceClaim, ResourceSlice
from tests.chaos.history import Revision

Device = tuple[str, str, str]
"""Driver, pool, name."""


class Kind(StrEnum):
    DOUBLE = "double allocations"
    LOST = "lost"
    LEAK = "leaks"


@dataclass(frozen=True, slots=True)
class Violation:
    kind: Kind
    what: str
    revision: int

    def __str__(self) -> str:
        return f"revision {self.revision}: {self.what}"


@dataclass(slots=True)
class Observer:
    """See the module. `see` takes one revision after the other; what it finds is in `violations`."""

    deletable: set[ObjectKey] = field(default_factory=set)
    """Claims that their users have deleted."""
    pods: dict[ObjectKey, Pod] = field(default_factory=dict)
    claims: dict[ObjectKey, ResourceClaim] = field(default_factory=dict)
    slices: dict[ObjectKey, ResourceSlice] = field(default_factory=dict)
    violations: list[Violation] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    revision: int = 0
    bound: Counter[str] = field(default_factory=Counter)
    """Pods with claims that were bound to each node."""
    _unreserved: dict[ObjectKey, dict[ObjectKey, Uid]] = field(default_factory=dict)
    """By claim: the bound pods from which its reservation was taken back, and not given again."""
    _holders: defaultdict[Device, set[ObjectKey]] = field(default_factory=lambda: defaultdict(set))

    def see(self, revision: Revision) -> None:
        self.revision = revision.number
        key, value = revision.key, revision.value
        match revision.kind:
            case "pods":
                self._see_pod(key, None if value is None else decode(value, Pod))
            case "resourceclaims":
                self._see_claim(key, None if value is None else decode(value, ResourceClaim))
            case _:
                self.slices.pop(key, None)
                if value is not None:
                    self.slices[key] = decode(value, ResourceSlice)

    # --- one revision ------------------------------------------------------------------------------------------------

    def _see_pod(self, key: ObjectKey, pod: Pod | None) -> None:
        before = self.pods.get(key)
        if pod is None:
            del self.pods[key]
            return
        self.pods[key] = pod
        if not pod.spec.resource_claims:
            return
        if before is None or before.uid != pod.uid:
            self.counts["pods created"] += 1
            if not pod.has_gate(GATE):
                self._violated(Kind.LOST, f"pod {key} was created without its gate")
        elif has_devices(pod) and not has_devices(before):
            self.counts["pods let go"] += 1
            self._check_given(pod, "let go")
        if pod.spec.node_name and before is not None and not before.spec.node_name:
            self.bound[pod.spec.node_name] += 1
            if has_devices(before):
                self._check_given(pod, "bound")
        if pod.terminal and before is not None and not before.terminal:
            self.counts["pods completed"] += 1

    def _check_given(self, pod: Pod, done: str) -> None:
        for entry, claim in self.claims_of(pod):
            if claim is None or claim.status.allocation is None:
                self._violated(Kind.LOST, f"pod {pod.key} was {done} without devices for {entry!r}")
            elif not claim.reserved_for(pod.uid):
                self._violated(Kind.LOST, f"pod {pod.key} was {done}, and claim {claim.key} is not reserved for it")
            else:
                self._check_devices(claim)

    def _see_claim(self, key: ObjectKey, claim: ResourceClaim | None) -> None:
        before = self.claims.get(key)
        if before is not None:
            self._check_kept(before, claim)
            for device in devices_of(before):
                self._holders[device].discard(key)
        if claim is None:
            del self.claims[key]
            return
        self.claims[key] = claim
        for device in devices_of(claim):
            self._holders[device].add(key)
            if len(self._holders[device]) > 1:
                self.counts["devices in two claims, undone in time"] += 1
        if self.users_of(claim):
            self._check_devices(claim)

    def _check_kept(self, before: ResourceClaim, claim: ResourceClaim | None) -> None:
        users = self._running_with(before)
        if claim is None:
            self._unreserved.pop(before.key, None)
            if users:
                self._violated(Kind.LOST, f"claim {before.key} is gone, and pod {users[0].key} runs with it")
            if before.metadata.controller is None and before.key not in self.deletable:
                self._violated(Kind.LOST, f"claim {before.key} is a user's own and was deleted")
            return
        for pod in users:
            if claim.status.allocation is None or devices_of(claim) != devices_of(before):
                self._violated(Kind.LOST, f"claim {before.key} has other devices than pod {pod.key} runs with")
            elif before.reserved_for(pod.uid) and not claim.reserved_for(pod.uid):
                when = "after" if pod.spec.node_name else "before"
                self.counts[f"reservations taken back {when} binding"] += 1
                if pod.spec.node_name:
                    self._unreserved.setdefault(claim.key, {})[pod.key] = pod.uid

    def _without_reservation(self, claim: ResourceClaim) -> list[Pod]:
        """Pods that run with the claim, though it is not reserved for them any more. Who is over is forgotten."""
        found = []
        for key, uid in list(self._unreserved.get(claim.key, {}).items()):
            pod = self.pods.get(key)
            if pod is not None and pod.uid == uid and has_devices(pod) and not claim.reserved_for(uid):
                found.append(pod)
            else:
                del self._unreserved[claim.key][key]
        return found

    def _running_with(self, claim: ResourceClaim) -> list[Pod]:
        return [*self.users_of(claim), *self._without_reservation(claim)]

    def _check_devices(self, claim: ResourceClaim) -> None:
        """Of a claim that a pod runs with: nobody else runs with its devices, and its counters suffice."""
        for device in devices_of(claim):
            for rival in self._holders[device]:
                if rival != claim.key and self._running_with(self.claims[rival]):
                    self._violated(Kind.DOUBLE, f"device {'/'.join(device)} is given twice: to {claim.key} and {rival}")
        for pool in {(driver, pool) for driver, pool, _ in devices_of(claim)}:
            for name, drawn, there in self._counters(*pool):
                if drawn > there:
                    self._violated(Kind.DOUBLE, f"pool {pool[1]}: {drawn} of {there} {name} are drawn")

    def _counters(self, driver: str, pool: str) -> Iterator[tuple[str, Quantity, Quantity]]:
        """Name, what running pods' claims draw, and what there is, by what is published now."""
        there: dict[str, Quantity] = {}
        drawn: defaultdict[str, Quantity] = defaultdict(Quantity)
        for spec in (each.spec for each in self.slices.values()):
            if spec.driver != driver or spec.pool.name != pool:
                continue
            for counters in spec.shared_counters or ():
                there |= {f"{counters.name}/{name}": each.value for name, each in (counters.counters or {}).items()}
            for device in spec.devices or ():
                used = any(self.users_of(self.claims[key]) for key in self._holders[driver, pool, device.name])
                for draw in device.consumes_counters or () if used else ():
                    for name, each in (draw.counters or {}).items():
                        drawn[f"{draw.counter_set}/{name}"] += each.value
        return ((name, amount, there[name]) for name, amount in drawn.items() if name in there)

    def _violated(self, kind: Kind, what: str) -> None:
        self.violations.append(Violation(kind, what, self.revision))

    # --- what is there -----------------------------------------------------------------------------------------------

    def claims_of(self, pod: Pod) -> list[tuple[str, ResourceClaim | None]]:
        """The entries of the pod, each with its claim, if there is one."""
        published = {one.name: one.resource_claim_name for one in pod.status.resource_claim_statuses or ()}
        found = []
        for entry in pod.spec.resource_claims or ():
            name = entry.resource_claim_name or published.get(entry.name)
            key = ObjectKey(pod.metadata.namespace, name or "")
            found.append((entry.name, self.claims.get(key)))
        return found

    def users_of(self, claim: ResourceClaim) -> list[Pod]:
        """Pods that have their devices, and this claim among them."""
        found = []
        for consumer in claim.status.reserved_for or ():
            pod = self.pods.get(ObjectKey(claim.metadata.namespace, consumer.name))
            if pod is not None and pod.uid == consumer.uid and has_devices(pod):
                found.append(pod)
        return found

    # --- at rest -----------------------------------------------------------------------------------------------------

    def leftovers(self) -> list[Violation]:
        """What there should not be once nobody does anything any more, and everybody could be served."""
        waiting = [Violation(Kind.LOST, what, self.revision) for what in (*self._waiting(), *self._unserved())]
        return [*waiting, *(Violation(Kind.LEAK, what, self.revision) for what in self._leaks())]

    def _waiting(self) -> Iterator[str]:
        for pod in self.pods.values():
            if not pod.spec.resource_claims or pod.terminal:
                continue
            if pod.metadata.deletion_timestamp is not None:
                yield f"pod {pod.key} is deleted and still there"
            elif pod.status.phase != "Running":
                yield f"pod {pod.key} waits"

    def _unserved(self) -> Iterator[str]:
        for claim in self.claims.values():
            for pod in self._without_reservation(claim):
                yield f"claim {claim.key} is not reserved for pod {pod.key}, which runs"

    def _leaks(self) -> Iterator[str]:
        live = {pod.uid for pod in self.pods.values() if not pod.terminal}
        needed = {claim.key for pod in self.pods.values() for _, claim in self.claims_of(pod) if claim is not None}
        for claim in self.claims.values():
            owner = claim.metadata.controller
            if claim.metadata.deletion_timestamp is not None and not self.users_of(claim):
                yield f"claim {claim.key} is deleted and still there"
            elif owner is not None and (Uid(owner.uid) not in live or claim.key not in needed):
                yield f"claim {claim.key} was generated for pod {owner.name}, which does not need it"
            for consumer in claim.status.reserved_for or ():
                if consumer.uid not in live:
                    yield f"claim {claim.key} is reserved for pod {consumer.name}, which is over"
            if claim.status.allocation is not None and not claim.status.reserved_for:
                yield f"claim {claim.key} holds devices for nobody"


def has_devices(pod: Pod) -> bool:
    """See the module: let go, and not done."""
    over = pod.terminal or (pod.metadata.deletion_timestamp is not None and not pod.spec.node_name)
    return not pod.has_gate(GATE) and not over


def devices_of(claim: ResourceClaim) -> list[Device]:
    """What a claim holds for itself, in order: monitors hold nothing."""
    results: Iterable[DeviceRequestAllocationResult] = ()
    if claim.status.allocation is not None:
        results = claim.status.allocation.devices.results or ()
    return [(one.driver, one.pool, one.device) for one in results if not one.admin_access and one.share_id is None]
