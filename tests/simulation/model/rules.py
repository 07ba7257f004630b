"""What the API server refuses, as far as the operator and those beside it could run into it.

Each rule answers with the errors of a write that breaks it, as `field: message`.

Upstream: k8s.io/kubernetes/pkg/apis/core/validation (ValidatePodUpdate), pkg/apis/resource/validation, and
apimachinery's ValidateObjectMetaUpdate.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from tests.simulation.model.fields import Json

RESERVED_FOR_MAX: Final = 256
RESULTS_MAX: Final = 32
_MUTABLE: Final = frozenset({"activeDeadlineSeconds", "tolerations", "terminationGracePeriodSeconds"})


def asks_admin_access(spec: Json) -> bool:
    """Whether a claim's spec asks for admin access anywhere."""
    return any(
        (request.get("exactly") or {}).get("adminAccess")
        for request in (spec.get("devices") or {}).get("requests") or ()
    )


def set_defaults(spec: Json) -> None:
    """What the API server fills in where a claim's spec leaves it out."""
    for request in (spec.get("devices") or {}).get("requests") or ():
        for ask in (request.get("exactly"), *(request.get("firstAvailable") or ())):
            if ask is not None and not ask.get("allocationMode"):
                ask["allocationMode"] = "ExactCount"
            if ask is not None and ask["allocationMode"] == "ExactCount" and not ask.get("count"):
                ask["count"] = 1


def metadata_errors(new: Json, old: Json) -> Iterator[str]:
    """Rules of every object's update."""
    if old["metadata"].get("deletionTimestamp"):
        added = set(new["metadata"].get("finalizers") or ()) - set(old["metadata"].get("finalizers") or ())
        if added:
            yield (
                f"metadata.finalizers: Forbidden: no new finalizers can be added if the object is being deleted, "
                f"found new finalizers {sorted(added)}"
            )


def claim_errors(new: Json, old: Json) -> Iterator[str]:
    """An update of a claim or a template: its spec is what it was at creation."""
    if new.get("spec") != old.get("spec"):
        yield "spec: Invalid value: field is immutable"


def claim_status_errors(new: Json, old: Json, *, grants_admin: bool) -> Iterator[str]:
    status, before = new.get("status") or {}, old.get("status") or {}
    users, allocation = status.get("reservedFor") or [], status.get("allocation")
    uids = [user.get("uid") for user in users]
    if len(users) > RESERVED_FOR_MAX:
        yield f"status.reservedFor: Too many: {len(users)}: must have at most {RESERVED_FOR_MAX} items"
    for index, user in enumerate(users):
        yield from (
            f"status.reservedFor[{index}].{name}: Required value"
            for name in ("resource", "name", "uid")
            if not user.get(name)
        )
        if user.get("uid") in uids[:index]:
            yield f'status.reservedFor[{index}]: Duplicate value: "{user.get("uid")}"'
    if users and allocation is None:
        yield "status.reservedFor: Forbidden: may not be specified when `allocated` is not set"
    added = [user for user in users if user not in (before.get("reservedFor") or ())]
    if added and allocation is not None and new["metadata"].get("deletionTimestamp"):
        yield (
            "status.reservedFor: Forbidden: new entries may not be added while `deallocationRequested` or "
            "`deletionTimestamp` are set"
        )
    if allocation is not None and before.get("allocation") is not None:
        if allocation != before["allocation"]:
            yield "status.allocation: Invalid value: field is immutable"
    elif allocation is not None:
        yield from _allocation_errors(allocation, new)
        results = (allocation.get("devices") or {}).get("results") or ()
        if any(result.get("adminAccess") for result in results) and not grants_admin:
            yield "status.allocation: Forbidden: admin access requires the label in the namespace"


def _allocation_errors(allocation: Json, claim: Json) -> Iterator[str]:
    results = (allocation.get("devices") or {}).get("results") or []
    if len(results) > RESULTS_MAX:
        yield f"status.allocation.devices.results: Too many: {len(results)}: must have at most {RESULTS_MAX} items"
    names = set()
    for request in claim["spec"].get("devices", {}).get("requests") or ():
        names.add(request["name"])
        names |= {f"{request['name']}/{sub['name']}" for sub in request.get("firstAvailable") or ()}
    for index, result in enumerate(results):
        where = f"status.allocation.devices.results[{index}]"
        if result.get("request") not in names:
            yield f'{where}.request: Invalid value: "{result.get("request")}": must be the name of a request'
        yield from (f"{where}.{name}: Required value" for name in ("driver", "pool", "device") if not result.get(name))


def pod_create_errors(pod: Json) -> Iterator[str]:
    if pod["spec"].get("nodeName") and pod["spec"].get("schedulingGates"):
        yield "spec.nodeName: Forbidden: cannot be set until all schedulingGates have been cleared"


def pod_errors(new: Json, old: Json) -> Iterator[str]:
    """Gates may only go; the node affinity of a gated pod may only be tightened; little else may change at all."""
    spec, before = new["spec"], old["spec"]
    gated = bool(before.get("schedulingGates"))
    gates = {gate["name"] for gate in spec.get("schedulingGates") or ()}
    added = gates - {gate["name"] for gate in before.get("schedulingGates") or ()}
    for name in sorted(added):
        yield f'spec.schedulingGates: Forbidden: only deletion is allowed, but found new scheduling gate "{name}"'
    for name in sorted((spec.keys() | before.keys()) - _MUTABLE - {"schedulingGates"}):
        mine, theirs = spec.get(name), before.get(name)
        if mine == theirs:
            continue
        if name == "affinity" and gated:
            yield from _affinity_errors(mine or {}, theirs or {})
        elif name == "nodeSelector" and gated:
            if any((mine or {}).get(key) != value for key, value in (theirs or {}).items()):
                yield "spec.nodeSelector: Invalid value: only additions are allowed (no mutations or deletions)"
        else:
            yield f"spec: Forbidden: pod updates may not change fields other than a few, but {name} changed"


def _affinity_errors(new: Json, old: Json) -> Iterator[str]:
    for name in ("podAffinity", "podAntiAffinity"):
        if new.get(name) != old.get(name):
            yield f"spec.affinity.{name}: Forbidden: pod updates may not change it"
    required = "requiredDuringSchedulingIgnoredDuringExecution"
    before = ((old.get("nodeAffinity") or {}).get(required) or {}).get("nodeSelectorTerms")
    if not before:
        return
    after = ((new.get("nodeAffinity") or {}).get(required) or {}).get("nodeSelectorTerms") or []
    where = f"spec.affinity.nodeAffinity.{required}.nodeSelectorTerms"
    if len(before) != len(after):
        yield f"{where}: Invalid value: no additions/deletions to non-empty NodeSelectorTerms list are allowed"
        return
    for index, (mine, theirs) in enumerate(zip(after, before, strict=True)):
        if not _only_adds(mine, theirs):
            yield f"{where}[{index}]: Invalid value: only additions are allowed (no mutations or deletions)"


def _only_adds(new: Json, old: Json) -> bool:
    kinds = ("matchExpressions", "matchFields")
    if not any(old.get(kind) for kind in kinds) and any(new.get(kind) for kind in kinds):
        return False
    return all((new.get(kind) or [])[: len(old.get(kind) or [])] == (old.get(kind) or []) for kind in kinds)
