"""A model of the API server and etcd: plain objects, one revision for all of them, a log that watches are read from.

What holds, as on the real one (`tests/integration/test_model.py` replays random operations on both):
- every write gets the next revision; one that changes nothing is none, and no watch tells of it;
- uid and resourceVersion are preconditions of updates, patches, applies and deletions alike;
- a subresource changes its part of the object only;
- an object with finalizers, and a pod that runs, is only marked when it is deleted; it goes with the last finalizer;
- fields have owners (`fields.py`), and an apply meets conflicts.

Objects are never changed in place: who holds one may go on reading it. Not here: HTTP (`server.py`), what is refused
(`rules.py`), time and faults.

Upstream: k8s.io/apiserver/pkg/registry/generic/registry, pkg/endpoints/handlers; the strategies of pods and claims.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final, NamedTuple, TypeAlias

import msgspec

from tests.simulation.model import rules
from tests.simulation.model.fields import (
    Flat,
    Json,
    Manager,
    Owners,
    find_conflicts,
    flatten,
    merge_applied,
    merge_patch,
    note_apply,
    note_update,
    remove_paths,
    rendered,
    strategic_patch,
)

Key: TypeAlias = tuple[str, str]
"""Namespace and name."""

ADMIN_LABEL: Final = "resource.kubernetes.io/admin-access"
GRACE_SECONDS: Final = 30
_CLAIM_LIKE: Final = ("resourceclaims", "resourceclaimtemplates")


class StatusError(Exception):
    """An answer that is not a success; `about` is the object that it names."""

    def __init__(
        self, code: int, reason: str, message: str, retry_after: int | None = None, *, about: str = ""
    ) -> None:
        super().__init__(f"{code} {reason}: {message}")
        self.code = code
        self.reason = reason
        self.message = message
        self.retry_after = retry_after
        self.about = about


class Change(NamedTuple):
    """One entry of the log."""

    version: int
    resource: str
    type: str
    """`ADDED`, `MODIFIED` or `DELETED`."""
    key: Key
    object: Json
    raw: bytes
    before: Json
    actor: str
    """Who asked for it: a replica of the operator, a user, kube-scheduler and so on."""


@dataclass(slots=True)
class Entry:
    object: Json
    raw: bytes
    flat: Flat
    owners: Owners


@dataclass(slots=True)
class Preconditions:
    uid: str = ""
    resource_version: str = ""


@dataclass(slots=True)
class ModelStore:
    """See the module. `now` gives RFC 3339 times, `observers` are told of every change right after it."""

    now: Callable[[], str]
    gate: str = ""
    """The scheduling gate that admission gives to new pods with claims; empty: none."""
    gate_skips: Callable[[Json], bool] = lambda pod: False
    checks_admin: bool = True
    """Whether admin access needs the namespace's label, as in the built-in API."""
    version: int = 0
    log: list[Change] = field(default_factory=list)
    by_resource: dict[str, list[Change]] = field(default_factory=dict)
    objects: dict[str, dict[Key, Entry]] = field(default_factory=dict)
    compacted: dict[str, int] = field(default_factory=dict)
    observers: list[Callable[[Change], None]] = field(default_factory=list)
    _uids: int = 0

    # --- reading -----------------------------------------------------------------------------------------------------

    def get(self, resource: str, key: Key) -> Json | None:
        entry = self.objects.get(resource, {}).get(key)
        return None if entry is None else entry.object

    def all(self, resource: str) -> Iterator[Json]:
        """All objects, by key. The collection may change meanwhile."""
        entries = self.objects.get(resource, {})
        for key in sorted(entries):
            entry = entries.get(key)
            if entry is not None:
                yield entry.object

    def entries(self, resource: str, namespace: str = "") -> list[Entry]:
        found = self.objects.get(resource, {})
        return [found[key] for key in sorted(found) if not namespace or key[0] == namespace]

    def entry(self, resource: str, key: Key) -> Entry:
        entry = self.objects.get(resource, {}).get(key)
        if entry is None:
            raise StatusError(404, "NotFound", f'{resource} "{key[1]}" not found', about=key[1])
        return entry

    # --- writing -----------------------------------------------------------------------------------------------------

    def create(self, resource: str, object_: Json, *, manager: str, actor: str) -> Entry:
        new = _copy(object_)
        meta = new.setdefault("metadata", {})
        self._uids += 1
        if not meta.get("name") and meta.get("generateName"):
            meta["name"] = f"{meta['generateName']}{self._uids:05d}"
        key = meta.get("namespace", ""), meta["name"]
        for name in ("resourceVersion", "deletionTimestamp", "deletionGracePeriodSeconds", "managedFields"):
            meta.pop(name, None)
        meta["uid"] = f"uid-{self._uids:05d}"
        meta["creationTimestamp"] = self.now()
        if resource == "pods":
            self._prepare_pod(new)
            _refuse(resource, key, rules.pod_create_errors(new))
        if resource == "resourceclaims":
            new.pop("status", None)
            new["status"] = {}
        if resource in _CLAIM_LIKE:
            spec = new["spec"] if resource == "resourceclaims" else new["spec"].get("spec", {})
            rules.set_defaults(spec)
            if self.checks_admin and rules.asks_admin_access(spec) and not self.grants_admin(key[0]):
                where = "spec.devices.requests: Forbidden: admin access requires the label in the namespace"
                _refuse(resource, key, iter((where,)))
        if key in self.objects.get(resource, {}):
            raise StatusError(409, "AlreadyExists", f'{resource} "{key[1]}" already exists')
        flat = flatten(new)
        given = {path: value for path, value in flat.items() if path[0] != "status"}
        owners = note_update({}, Manager(manager, "Update", ""), {}, given)
        return self._commit(resource, "ADDED", key, new, flat, owners, None, actor)

    def _prepare_pod(self, pod: Json) -> None:
        spec = pod["spec"]
        gates = spec.get("schedulingGates") or []
        if (
            self.gate
            and spec.get("resourceClaims")
            and not spec.get("nodeName")
            and all(gate["name"] != self.gate for gate in gates)
            and not self.gate_skips(pod)
        ):
            spec["schedulingGates"] = [*gates, {"name": self.gate}]
        pod["status"] = {"phase": "Pending"}
        if spec.get("schedulingGates"):
            pod["status"]["conditions"] = [
                {
                    "type": "PodScheduled",
                    "status": "False",
                    "reason": "SchedulingGated",
                    "message": "Scheduling is blocked due to non-empty scheduling gates",
                }
            ]

    def update(
        self,
        resource: str,
        key: Key,
        change: Callable[[Json], Json],
        *,
        subresource: str = "",
        manager: str,
        actor: str,
        exact: bool = False,
    ) -> Entry:
        """PUT (which is `exact` about the UID) and the patches that merge: `change` gets a copy of the object."""
        entry = self.entry(resource, key)
        new = change(_copy_of(entry))
        self._check(resource, key, entry, new["metadata"], exact=exact)
        return self._update(
            resource, key, entry, new, subresource, Manager(manager, "Update", subresource), None, actor
        )

    def patch(
        self, resource: str, key: Key, patch: Json, kind: str, *, subresource: str = "", manager: str, actor: str
    ) -> Entry:
        merge = merge_patch if kind == "merge" else strategic_patch
        return self.update(
            resource, key, lambda old: merge(old, patch), subresource=subresource, manager=manager, actor=actor
        )

    def apply(
        self, resource: str, key: Key, stated: Json, *, subresource: str, manager: str, force: bool, actor: str
    ) -> Entry:
        """Server-side apply to an object that exists."""
        entry = self.entry(resource, key)
        who = Manager(manager, "Apply", subresource)
        part = {name: value for name, value in stated.items() if not subresource or name == subresource}
        flat = flatten(part) or {(subresource,): {}}
        conflicts = find_conflicts(entry.owners, who, entry.flat, flat)
        if conflicts and not force:
            fields = ", ".join(sorted(".".join(path) for path in conflicts))
            raise StatusError(409, "Conflict", f"Apply failed with {len(conflicts)} conflicts: {fields}")
        self._check(resource, key, entry, stated.get("metadata") or {})
        owners, gone = note_apply(entry.owners, who, conflicts, flat)
        new = merge_applied(_copy_of(entry), part)
        remove_paths(new, gone)
        return self._update(resource, key, entry, new, subresource, who, owners, actor)

    def _update(
        self,
        resource: str,
        key: Key,
        entry: Entry,
        new: Json,
        subresource: str,
        who: Manager,
        owners: Owners | None,
        actor: str,
    ) -> Entry:
        old = entry.object
        self._keep(resource, subresource, new, old)
        _refuse(resource, key, self._errors(resource, subresource, new, old))
        meta = new["metadata"]
        if meta.get("deletionTimestamp") and not meta.get("finalizers") and not meta.get("deletionGracePeriodSeconds"):
            self._remove(resource, key, _copy_of(entry), actor)
            return Entry(new, msgspec.json.encode(new), {}, {})
        if new == old and owners is None:
            return entry
        flat = flatten(new)
        if owners is None:
            owners = note_update(entry.owners, who, entry.flat, flat)
        elif new == old and owners == entry.owners:
            return entry
        return self._commit(resource, "MODIFIED", key, new, flat, owners, entry, actor)

    def _check(self, resource: str, key: Key, entry: Entry, meta: Json, *, exact: bool = False) -> None:
        """The preconditions in the object's own metadata. A patch that has another UID is invalid, not in conflict."""
        known = entry.object["metadata"]
        uid, version = meta.get("uid"), meta.get("resourceVersion")
        if exact and uid and uid != known["uid"]:
            raise StatusError(
                409,
                "Conflict",
                f'Operation cannot be fulfilled on {resource} "{key[1]}": Precondition failed: UID in precondition: '
                f"{uid}, UID in object meta: {known['uid']}",
            )
        if version and version != known["resourceVersion"]:
            raise StatusError(
                409,
                "Conflict",
                f'Operation cannot be fulfilled on {resource} "{key[1]}": the object has been modified; please apply '
                "your changes to the latest version and try again",
            )
        if uid and uid != known["uid"]:
            _refuse(resource, key, iter((f"metadata.uid: Invalid value: {uid}: field is immutable",)))

    def _keep(self, resource: str, subresource: str, new: Json, old: Json) -> None:
        """Take back what this request can't change."""
        meta, known = new["metadata"], old["metadata"]
        if subresource == "status":
            new["spec"] = old.get("spec")
            if resource == "pods":
                _take_over(meta, known, ("ownerReferences",))
                if not new["status"].get("resourceClaimStatuses"):
                    _take_over(new["status"], old["status"], ("resourceClaimStatuses",))
            else:
                new["metadata"] = meta = dict(known)
        else:
            _take_over(new, old, ("status",))
        _take_over(
            meta,
            known,
            (
                "name",
                "namespace",
                "uid",
                "resourceVersion",
                "creationTimestamp",
                "deletionTimestamp",
                "deletionGracePeriodSeconds",
                "managedFields",
                "generateName",
            ),
        )
        for name in ("labels", "annotations", "finalizers", "ownerReferences"):
            if name in meta and not meta[name]:
                del meta[name]
        for part in (new.get("spec"), new.get("status")):
            for name in [name for name, value in part.items() if value in (None, [])] if part else ():
                del part[name]

    def _errors(self, resource: str, subresource: str, new: Json, old: Json) -> Iterator[str]:
        yield from rules.metadata_errors(new, old)
        if resource == "pods" and not subresource:
            yield from rules.pod_errors(new, old)
        if resource in _CLAIM_LIKE and not subresource:
            yield from rules.claim_errors(new, old)
        if resource == "resourceclaims" and subresource == "status":
            admin = not self.checks_admin or self.grants_admin(new["metadata"].get("namespace", ""))
            yield from rules.claim_status_errors(new, old, grants_admin=admin)

    def delete(
        self,
        resource: str,
        key: Key,
        *,
        preconditions: Preconditions | None = None,
        grace_seconds: int | None = None,
        actor: str,
    ) -> Entry:
        """DELETE. What is returned may still be there: marked, until its finalizers or its grace are gone."""
        entry = self.entry(resource, key)
        wanted = preconditions or Preconditions()
        known = entry.object["metadata"]
        if wanted.uid and wanted.uid != known["uid"]:
            raise StatusError(
                409,
                "Conflict",
                f"Precondition failed: UID in precondition: {wanted.uid}, UID in object meta: {known['uid']}",
            )
        if wanted.resource_version and wanted.resource_version != known["resourceVersion"]:
            raise StatusError(
                409,
                "Conflict",
                f"Precondition failed: ResourceVersion in precondition: {wanted.resource_version}, ResourceVersion in "
                f"object meta: {known['resourceVersion']}",
            )
        grace = self._grace(entry.object, grace_seconds) if resource == "pods" else 0
        marked = known.get("deletionTimestamp")
        if marked and grace >= known.get("deletionGracePeriodSeconds", 0) > 0:
            return entry
        if not known.get("finalizers") and grace == 0:
            if resource == "pods":  # deleted gracefully, in no time
                last = _copy_of(entry)
                last["metadata"] |= {"deletionTimestamp": marked or self.now(), "deletionGracePeriodSeconds": 0}
                entry = self._commit(resource, "MODIFIED", key, last, entry.flat, entry.owners, entry, actor)
            self._remove(resource, key, _copy_of(entry), actor)
            return entry
        if marked and grace >= known.get("deletionGracePeriodSeconds", 0):
            return entry
        new = _copy_of(entry)
        new["metadata"]["deletionTimestamp"] = marked or self.now()
        new["metadata"]["deletionGracePeriodSeconds"] = grace
        return self._commit(resource, "MODIFIED", key, new, entry.flat, entry.owners, entry, actor)

    @staticmethod
    def _grace(pod: Json, asked: int | None) -> int:
        if not pod["spec"].get("nodeName") or (pod.get("status") or {}).get("phase") in ("Failed", "Succeeded"):
            return 0
        if asked is not None:
            return max(0, asked)
        return int(pod["spec"].get("terminationGracePeriodSeconds", GRACE_SECONDS))

    def grants_admin(self, namespace: str) -> bool:
        found = self.get("namespaces", ("", namespace))
        return found is not None and (found["metadata"].get("labels") or {}).get(ADMIN_LABEL) == "true"

    # --- what is no request ------------------------------------------------------------------------------------------

    def put(self, resource: str, key: Key, change: Callable[[Json], None], *, actor: str) -> Entry:
        """A change by the machinery itself, which no rule applies to: kubelets' statuses, bindings."""
        entry = self.entry(resource, key)
        new = _copy_of(entry)
        change(new)
        if new == entry.object:
            return entry
        flat = flatten(new)
        owners = note_update(entry.owners, Manager(actor, "Update", "status"), entry.flat, flat)
        return self._commit(resource, "MODIFIED", key, new, flat, owners, entry, actor)

    def compact(self, resource: str) -> None:
        """Watches of the resource can go on from no revision before this one."""
        self.compacted[resource] = self.version

    def _commit(
        self,
        resource: str,
        type_: str,
        key: Key,
        new: Json,
        flat: Flat,
        owners: Owners,
        before: Entry | None,
        actor: str,
    ) -> Entry:
        self.version += 1
        now = self.now()
        meta = new["metadata"]
        meta["resourceVersion"] = str(self.version)
        known: dict[Manager, str] = {}
        if before is not None:
            fields = before.object["metadata"].get("managedFields") or ()
            times = {
                Manager(one["manager"], one["operation"], one.get("subresource", "")): one["time"] for one in fields
            }
            known = {who: times[who] for who in owners if owners[who] == before.owners.get(who) and who in times}
        meta["managedFields"] = rendered(owners, new.get("apiVersion", "v1"), now, known)
        entry = Entry(new, msgspec.json.encode(new), flat, owners)
        self.objects.setdefault(resource, {})[key] = entry
        self._log(Change(self.version, resource, type_, key, new, entry.raw, before and before.object, actor))
        return entry

    def _remove(self, resource: str, key: Key, last: Json, actor: str) -> None:
        entry = self.objects[resource].pop(key)
        self.version += 1
        last["metadata"]["resourceVersion"] = str(self.version)
        raw = msgspec.json.encode(last)
        self._log(Change(self.version, resource, "DELETED", key, last, raw, entry.object, actor))

    def _log(self, change: Change) -> None:
        self.log.append(change)
        self.by_resource.setdefault(change.resource, []).append(change)
        for observer in self.observers:
            observer(change)


def _copy(value: Json) -> Json:
    return msgspec.json.decode(msgspec.json.encode(value))


def _copy_of(entry: Entry) -> Json:
    return msgspec.json.decode(entry.raw)


def _take_over(new: Json, old: Json, names: tuple[str, ...]) -> None:
    for name in names:
        if name in old:
            new[name] = old[name]
        else:
            new.pop(name, None)


def _refuse(resource: str, key: Key, errors: Iterator[str]) -> None:
    listed = list(errors)
    if listed:
        raise StatusError(422, "Invalid", f'{resource} "{key[1]}" is invalid: {", ".join(listed)}')
