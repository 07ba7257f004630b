"""An in-memory API server, as far as the lifecycle can tell: objects, versions, preconditions, finalizers.

It keeps pods, claims, templates, classes, slices, nodes and namespaces, answers Actions with Outcomes by the rules of
the real one, and logs every change in one total order, from which watches are served.

Rules that are kept: one resourceVersion counter for all; uid and resourceVersion preconditions; names are unique, and
a name may be used again with another uid; a delete with finalizers left sets deletionTimestamp; a pod that has a node
is deleted gracefully, one without at once; owner references are collected when the owner is gone; allocation is
immutable while set; gated pods may have their affinity tightened, ungated ones not at all.

Not here: time, delays, lost answers, crashes. The simulation puts those in between.

Upstream: k8s.io/apiserver's generic registry; pkg/registry/resource/resourceclaim's strategy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple, TypeVar

import msgspec

from dra_operator.api.core import Affinity, NodeAffinity, Pod, PodSchedulingGate
from dra_operator.api.meta import Condition, Object, ObjectKey, ObjectMeta, Uid
from dra_operator.api.names import DEVICES_ALLOCATED, GATE
from dra_operator.api.resource import ResourceClaim, ResourceClaimStatus
from dra_operator.lifecycle.actions import (
    Action,
    Conflict,
    CreateClaim,
    DeleteClaim,
    DeletePod,
    Done,
    Missing,
    Outcome,
    PublishStatus,
    ReadClaim,
    ReadPod,
    Refused,
    SetFinalizers,
    Ungate,
    WriteClaimStatus,
)

O = TypeVar("O", bound=Object)  # noqa: E741
EPOCH = "2026-01-01T00:00:00Z"


class Change(NamedTuple):
    """One entry of the log: what a watch tells."""

    version: int
    type: str
    """`ADDED`, `MODIFIED` or `DELETED`."""
    object: Object


class Store:
    """See the module."""

    def __init__(self) -> None:
        self.log: list[Change] = []
        self._objects: dict[type[Object], dict[ObjectKey, Object]] = {}
        self._version = 0
        self._uids = 0

    # --- reading -----------------------------------------------------------------------------------------------------

    @property
    def version(self) -> int:
        return self._version

    def get(self, type_: type[O], key: ObjectKey) -> O | None:
        found = self._of(type_).get(key)
        return found if isinstance(found, type_) else None

    def all(self, type_: type[O]) -> Iterator[O]:
        """All objects of a type, by key. The collection may change meanwhile."""
        for key in sorted(self._of(type_)):
            object_ = self.get(type_, key)
            if object_ is not None:
                yield object_

    # --- what users, nodes and schedulers do -------------------------------------------------------------------------

    def create(self, object_: O, *, keep_uid: bool = False) -> O:
        """POST; `keep_uid` for an object that another cluster made. Raises `KeyError` if the name is taken."""
        if self.get(type(object_), object_.key) is not None:
            raise KeyError(f"{object_.key} already exists")
        self._uids += 1
        meta = msgspec.structs.replace(
            object_.metadata,
            uid=(keep_uid and object_.metadata.uid) or Uid(f"uid-{self._uids:06d}"),
            creation_timestamp=object_.metadata.creation_timestamp or EPOCH,
        )
        return self._put("ADDED", msgspec.structs.replace(object_, metadata=meta))

    def modify(self, type_: type[O], key: ObjectKey, change: Callable[[O], O]) -> O | None:
        """Read, change, write at once. None if it is gone."""
        found = self.get(type_, key)
        return None if found is None else self._put("MODIFIED", change(found))

    def delete(self, type_: type[Object], key: ObjectKey, *, now: str, force: bool = False) -> bool:
        """DELETE: at once, or marked while finalizers are left or a pod runs. `force`: with grace period 0."""
        found = self.get(type_, key)
        if found is None:
            return False
        held = bool(found.metadata.finalizers)
        graceful = isinstance(found, Pod) and bool(found.spec.node_name) and not found.terminal and not force
        if not held and not graceful:
            self._remove(found)
            return True
        if found.metadata.deletion_timestamp is None:
            meta = msgspec.structs.replace(found.metadata, deletion_timestamp=now)
            self._put("MODIFIED", msgspec.structs.replace(found, metadata=meta))
        return True

    def snapshot(self) -> dict[type[Object], dict[ObjectKey, Object]]:
        """All objects as they are now."""
        return {type_: dict(objects) for type_, objects in self._objects.items()}

    def restore(self, before: dict[type[Object], dict[ObjectKey, Object]], type_: type[Object], key: ObjectKey) -> None:
        """Make one object what it was in the snapshot, as a change of its own."""
        was, now = before.get(type_, {}).get(key), self.get(type_, key)
        if now is not None and (was is None or was.uid != now.uid):
            self._remove(now)
            now = None
        if was is not None and was is not now:
            self._put("ADDED" if now is None else "MODIFIED", was)

    def collect_garbage(self, now: str) -> int:
        """What the garbage collector does: delete claims whose owner is gone. Returns how many."""
        pods = {pod.uid for pod in self.all(Pod)}
        orphans = [
            claim
            for claim in self.all(ResourceClaim)
            if claim.metadata.owner_references
            and all(owner.uid not in pods for owner in claim.metadata.owner_references)
            and claim.metadata.deletion_timestamp is None
        ]
        for claim in orphans:
            self.delete(ResourceClaim, claim.key, now=now)
        return len(orphans)

    # --- what the operator does --------------------------------------------------------------------------------------

    def perform(self, action: Action, now: str) -> Outcome:
        """The answer of the API server to an action; it is in effect when this returns Done."""
        match action:
            case CreateClaim(claim):
                existing = self.get(ResourceClaim, claim.key)
                return Done(existing if existing is not None else self.create(claim))
            case SetFinalizers():
                return self._write_claim(action, lambda claim: _with_finalizers(claim, action.finalizers))
            case WriteClaimStatus():
                return self._write_claim_status(action)
            case DeleteClaim():
                return self._delete(ResourceClaim, action, now)
            case DeletePod():
                return self._delete(Pod, action, now)
            case PublishStatus():
                return self._write_pod(action, lambda pod: _with_status(pod, action))
            case Ungate():
                return self._ungate(action)
            case ReadPod():
                pod = self.get(Pod, action.key)
                return Done(pod if pod is not None and pod.uid == action.uid else None)
            case ReadClaim():
                found = self.get(ResourceClaim, action.key)
                return Missing(f"{action.key} not found") if found is None else Done(found)

    def _write_claim(
        self, action: SetFinalizers | WriteClaimStatus, change: Callable[[ResourceClaim], ResourceClaim]
    ) -> Outcome:
        found = self.get(ResourceClaim, action.key)
        if found is None:
            return Missing(f"{action.key} not found")
        if (wrong := _stale(found, action.uid, action.resource_version)) is not None:
            return wrong
        changed = change(found)
        if changed.metadata.deletion_timestamp is not None and not changed.metadata.finalizers:
            self._remove(changed)
            return Done(None)
        return Done(self._put("MODIFIED", changed))

    def _write_claim_status(self, action: WriteClaimStatus) -> Outcome:
        found = self.get(ResourceClaim, action.key)
        if found is not None and found.uid == action.uid:
            old, new = found.status.allocation, action.allocation
            current = found.metadata.resource_version == action.resource_version
            if current and old is not None and new is not None and old.devices != new.devices:
                return Refused(422, "status.allocation: Invalid value: field is immutable")
            if new is None and action.reserved_for:
                return Refused(422, "status.reservedFor: Forbidden: may not be specified when `allocated` is not set")
        status = ResourceClaimStatus(allocation=action.allocation, reserved_for=action.reserved_for or None)
        return self._write_claim(action, lambda claim: msgspec.structs.replace(claim, status=status))

    def _write_pod(self, action: PublishStatus | Ungate, change: Callable[[Pod], Pod]) -> Outcome:
        found = self.get(Pod, action.key)
        if found is None:
            return Missing(f"{action.key} not found")
        if (wrong := _stale(found, action.uid, action.resource_version)) is not None:
            return wrong
        return Done(self._put("MODIFIED", change(found)))

    def _ungate(self, action: Ungate) -> Outcome:
        found = self.get(Pod, action.key)
        if found is not None and action.required is not None and not found.spec.scheduling_gates:
            return Refused(422, "spec.affinity: Invalid value: pod is not gated")
        return self._write_pod(action, lambda pod: _ungated(pod, action))

    def _delete(self, type_: type[Object], action: DeleteClaim | DeletePod, now: str) -> Outcome:
        found = self.get(type_, action.key)
        if found is not None and (wrong := _stale(found, action.uid, action.resource_version)) is not None:
            return wrong
        self.delete(type_, action.key, now=now)
        left = self.get(type_, action.key)
        return Done(left)

    # --- log ---------------------------------------------------------------------------------------------------------

    def _of(self, type_: type[Object]) -> dict[ObjectKey, Object]:
        return self._objects.setdefault(type_, {})

    def _put(self, type_: str, object_: O) -> O:
        self._version += 1
        stamped = msgspec.structs.replace(
            object_, metadata=msgspec.structs.replace(object_.metadata, resource_version=str(self._version))
        )
        self._of(type(object_))[object_.key] = stamped
        self.log.append(Change(self._version, type_, stamped))
        return stamped

    def _remove(self, object_: Object) -> None:
        del self._of(type(object_))[object_.key]
        self._version += 1
        meta = msgspec.structs.replace(object_.metadata, resource_version=str(self._version))
        self.log.append(Change(self._version, "DELETED", msgspec.structs.replace(object_, metadata=meta)))


def _stale(found: Object, uid: Uid, resource_version: str) -> Conflict | None:
    if found.uid != uid:
        return Conflict(f"{found.key}: the UID in the precondition ({uid}) is not that of the object ({found.uid})")
    if found.metadata.resource_version != resource_version:
        return Conflict(f"{found.key}: the object has been modified; please apply your changes to the latest version")
    return None


def _with_finalizers(claim: ResourceClaim, finalizers: tuple[str, ...]) -> ResourceClaim:
    meta: ObjectMeta = msgspec.structs.replace(claim.metadata, finalizers=finalizers or None)
    return msgspec.structs.replace(claim, metadata=meta)


def _with_status(pod: Pod, action: PublishStatus) -> Pod:
    others = tuple(one for one in pod.status.conditions or () if one.type != DEVICES_ALLOCATED)
    conditions = others
    if action.condition is not None:
        ours = Condition(
            type=DEVICES_ALLOCATED,
            status="True" if action.condition.status else "False",
            reason=action.condition.reason,
            message=action.condition.message,
            last_transition_time=action.condition.last_transition_time,
        )
        conditions = (*others, ours)
    status = msgspec.structs.replace(
        pod.status,
        conditions=conditions or None,
        resource_claim_statuses=action.claim_statuses or None,
        nominated_node_name=action.nominated,
    )
    return msgspec.structs.replace(pod, status=status)


def _ungated(pod: Pod, action: Ungate) -> Pod:
    gates: tuple[PodSchedulingGate, ...] = tuple(gate for gate in pod.spec.scheduling_gates or () if gate.name != GATE)
    affinity = pod.spec.affinity
    if action.required is not None:
        old = affinity or Affinity()
        affinity = msgspec.structs.replace(old, node_affinity=NodeAffinity(required=action.required))
    spec = msgspec.structs.replace(pod.spec, scheduling_gates=gates or None, affinity=affinity)
    return msgspec.structs.replace(pod, spec=spec)
