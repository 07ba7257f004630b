"""What must hold at every revision, whoever wrote it, and at rest.

`observe` sees each change as it is committed; `sent` each write as it leaves a replica. A violation is the first thing
that is wrong, in words.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from dra_operator.api.names import ALLOCATION_LABEL, DELETE_PROTECTION_FINALIZER, GATE
from tests.simulation.books import Books
from tests.simulation.cluster import (
    COLLECTOR,
    GENERATOR,
    USER,
    Cluster,
    allocated_node,
    generated_for,
    is_done,
    name_of,
    pinned_node,
    results_of,
)
from tests.simulation.feasible import find_place
from tests.simulation.model.fields import Json
from tests.simulation.model.store import ADMIN_LABEL, Change, Key

OPERATOR: Final = "operator-"
"""What the names of the operator's replicas begin with."""
RENEW_DEADLINE: Final = 8.0
"""Seconds after its last renewal in which a replica may still write; what `cluster/lease.py` promises."""
LAG_SECONDS: Final = 40.0
"""For so long a replica may not know what has changed: it may be paused, cut off, or its watch may stand still."""


class ViolationError(AssertionError):
    """An invariant does not hold."""


@dataclass(slots=True)
class Invariants:
    """See the module. `now` is the true time, in seconds."""

    cluster: Cluster
    now: Callable[[], float]
    leader_elect: bool
    adopts: bool
    """There is another generator of claims."""
    books: Books = field(default_factory=Books)
    violation: str | None = None
    _renewed: dict[str, float] = field(default_factory=dict)
    """When a replica last wrote itself into the Lease."""
    _writers: dict[str, dict[str, float]] = field(default_factory=dict)
    """By UID of a claim or a pod, who wrote it last when: a replica may not have seen that yet."""
    _deleted_at: float = -1e9
    """When somebody else last took a claim away."""
    _names_deleted: dict[Key, float] = field(default_factory=dict)
    """The same, by namespace and name: another operator may have made the next claim of that name since."""
    _labels: dict[tuple[str, str, str], float] = field(default_factory=dict)
    """When a namespace last had a label of a value."""

    def observe(self, change: Change) -> None:
        if self.violation is not None:
            return
        try:
            self._check(change)
        except ViolationError as error:
            self.violation = str(error)

    def sent(self, process: str, method: str, path: str) -> None:
        """A write leaves a replica: it must hold the Lease at that moment."""
        if not self.leader_elect or "/leases" in path or self.violation is not None:
            return
        if self.now() >= self._renewed.get(process, -1e9) + RENEW_DEADLINE:
            self.violation = f"{process} sends {method} {path} without the Lease"

    def _check(self, change: Change) -> None:
        ours = change.actor.startswith(OPERATOR)
        self._writers.setdefault(change.object["metadata"]["uid"], {})[change.actor] = self.now()
        match change.resource:
            case "leases":
                holder = change.object["spec"].get("holderIdentity")
                if holder == change.actor:
                    self._renewed[holder] = self.now()
                elif not holder:
                    self._renewed.pop(change.actor, None)
            case "namespaces":
                self._note_labels(change)
            case "resourceslices" if change.type != "DELETED":
                self.books.note_slice(change.object)
            case "resourceclaims":
                gone = change.type == "DELETED"
                uid = change.object["metadata"]["uid"]
                known = self.books.held.get(uid)
                self.books.note_claim(None if gone else change.object, uid, change.version, change.actor)
                if gone and not ours:
                    self._deleted_at = self._names_deleted[change.key] = self.now()
                if ours:
                    self._our_claim_write(change, newly=known is None and uid in self.books.held)
            case "pods" if ours:
                self._our_pod_write(change)
            case _:
                pass

    # --- claims ------------------------------------------------------------------------------------------------------

    def _our_claim_write(self, change: Change, *, newly: bool) -> None:
        claim = change.object
        uid, name = claim["metadata"]["uid"], name_of(claim)
        self._nothing_in_use_is_taken(change)
        self._nothing_needed_is_deleted(change)
        if not newly:
            return
        if DELETE_PROTECTION_FINALIZER not in (claim["metadata"].get("finalizers") or ()):
            raise ViolationError(f"{name} is allocated without the delete-protection finalizer")
        if (wrong := self.books.find_wrong(uid, only_of=change.actor)) is not None:
            raise ViolationError(f"{change.actor} gives out twice: {wrong}")
        if any(result.get("adminAccess") for result in results_of(claim)):
            last = self._labels.get((claim["metadata"]["namespace"], ADMIN_LABEL, "true"), -1e9)
            if self.now() > last + LAG_SECONDS:
                raise ViolationError(f"{name} gets admin access in a namespace that does not grant it")

    def _nothing_in_use_is_taken(self, change: Change) -> None:
        """A pod that was ungated keeps its reservation and its devices until it is done."""
        before = (change.before or {}).get("status") or {}
        after = {} if change.type == "DELETED" else change.object["status"]
        kept = {user["uid"] for user in after.get("reservedFor") or ()}
        same = before.get("allocation") == after.get("allocation")
        for user in before.get("reservedFor") or ():
            if user["uid"] in kept and same:
                continue
            pod = self.cluster.store.get("pods", (change.key[0], user["name"]))
            if pod is None or pod["metadata"]["uid"] != user["uid"] or is_done(pod) or is_gated(pod):
                continue
            if self._may_not_know(pod) and not pod["spec"].get("nodeName"):
                continue
            # A second claim, made for an entry that names another, is nothing to a kubelet: it may be given back.
            claims = self.cluster.claims_of(pod).values()
            mine = [claim["metadata"]["uid"] for claim in claims if claim is not None]
            is_unknown = None in claims and bool(pod["spec"].get("nodeName"))
            if change.object["metadata"]["uid"] in mine or is_unknown:
                raise ViolationError(f"{name_of(change.object)} is taken from {name_of(pod)}, which may run with it")

    def _nothing_needed_is_deleted(self, change: Change) -> None:
        claim, before = change.object, change.before
        if before is None or before["metadata"].get("deletionTimestamp"):
            return
        if change.type != "DELETED" and not claim["metadata"].get("deletionTimestamp"):
            return
        owner = next((one for one in claim["metadata"].get("ownerReferences") or () if one.get("controller")), None)
        if owner is None or owner["kind"] != "Pod":
            raise ViolationError(f"the user's own claim {name_of(claim)} is deleted")
        pod = self.cluster.store.get("pods", (change.key[0], owner["name"]))
        if pod is None or pod["metadata"]["uid"] != owner["uid"] or is_done(pod):
            return
        entry = next(
            (one["name"] for one in pod["spec"]["resourceClaims"] if generated_for(claim, pod, one["name"])), None
        )
        others = [
            one
            for one in self.cluster.store.all("resourceclaims")
            if one["metadata"]["uid"] != claim["metadata"]["uid"] and entry and generated_for(one, pod, entry)
        ]
        if not others and not self._may_not_know(pod):
            raise ViolationError(f"{name_of(claim)} is deleted although {name_of(pod)} needs it")

    # --- pods --------------------------------------------------------------------------------------------------------

    def _our_pod_write(self, change: Change) -> None:
        pod, before = change.object, change.before
        if change.type == "DELETED" or (
            pod["metadata"].get("deletionTimestamp") and not before["metadata"].get("deletionTimestamp")
        ):
            raise ViolationError(f"{name_of(pod)} is deleted by the operator")
        if not is_gated(before) or is_gated(pod):
            return
        if (
            self.now()
            <= self._labels.get((pod["metadata"]["namespace"], ALLOCATION_LABEL, "disabled"), -1e9) + LAG_SECONDS
        ):
            return  # left to kube-scheduler
        node = pinned_node(pod)
        for entry, claim in self.cluster.claims_of(pod).items():
            if claim is None:
                if self.now() <= self._deleted_at + LAG_SECONDS:
                    continue  # a moment ago
                raise ViolationError(f"{name_of(pod)} is ungated although its claim {entry} does not exist")
            if self._may_not_know(claim) or self._was_replaced(claim):
                continue
            users = {user["uid"] for user in claim["status"].get("reservedFor") or ()}
            if not claim["status"].get("allocation") or pod["metadata"]["uid"] not in users:
                raise ViolationError(f"{name_of(pod)} is ungated without an allocation of {name_of(claim)}")
            tied = allocated_node(claim["status"]["allocation"])
            if tied is not None and tied != node:
                raise ViolationError(f"{name_of(pod)} is pinned to {node}, its devices are on {tied}")
            if (wrong := self.books.find_wrong(claim["metadata"]["uid"])) is not None:
                raise ViolationError(f"{name_of(pod)} is ungated with what is another's: {wrong}")

    def _may_not_know(self, object_: Json) -> bool:
        """Whether somebody against whom no replica can be fenced wrote the object a moment ago. No write to one object
        can depend on another object.
        """
        writers = self._writers.get(object_["metadata"]["uid"], {})
        return any(
            self.now() <= when + LAG_SECONDS for who, when in writers.items() if who in (USER, GENERATOR, COLLECTOR)
        )

    def _was_replaced(self, claim: Json) -> bool:
        """Whether somebody else took away the claim of this name a moment ago: it may be all that a replica knows."""
        key = claim["metadata"]["namespace"], claim["metadata"]["name"]
        return self.now() <= self._names_deleted.get(key, -1e9) + LAG_SECONDS

    def _note_labels(self, change: Change) -> None:
        """Labels count as long as they are there, and a while longer."""
        for object_, until in ((change.before, self.now()), (change.object, float("inf"))):
            for label, value in ((object_ or {}).get("metadata", {}).get("labels") or {}).items():
                self._labels[change.key[1], label, value] = until

    # --- at rest -----------------------------------------------------------------------------------------------------

    def at_rest(self) -> None:
        """Nothing leaked, and only those wait who must."""
        try:
            self._nothing_is_left_over()
            self._only_those_wait_who_must()
        except ViolationError as error:
            self.violation = f"at rest: {error}"

    def _nothing_is_left_over(self) -> None:
        store = self.cluster.store
        pods = {pod["metadata"]["uid"]: pod for pod in store.all("pods")}
        ended = {uid for uid, pod in pods.items() if is_done(pod)}
        for claim in store.all("resourceclaims"):
            name, meta, status = name_of(claim), claim["metadata"], claim["status"]
            users = status.get("reservedFor") or []
            for owner in meta.get("ownerReferences") or ():
                if owner["uid"] not in pods or owner["uid"] in ended:
                    raise ViolationError(f"{name} is left over from {owner['name']}")
            for user in users:
                if user["uid"] not in pods or user["uid"] in ended:
                    raise ViolationError(f"{name} is still reserved for {user['name']}")
            if status.get("allocation") and not users:
                raise ViolationError(f"{name} is allocated for nobody")
            if meta.get("deletionTimestamp") and not users:
                raise ViolationError(f"{name} is not deleted in the end")
            uid = meta["uid"]
            if uid in self.books.held and (wrong := self.books.find_wrong(uid)) is not None and self._is_ours(claim):
                raise ViolationError(wrong)
        for pod in pods.values():
            self._no_spare_claims(pod)

    def _is_ours(self, claim: Json) -> bool:
        """Whether we have to answer for what it was given. What kube-scheduler gives out twice, kubelets refuse.

        Without leader election one may give something to a pod that another has just left to kube-scheduler, without
        anything; it is never taken back then (docs/decisions/two-operators.md).
        """
        if not self.books.held[claim["metadata"]["uid"]].actor.startswith(OPERATOR):
            return False
        users = {user["uid"] for user in claim["status"].get("reservedFor") or ()}
        left = [pod for pod in self.cluster.store.all("pods") if "told NotManaged" in _told(pod)]
        return self.leader_elect or not any(pod["metadata"]["uid"] in users for pod in left)

    def _no_spare_claims(self, pod: Json) -> None:
        for entry in pod["spec"].get("resourceClaims") or ():
            mine = [
                claim for claim in self.cluster.store.all("resourceclaims") if generated_for(claim, pod, entry["name"])
            ]
            if len(mine) > 1 and not is_done(pod):
                raise ViolationError(f"{name_of(pod)} has {len(mine)} claims for its entry {entry['name']}")

    def _only_those_wait_who_must(self) -> None:
        for pod in self.cluster.store.all("pods"):
            if is_done(pod) or pod["spec"].get("nodeName"):
                continue
            if not is_gated(pod):
                continue  # kube-scheduler's to place, or somebody's to give up
            if self._waits_behind_another(pod):
                continue
            if (place := find_place(self.cluster, pod, adopts=self.adopts)) is not None:
                raise ViolationError(f"{name_of(pod)} waits, {_told(pod)}, although {place}")

    def _waits_behind_another(self, pod: Json) -> bool:
        """Whether it is told that a node is kept, and there is somebody who waits for what is in use.

        That takes minutes of waiting, or a clock that was wrong when the other was told to wait.
        """
        return "kept for a pod that has waited longer" in _told(pod) and any(
            is_gated(one) and "told DevicesInUse" in _told(one)
            for one in self.cluster.store.all("pods")
            if one["metadata"]["uid"] != pod["metadata"]["uid"]
        )


def is_gated(pod: Json) -> bool:
    return any(gate["name"] == GATE for gate in pod["spec"].get("schedulingGates") or ())


def _told(pod: Json) -> str:
    for one in pod["status"].get("conditions") or ():
        if one["type"].endswith("DevicesAllocated"):
            return f"told {one['reason']} ({one['message']})"
    return "told nothing"
