"""What must always hold, checked at every action of the operator and every change of the store, and at rest."""

from __future__ import annotations

from collections import defaultdict

from dra_operator.api.core import Pod
from dra_operator.api.meta import ObjectKey, Uid
from dra_operator.api.names import DELETE_PROTECTION_FINALIZER, GATE
from dra_operator.api.resource import ResourceClaim
from dra_operator.lifecycle.actions import Action, DeleteClaim, Ungate, WriteClaimStatus
from dra_operator.world.store import Change
from tests.simulation.world import NAMESPACE, Cluster, devices_of


class ViolationError(AssertionError):
    """An invariant does not hold."""


class Invariants:
    """`before` looks at an action that is about to reach the store, `after` at each change, `at_rest` at the end."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._seen = 0

    # --- before an action -------------------------------------------------------------------------------------------

    def before(self, action: Action) -> None:
        self.after()
        match action:
            case Ungate():
                self._only_confirmed_pods_are_ungated(action)
            case WriteClaimStatus():
                self._no_running_pod_loses_its_claim(action)
                self._allocated_claims_are_protected(action)
            case DeleteClaim():
                self._no_claim_in_need_is_deleted(action)
            case _:
                return

    def _only_confirmed_pods_are_ungated(self, action: Ungate) -> None:
        pod = self._cluster.store.get(Pod, action.key)
        if pod is None or pod.uid != action.uid or pod.metadata.resource_version != action.resource_version:
            return  # the store refuses it
        for claim in self.claims_of(pod):
            if claim.status.allocation is None or not claim.reserved_for(pod.uid):
                raise ViolationError(f"{pod.key} is ungated without an allocation of {claim.key}")
            for device in devices_of(claim):
                for rival in self._holders(device):
                    first = self._cluster.allocated_at[rival.uid] < self._cluster.allocated_at[claim.uid]
                    if rival.uid != claim.uid and first:
                        raise ViolationError(f"{pod.key} is ungated with {device}, which {rival.key} was given before")

    def _no_running_pod_loses_its_claim(self, action: WriteClaimStatus) -> None:
        claim = self._cluster.store.get(ResourceClaim, action.key)
        if claim is None or claim.metadata.resource_version != action.resource_version:
            return
        kept = {consumer.uid for consumer in action.reserved_for}
        for consumer in claim.status.reserved_for or ():
            pod = self._cluster.store.get(Pod, ObjectKey(NAMESPACE, consumer.name))
            if consumer.uid in kept or pod is None or pod.uid != consumer.uid:
                continue
            over = pod.status.phase in ("Succeeded", "Failed") or (
                pod.metadata.deletion_timestamp is not None and not pod.spec.node_name
            )
            if not over and not pod.has_gate(GATE):
                raise ViolationError(f"{claim.key} is released although {pod.key} may run with it")

    def _allocated_claims_are_protected(self, action: WriteClaimStatus) -> None:
        claim = self._cluster.store.get(ResourceClaim, action.key)
        if claim is None or claim.metadata.resource_version != action.resource_version or action.allocation is None:
            return
        if DELETE_PROTECTION_FINALIZER not in (claim.metadata.finalizers or ()):
            raise ViolationError(f"{claim.key} is allocated without the delete-protection finalizer")

    def _no_claim_in_need_is_deleted(self, action: DeleteClaim) -> None:
        claim = self._cluster.store.get(ResourceClaim, action.key)
        if claim is None or claim.uid != action.uid:
            return
        owner = claim.metadata.controller
        if owner is None:
            raise ViolationError(f"the user's own claim {claim.key} is deleted")
        pod = self._cluster.store.get(Pod, ObjectKey(NAMESPACE, owner.name))
        if pod is not None and pod.uid == owner.uid and not pod.done:
            rest = [one for one in self.claims_of(pod) if one.uid != claim.uid]
            if not any(one.metadata.controller is not None for one in rest):
                raise ViolationError(f"{claim.key} is deleted although {pod.key} needs it")

    # --- after every change -----------------------------------------------------------------------------------------

    def after(self) -> None:
        """Look at what has been written to the store since the last time."""
        log = self._cluster.store.log
        while self._seen < len(log):
            change = log[self._seen]
            self._seen += 1
            if isinstance(change.object, ResourceClaim):
                self._note_allocation(change, change.object)
                self._no_device_in_two_claims_of_ours(change.object)
                self._nothing_in_use_vanishes(change, change.object)

    def _note_allocation(self, change: Change, claim: ResourceClaim) -> None:
        if claim.status.allocation is None or change.type == "DELETED":
            self._cluster.allocated_at.pop(claim.uid, None)
        else:
            self._cluster.allocated_at.setdefault(claim.uid, change.version)

    def _no_device_in_two_claims_of_ours(self, claim: ResourceClaim) -> None:
        if claim.uid in self._cluster.foreign:
            return
        for device in devices_of(claim):
            ours = [one for one in self._holders(device) if one.uid not in self._cluster.foreign]
            if len(ours) > 1:
                raise ViolationError(f"{device} is in {' and '.join(str(one.key) for one in ours)}")

    def _nothing_in_use_vanishes(self, change: Change, claim: ResourceClaim) -> None:
        if change.type != "DELETED" or (claim.uid in self._cluster.user_deleted and claim.status.allocation is None):
            return
        for consumer in claim.status.reserved_for or ():
            pod = self._cluster.store.get(Pod, ObjectKey(NAMESPACE, consumer.name))
            if pod is not None and pod.uid == consumer.uid and pod.spec.node_name and not pod.terminal:
                raise ViolationError(f"{claim.key} vanished although {pod.key} runs with it")

    # --- at rest ----------------------------------------------------------------------------------------------------

    def at_rest(self) -> None:
        """Nothing leaked, and everybody who could run has run."""
        self.after()
        store = self._cluster.store
        pods = {pod.uid: pod for pod in store.all(Pod)}
        for claim in store.all(ResourceClaim):
            if claim.uid in self._cluster.foreign:
                continue
            owner = claim.metadata.controller
            if owner is not None and (owner.uid not in pods or pods[owner.uid].done):
                raise ViolationError(f"at rest: {claim.key} is left over from {owner.name}")
            for consumer in claim.status.reserved_for or ():
                if consumer.uid not in pods or pods[consumer.uid].done:
                    raise ViolationError(f"at rest: {claim.key} is still reserved for {consumer.name}")
            if claim.status.allocation is not None and not claim.status.reserved_for:
                raise ViolationError(f"at rest: {claim.key} is allocated for nobody")
            if claim.metadata.deletion_timestamp is not None and not claim.status.reserved_for:
                raise ViolationError(f"at rest: {claim.key} cannot be deleted")
        per_claim: defaultdict[Uid, set[str]] = defaultdict(set)
        for claim in store.all(ResourceClaim):
            owner = claim.metadata.controller
            if owner is not None:
                per_claim[owner.uid].add(claim.metadata.name)
        for pod in pods.values():
            wanted = sum(1 for entry in pod.spec.resource_claims or () if entry.resource_claim_template_name)
            if not pod.done and len(per_claim[pod.uid]) > wanted:
                raise ViolationError(f"at rest: {pod.key} has {len(per_claim[pod.uid])} claims, not {wanted}")
            if not pod.done and not pod.spec.node_name:
                self._must_wait(pod)

    def _must_wait(self, pod: Pod) -> None:
        """A pod that did not run must find too few free devices on every node."""
        if any(claim.metadata.deletion_timestamp is not None for claim in self.claims_of(pod)):
            return
        condition = next((one for one in pod.status.conditions or () if one.type.endswith("DevicesAllocated")), None)
        reason = condition.reason if condition is not None else "it was told nothing"
        raise ViolationError(f"at rest: {pod.key} did not run, {reason}: {condition.message if condition else ''}")

    # --- looking ----------------------------------------------------------------------------------------------------

    def claims_of(self, pod: Pod) -> list[ResourceClaim]:
        claims = []
        for entry in pod.spec.resource_claims or ():
            if entry.resource_claim_name:
                found = self._cluster.store.get(ResourceClaim, ObjectKey(NAMESPACE, entry.resource_claim_name))
            else:
                found = next(
                    (
                        one
                        for one in self._cluster.store.all(ResourceClaim)
                        if one.metadata.controller is not None
                        and one.metadata.controller.uid == pod.uid
                        and one.metadata.annotation("resource.kubernetes.io/pod-claim-name") == entry.name
                    ),
                    None,
                )
            if found is not None:
                claims.append(found)
        return claims

    def _holders(self, device: tuple[str, str, str]) -> list[ResourceClaim]:
        return [one for one in self._cluster.store.all(ResourceClaim) if device in devices_of(one)]
