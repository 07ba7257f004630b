"""A cluster in memory that the operator's own core brings to rest: the same looks, decisions and writes as live.

The store plays the API server, the view is fed from its log at once, and refs are looked at one after the other:
claims first, then pods by priority and in the order in which they came. Admission and binding are played, too: pods
get the gate that the policy in `manifests/base` would give them, and a pod that is ungated goes to the node of its
devices. It is at rest when no look writes anything; what would only happen later (time limits) does not happen.

Not here: kube-scheduler's own allocations for pods that are not managed, evictions, anything that runs.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Final, NamedTuple

from msgspec import structs

from dra_operator.allocation.nodefit import Fit
from dra_operator.api.core import Namespace, Node, Pod, PodSchedulingGate
from dra_operator.api.meta import Object, ObjectKey, Uid
from dra_operator.api.reasons import Reason
from dra_operator.api.resource import (
    DeviceClass,
    DeviceTaintRule,
    ResourceClaim,
    ResourceClaimTemplate,
    ResourceSlice,
)
from dra_operator.inventory.nodeselector import matches_node_selector
from dra_operator.lifecycle.actions import Action, Done, Missing, ReadClaim, ReadPod, WriteClaimStatus
from dra_operator.lifecycle.claim import reconcile_claim
from dra_operator.lifecycle.decide import Decider
from dra_operator.lifecycle.gate import NewPod, NewPodSpec, excludes_namespace, find_gates
from dra_operator.lifecycle.keys import ClaimRef, PodRef, Ref
from dra_operator.lifecycle.pin import pinned_node
from dra_operator.lifecycle.pod import reconcile_pod
from dra_operator.lifecycle.policy import Policy
from dra_operator.lifecycle.publish import timestamp
from dra_operator.lifecycle.verdict import Verdict
from dra_operator.lifecycle.view import View
from dra_operator.world.store import Store

_LOOKS_PER_REF: Final = 50
"""A pod needs five looks to be ungated. More than this means that two rules undo each other."""


class Standing(NamedTuple):
    """Why a pod stands where it stands, as it would be told."""

    reason: Reason
    message: str


class NotAtRest(RuntimeError):
    """The core goes round in circles: a defect of it, not of the input."""


class Simulation:
    """See the module. `now`: seconds since the epoch, at which all of it happens."""

    def __init__(self, now: float) -> None:
        self.now = now
        self.policy = Policy()
        self.store = Store()
        self.view = View()
        self.decider = Decider(self.view)
        self.standing: dict[Uid, Standing] = {}
        """By pod, as of the last look."""
        self._position = 0
        self._dirty: list[tuple[int, int, Ref]] = []
        self._queued: set[Ref] = set()
        self._order: dict[Ref, int] = {}
        self._looks: dict[Ref, int] = {}

    # --- what users and nodes do -------------------------------------------------------------------------------------

    def create(self, object_: Object) -> Object:
        """Put the object into the cluster, status included; a new pod goes through admission."""
        if isinstance(object_, Pod):
            object_ = self._admit(object_)
        created = self.store.create(object_, keep_uid=True)
        self._feed()
        return created

    def delete(self, type_: type[Object], key: ObjectKey) -> None:
        """A user deletes it, without grace; what it owned goes, too."""
        self.store.delete(type_, key, now=timestamp(self.now), force=True)
        self.store.collect_garbage(timestamp(self.now))
        self._feed()

    def put(self, object_: Object) -> None:
        """A user changes the object to this, immutable fields included."""
        self.store.modify(type(object_), object_.key, lambda _: object_)
        self._feed()

    def _admit(self, pod: Pod) -> Pod:
        """The gate, as the admission policy gives it to a pod that is new: one with a UID is from a cluster."""
        spec, namespace = pod.spec, pod.metadata.namespace
        known = self.store.get(Namespace, ObjectKey("", namespace))
        if pod.metadata.uid or excludes_namespace(namespace, known, self.policy):
            return pod
        new = NewPodSpec(
            node_name=spec.node_name,
            resource_claims=spec.resource_claims,
            scheduling_gates=spec.scheduling_gates,
            scheduling_group=spec.scheduling_group,
        )
        gates = find_gates(NewPod(spec=new), namespace, self.policy)
        if gates is None:
            return pod
        listed = tuple(PodSchedulingGate(name=gate) for gate in gates)
        return structs.replace(pod, spec=structs.replace(spec, scheduling_gates=listed))

    # --- the operator ------------------------------------------------------------------------------------------------

    def settle(self, uid: Uid) -> Standing | None:
        """Look at one pod, and at claims that have to be, until it stands; all other pods stay as they are."""
        self.standing.pop(uid, None)
        self._looks.clear()
        self._mark((PodRef(uid), *(ClaimRef(claim.key) for claim in self.view.claims_owned_by(uid))))
        while self._dirty:
            _, _, ref = heapq.heappop(self._dirty)
            self._queued.discard(ref)
            if isinstance(ref, ClaimRef) or ref.uid == uid:
                self._count(ref)
                self._look(ref)
        return self.standing.get(uid)

    @contextmanager
    def trial(self) -> Iterator[None]:
        """What happens in the block did not happen after it."""
        before = self.store.snapshot()
        standing = dict(self.standing)
        start = len(self.store.log)
        yield
        touched = {(type(change.object), change.object.key): None for change in reversed(self.store.log[start:])}
        for type_, key in touched:
            self.store.restore(before, type_, key)
        self._feed()
        self.freeze()
        self.standing = standing

    def freeze(self) -> None:
        """Take everything as it stands: what nobody changes from now on is not looked at."""
        self._dirty.clear()
        self._queued.clear()
        self._looks.clear()

    def run(self) -> None:
        """Look at what is dirty until nothing is. Raises `NotAtRest`."""
        while self._dirty:
            _, _, ref = heapq.heappop(self._dirty)
            self._queued.discard(ref)
            self._count(ref)
            self._look(ref)

    def _count(self, ref: Ref) -> None:
        self._looks[ref] = self._looks.get(ref, 0) + 1
        if self._looks[ref] > _LOOKS_PER_REF + len(self.store.log):
            raise NotAtRest(f"the simulation does not come to rest at {ref}")

    def _look(self, ref: Ref) -> None:
        verdict = self._reconcile(ref)
        if isinstance(ref, PodRef):
            self._note(ref.uid, verdict)
        for action in verdict.actions:
            self._perform(ref, action)
        self._feed()
        if verdict.actions:
            self._mark((ref,))
        if isinstance(ref, PodRef):
            self._bind(ref.uid)

    def _note(self, uid: Uid, verdict: Verdict) -> None:
        """What the verdict says of the pod, be it written or not."""
        if verdict.placement is not None:
            self.view.assume_placement(uid, verdict.placement)
        if verdict.waits:
            self.view.wakeups.waiting.add(uid)
            self.view.forget_placement(uid)
        else:
            self.view.wakeups.waiting.discard(uid)
        if verdict.reason is not None:
            self.standing[uid] = Standing(verdict.reason, verdict.message)

    def _perform(self, ref: Ref, action: Action) -> None:
        if isinstance(action, WriteClaimStatus) and action.allocation is not None:
            claim = self.view.claim(action.key)
            if claim is not None and claim.status.allocation is None:
                self.view.assume_allocation(claim, action.allocation)
        outcome = self.store.perform(action, timestamp(self.now))
        if isinstance(action, ReadClaim) and isinstance(outcome, Missing):
            self._mark(self.view.note_claim_missing(action.key))
        elif not isinstance(outcome, Done):
            raise NotAtRest(f"{type(action).__name__} of {ref}: {outcome}")
        elif isinstance(action, ReadPod) and outcome.object is None:
            self._mark(self.view.note_gone(action.uid))

    def _reconcile(self, ref: Ref) -> Verdict:
        if isinstance(ref, ClaimRef):
            return reconcile_claim(self.view, ref.key)
        return reconcile_pod(self.decider, ref.uid, self.policy, self.now)

    def _bind(self, uid: Uid) -> None:
        """What kube-scheduler does with a pod of ours that is ungated: to its node, or to the first that fits."""
        pod = self.view.pod(uid)
        if pod is None or pod.spec.scheduling_gates or pod.spec.node_name or pod.done:
            return
        if self.standing.get(uid, Standing(Reason.NOT_MANAGED, "")).reason is not Reason.ALLOCATED:
            return
        node = pinned_node(pod) or self._first_node(pod)
        if node is not None:
            self.store.modify(
                Pod, pod.key, lambda one: structs.replace(one, spec=structs.replace(one.spec, node_name=node))
            )
            self._feed()

    def _first_node(self, pod: Pod) -> str | None:
        fit = Fit(pod, self.view.classes)
        allocations = [claim.status.allocation for claim in self.claims_of(pod).values()]
        selectors = [one.node_selector for one in allocations if one is not None and one.node_selector is not None]
        return next(
            (
                name
                for name, node in sorted(self.view.nodes.items())
                if all(matches_node_selector(selector, node) for selector in selectors)
                and not fit.misfits(node, self.view.usage[name])
            ),
            None,
        )

    # --- what came of it ---------------------------------------------------------------------------------------------

    def order_of(self, uid: Uid) -> int:
        """Pods by when they came."""
        return self._order.get(PodRef(uid), 0)

    def claims_of(self, pod: Pod) -> dict[str, ResourceClaim]:
        """The pod's claims that exist, by the name of the entry in `spec.resourceClaims`."""
        published = {one.name: one.resource_claim_name for one in pod.status.resource_claim_statuses or ()}
        found: dict[str, ResourceClaim] = {}
        for entry in pod.spec.resource_claims or ():
            name = entry.resource_claim_name or published.get(entry.name)
            claim = self.view.claim(ObjectKey(pod.metadata.namespace, name)) if name else None
            if claim is not None:
                found[entry.name] = claim
        return found

    # --- events ------------------------------------------------------------------------------------------------------

    def _feed(self) -> None:
        """Tell the view what happened in the store."""
        log = self.store.log
        while self._position < len(log):
            change = log[self._position]
            self._position += 1
            self._mark(self._observe(change.type == "DELETED", change.object))

    def _observe(self, gone: bool, object_: Object) -> set[Ref]:
        view, key = self.view, object_.key
        match object_:
            case Pod():
                return view.forget_pod(object_.uid, certain=True) if gone else view.observe_pod(object_)
            case ResourceClaim():
                return view.forget_claim(key) if gone else view.observe_claim(object_, live=True)
            case ResourceSlice():
                return view.forget_slice(key.name) if gone else view.observe_slice(object_)
            case DeviceTaintRule():
                pieces = view.forget_taint_rule(key.name) if gone else view.observe_taint_rule(object_)
                return set[Ref]().union(*pieces)
            case ResourceClaimTemplate():
                return view.forget_template(key) if gone else view.observe_template(object_)
            case Namespace():
                return view.forget_namespace(key.name) if gone else view.observe_namespace(object_)
            case DeviceClass():
                return view.forget_class(key.name) if gone else view.observe_class(object_)
            case Node():
                return view.forget_node(key.name) if gone else view.observe_node(object_)
            case _:
                return set()

    def _mark(self, refs: Iterable[Ref]) -> None:
        for ref in sorted(refs, key=_by_name):
            if ref in self._queued:
                continue
            self._queued.add(ref)
            order = self._order.setdefault(ref, len(self._order))
            heapq.heappush(self._dirty, (self._rank(ref), order, ref))

    def _rank(self, ref: Ref) -> int:
        if isinstance(ref, ClaimRef):
            return -(2**31)
        pod = self.view.pod(ref.uid)
        return 0 if pod is None else -(pod.spec.priority or 0)


def _by_name(ref: Ref) -> tuple[str, ...]:
    return ("", ref.uid) if isinstance(ref, PodRef) else tuple(ref.key)
