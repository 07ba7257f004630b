"""The cluster as this process knows it: mirrors of what it watches, plus what its own writes have already changed.

Every observation goes through a verb of `View`, which keeps the indexes and answers which refs have to be looked at
again. Reconcilers read a View and never change it; the shell (or the simulation) feeds it.

Three kinds of knowledge are kept apart:
- *mirrored*: what a list or watch delivered, in the order of the watch;
- *ahead*: objects as the API server answered our own write, until the mirror has caught up. Reading one's own writes
  spares a second, stale decision; nothing is *confirmed* by it;
- *assumed*: devices of an allocation that is being written (`Ledger.assume`) and room on a node (`assume_placement`).

Invariant: only mirrored claims enter the ledger as observed, in watch order; so what `Ledger.confirmed` says is the
order in which the API server accepted the allocations.

Upstream: informer caches, kube-scheduler's assume cache, `inFlightAllocations` of the dynamicresources plugin.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

from dra_operator.allocation.usage import NodeUsage
from dra_operator.api.core import Namespace, Node, Pod
from dra_operator.api.meta import Object, ObjectKey, Uid
from dra_operator.api.resource import (
    AllocationResult,
    DeviceClass,
    DeviceTaintRule,
    ResourceClaim,
    ResourceClaimTemplate,
    ResourceSlice,
)
from dra_operator.inventory.devices import PoolKey
from dra_operator.inventory.inventory import ANY_NODE, Inventory
from dra_operator.inventory.ledger import Ledger
from dra_operator.inventory.nodes import Nodes
from dra_operator.lifecycle.claims import Claims
from dra_operator.lifecycle.holdback import HoldBack
from dra_operator.lifecycle.horizon import Horizon
from dra_operator.lifecycle.keys import ClaimRef, PodRef, Ref
from dra_operator.lifecycle.pin import pinned_node
from dra_operator.lifecycle.placements import Placements
from dra_operator.lifecycle.references import References, claims_named
from dra_operator.lifecycle.refusal import Refusal
from dra_operator.lifecycle.reservation import Reservation
from dra_operator.lifecycle.turns import Turns
from dra_operator.lifecycle.unelected import Unelected
from dra_operator.lifecycle.versions import Tombstones, newer, version_of
from dra_operator.lifecycle.waiting import Group
from dra_operator.lifecycle.wakeups import Wakeups


class View:
    """See the module. Times passed in and out are the caller's clock, in seconds.

    `now` is that clock, `collector_seconds` how long the garbage collector has its turn: it deletes the claims of a pod
    that is gone within milliseconds. 0: it is not waited for.
    """

    def __init__(self, unelected: Unelected | None = None) -> None:
        self.inventory = Inventory()
        self.ledger = Ledger()
        self.held_back = HoldBack(self.inventory, self.ledger)
        self.now: Callable[[], float] = lambda: 0.0
        self.collector_seconds = 0.0
        self.pods: dict[Uid, Pod] = {}
        self.pod_uids: dict[ObjectKey, Uid] = {}
        self.templates: dict[ObjectKey, ResourceClaimTemplate] = {}
        self.namespaces: dict[str, Namespace] = {}
        self.classes: dict[str, DeviceClass] = {}
        self.nodes = Nodes()
        self.placements = Placements()
        self.wakeups = Wakeups()
        """Who waits, and what became free for them."""
        self.message_written: dict[Uid, float] = {}
        """When the condition of a pod was last written by this process."""
        self.refusals: dict[Uid, Refusal] = {}
        """Pods for which the API server refused to create a claim, and when to try again."""
        self.turns = Turns()
        """Who generates claims, and which pods wait for another to do it."""
        self.unelected = unelected or Unelected()
        """What another operator may do meanwhile."""
        self.horizon = Horizon()
        """Up to when another may have written pods that the mirror does not show so yet."""

        self._pods_ahead: dict[Uid, Pod] = {}
        self._references = References()
        self._gone = Tombstones()
        self._ended = Tombstones()
        """Pods of which their kubelet had said that they ended, before they were gone."""
        self._claims = Claims(
            self.ledger,
            self._references,
            self.turns,
            self.unelected,
            now=lambda: self.now(),
            released=self._released,
            freed=self.freed,
            parted=self._parted,
        )
        self.claims = self._claims.shown
        """As the mirror shows them."""

    # --- reading -----------------------------------------------------------------------------------------------------

    def pod(self, uid: Uid) -> Pod | None:
        """The pod as last known, our own writes included."""
        return self._pods_ahead.get(uid) or self.pods.get(uid)

    def pod_named(self, key: ObjectKey) -> Pod | None:
        uid = self.pod_uids.get(key)
        return None if uid is None else self.pod(uid)

    def claim(self, key: ObjectKey) -> ResourceClaim | None:
        """The claim as last known, our own writes included."""
        return self._claims.get(key)

    def claim_is_missing(self, key: ObjectKey) -> bool:
        """Whether the API server said that there is no such claim."""
        return self._claims.is_missing(key)

    def claim_catching_up(self, key: ObjectKey) -> bool:
        """Whether a write of ours to this claim has not come back through the mirror yet."""
        return self._claims.is_catching_up(key)

    def claims_owned_by(self, uid: Uid) -> Iterator[ResourceClaim]:
        """Claims whose controller is the pod, in order of their names."""
        for key in sorted(self._references.owned_by(uid)):
            claim = self.claim(key)
            if claim is not None:
                yield claim

    def claims_owned_by_group(self, group: ObjectKey) -> Iterator[ResourceClaim]:
        """Claims whose controller is the PodGroup, in order of their names."""
        for key in sorted(self._references.owned_by_group(group)):
            claim = self.claim(key)
            if claim is not None:
                yield claim

    def pods_naming(self, key: ObjectKey) -> Iterator[Pod]:
        """Pods that name the claim in their spec."""
        for uid in self._references.pods_naming(key):
            pod = self.pod(uid)
            if pod is not None:
                yield pod

    def is_gone(self, uid: Uid) -> bool:
        """Whether the pod is known not to exist any more: its deletion was watched, or a live GET said so."""
        return uid in self._gone

    def collector_turn(self, owner: Uid) -> float:
        """Seconds for which the claims of this pod are the garbage collector's to delete. None of a pod that exists."""
        since = self._gone.since(owner)
        if since is None:
            return 0.0
        elapsed = self.now() - since
        return self.collector_seconds - elapsed if 0 <= elapsed < self.collector_seconds else 0.0

    @property
    def usage(self) -> Mapping[str, NodeUsage]:
        """What pods take up, by node."""
        return self.placements.usage

    def placed_on(self, uid: Uid) -> str | None:
        return self.placements.node_of(uid)

    # --- pods --------------------------------------------------------------------------------------------------------

    def observe_pod(self, pod: Pod) -> set[Ref]:
        """The mirror shows the pod as it is now."""
        uid = pod.uid
        previous_uid = self.pod_uids.get(pod.key)
        dirty: set[Ref] = set()
        if previous_uid is not None and previous_uid != uid:
            if version_of(pod) < version_of(self.pods[previous_uid]):
                # A late event of the pod that had this name before: Kopf orders events by UID only.
                self._gone.add(uid, self.now())
                return self._claims_of(uid)
            dirty |= self.forget_pod(previous_uid, certain=True)
        known = self.pods.get(uid)
        if known is not None and not newer(pod, known):
            return dirty
        ahead = self._pods_ahead.get(uid)
        if ahead is None or not newer(ahead, pod):
            dirty.add(PodRef(uid))  # else the answer to our write said all this, and was looked at
        if ahead is not None and newer(pod, ahead):
            del self._pods_ahead[uid]
        self.horizon.note_shown(pod, first=known is None)
        self.pods[uid] = pod
        self.pod_uids[pod.key] = uid
        if known is None:
            self._references.add_pod(pod)
        resized = known is not None and known.spec != pod.spec
        if (left := self.placements.observe(pod, resized=resized)) is not None:
            dirty |= self.freed((left,))
        if pod.done:
            dirty |= self._claims_of(uid)
        return dirty

    def forget_pod(self, uid: Uid, *, certain: bool, ended: bool = False) -> set[Ref]:
        """The mirror has the pod no more. `certain`: its deletion was watched; otherwise only a live GET can tell.

        `ended`: it was seen to have ended, be it in the last event only.
        """
        pod = self.pods.pop(uid, None)
        if ended or (pod is not None and pod.terminal):
            self._ended.add(uid, self.now())
        self._pods_ahead.pop(uid, None)
        dirty = self.note_served(uid)
        self.message_written.pop(uid, None)
        self.refusals.pop(uid, None)
        self.turns.end(uid)
        self.unelected.forget(uid)
        self.horizon.forget(uid)
        if certain:
            self._gone.add(uid, self.now())
        dirty |= self._claims_of(uid)
        if pod is not None:
            if self.pod_uids.get(pod.key) == uid:
                del self.pod_uids[pod.key]
            self._references.remove_pod(pod)
            dirty |= {ClaimRef(key) for key in claims_named(pod)}
        if (left := self.placements.remove(uid)) is not None:
            dirty |= self.freed((left,))
        return dirty

    def note_gone(self, uid: Uid) -> set[Ref]:
        """A live GET says that no such pod exists."""
        self._gone.add(uid, self.now())
        return self._claims_of(uid)

    def assume_placement(self, uid: Uid, node: str) -> None:
        """The pod takes up room on the node although nothing says so in the cluster yet."""
        pod = self.pod(uid)
        if pod is not None:
            self.placements.assume(pod, node)

    def forget_placement(self, uid: Uid) -> set[Ref]:
        """Take an assumed placement back; what the pod itself says stays. Returns the pods that it may serve."""
        pod = self.pod(uid)
        says_so = pod is None or pod.spec.node_name or pinned_node(pod) is not None
        if says_so or (left := self.placements.remove(uid)) is None:
            return set()
        return self.freed((left,))

    # --- claims ------------------------------------------------------------------------------------------------------

    def observe_claim(self, claim: ResourceClaim, *, live: bool) -> set[Ref]:
        """The mirror shows the claim as it is now: `live` through a watch event, otherwise through a list."""
        return self._claims.observe(claim, live=live)

    def forget_claim(self, key: ObjectKey) -> set[Ref]:
        """The mirror has the claim no more. One that we wrote since is the next of that name, to be shown yet."""
        return self._claims.forget(key)

    def replace_claims(self, claims: Collection[ResourceClaim], resource_version: str) -> Iterator[set[Ref]]:
        """The mirror was listed anew. Taken in as this is driven; nothing may be decided before its end."""
        return self._claims.replace(claims, resource_version)

    def assume_allocation(self, claim: ResourceClaim, allocation: AllocationResult) -> None:
        """An allocation is about to be written: its devices are taken from now on."""
        self.ledger.assume(claim.uid, allocation, since=version_of(claim))

    def forget_allocation(self, uid: Uid) -> set[Ref]:
        """The write did not take effect, as far as we know. A late effect shows in the mirror, and is judged there."""
        self.ledger.forget_assumed(uid)
        return self.freed()

    # --- our own writes ----------------------------------------------------------------------------------------------

    def note_written(self, object_: Object) -> set[Ref]:
        """What the API server answered a write of ours, or a live GET, with."""
        if isinstance(object_, Pod):
            return self._note_pod(object_)
        if isinstance(object_, ResourceClaim):
            return self._claims.note_written(object_)
        return set()

    def _note_pod(self, pod: Pod) -> set[Ref]:
        known = self.pods.get(pod.uid)
        if pod.uid in self._gone:
            return set()  # deleted while the answer was on its way
        if known is None:
            return self.observe_pod(pod)
        if newer(known, pod):
            return set()
        self._pods_ahead[pod.uid] = pod
        return {PodRef(pod.uid), *(self._claims_of(pod.uid) if pod.done else ())}

    def note_read(self, uid: Uid, pod: Pod | None, horizon: int) -> set[Ref]:
        """What a live GET was answered with that was sent at that horizon. None: there is no such pod."""
        if pod is None:
            return self.note_gone(uid)
        dirty = self._note_pod(pod)
        self.horizon.note_read(uid, horizon)
        return dirty

    def note_claim_missing(self, key: ObjectKey) -> set[Ref]:
        """The API server says that there is no such claim: drop what only our own write told us."""
        return self._claims.note_missing(key)

    # --- everything else ---------------------------------------------------------------------------------------------

    def observe_slice(self, slice_: ResourceSlice) -> set[Ref]:
        before = self.inventory.version
        self.inventory.apply_slice(slice_)
        return self._published(before)

    def forget_slice(self, name: str) -> set[Ref]:
        before = self.inventory.version
        self.inventory.remove_slice(name)
        return self._published(before)

    def observe_taint_rule(self, rule: DeviceTaintRule) -> Iterator[set[Ref]]:
        """Taken in as this is driven; it may change every device of the cluster."""
        return self._taint(self.inventory.apply_rule(rule))

    def forget_taint_rule(self, name: str) -> Iterator[set[Ref]]:
        """Driven as `observe_taint_rule`."""
        return self._taint(self.inventory.remove_rule(name))

    def _taint(self, pieces: Iterable[None]) -> Iterator[set[Ref]]:
        before = self.inventory.version
        for _ in pieces:
            yield self._published(before)
            before = self.inventory.version

    def _published(self, before: int) -> set[Ref]:
        """Slices came, changed or went since that version of the inventory, or rules that taint their devices."""
        if self.inventory.version == before:
            return set()
        nodes = self.inventory.changes.since(before)
        return self.freed(None if nodes is None or ANY_NODE in nodes else nodes)

    def observe_template(self, template: ResourceClaimTemplate) -> set[Ref]:
        self.templates[template.key] = template
        return {PodRef(uid) for uid in self._references.pods_of_template(template.key)}

    def forget_template(self, key: ObjectKey) -> set[Ref]:
        self.templates.pop(key, None)
        return {PodRef(uid) for uid in self._references.pods_of_template(key)}

    def observe_namespace(self, namespace: Namespace) -> set[Ref]:
        known = self.namespaces.get(namespace.metadata.name)
        self.namespaces[namespace.metadata.name] = namespace
        if known is not None and known.metadata.labels == namespace.metadata.labels:
            return set()
        return {
            PodRef(uid)
            for uid, pod in self.pods.items()
            if pod.metadata.namespace == namespace.metadata.name and pod.spec.resource_claims
        }

    def forget_namespace(self, name: str) -> set[Ref]:
        self.namespaces.pop(name, None)
        return set()

    def observe_class(self, class_: DeviceClass) -> set[Ref]:
        known = self.classes.get(class_.metadata.name)
        self.classes[class_.metadata.name] = class_
        if (
            known is not None
            and known.spec == class_.spec
            and known.metadata.annotations == class_.metadata.annotations
        ):
            return set()
        return self.freed()

    def forget_class(self, name: str) -> set[Ref]:
        return self.freed() if self.classes.pop(name, None) is not None else set()

    def observe_node(self, node: Node) -> set[Ref]:
        known = self.nodes.get(node.metadata.name)
        self.nodes[node.metadata.name] = node
        same = (
            known is not None
            and known.spec == node.spec
            and known.status.allocatable == node.status.allocatable
            and known.status.declared_features == node.status.declared_features
            and known.metadata.labels == node.metadata.labels
        )
        return set() if same else self.freed((node.metadata.name,))

    def forget_node(self, name: str) -> set[Ref]:
        self.nodes.pop(name, None)
        self.wakeups.count()
        return set()

    # --- who waits, and is woken -------------------------------------------------------------------------------------

    def note_waits(
        self,
        uid: Uid,
        group: Group | None,
        reservation: Reservation | None = None,
        *,
        no_device_helps: bool = False,
    ) -> set[Ref]:
        """The pod was told to wait, with those of its group. Returns who has to be looked at for that."""
        woken = self.wakeups.wait(uid, self.pod(uid), group, no_device_helps=no_device_helps)
        woken |= self.forget_placement(uid)
        return woken | self.wakeups.keep(uid, reservation)

    def note_served(self, uid: Uid) -> set[Ref]:
        """The pod does not wait any more: it was served, or is gone. Returns who may have its turn."""
        return self.wakeups.serve(uid)

    def freed(self, nodes: Collection[str] | None = None) -> set[Ref]:
        """Something became free, came or changed on the nodes (None: anywhere). Returns the pods that it may serve."""
        return self.wakeups.freed(nodes)

    def expire_held_back(self) -> set[Ref]:
        """Released devices that were held back long enough are free. Returns the pods that they may serve."""
        pools = self.held_back.expire()
        return self.freed(self.inventory.nodes_seeing(pools)) if pools else set()

    def _released(self, claim: ResourceClaim) -> set[Ref]:
        """The claim's devices are released; a pod that ran with them may leave something to undo on its node."""
        users = [(consumer.uid, self.pod(consumer.uid)) for consumer in claim.status.reserved_for or ()]
        ran = [(uid, pod) for uid, pod in users if pod is None or pod.spec.node_name]
        if ran:
            ended = all(uid in self._ended if pod is None else pod.terminal for uid, pod in ran)
            self.held_back.released(claim, ended=ended)
        allocation = claim.status.allocation
        results = (allocation.devices.results if allocation is not None else None) or ()
        return self.freed(self.inventory.nodes_seeing({PoolKey(result.driver, result.pool) for result in results}))

    def _parted(self, uid: Uid) -> None:
        pod = self.pod(uid)
        if pod is not None and pod.spec.node_name and not pod.done:
            self.horizon.note_parted(uid)

    def _claims_of(self, uid: Uid) -> set[Ref]:
        return {ClaimRef(key) for key in self._references.claims_of(uid)}
