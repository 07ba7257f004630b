"""The model as the HTTP API: requests in, statuses and bodies out.

Upstream: the REST paths of the Kubernetes API. Lists come in one piece; a watch is the caller's to read from the log.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

import msgspec

from tests.simulation.model.fields import Json
from tests.simulation.model.store import Key, ModelStore, Preconditions, StatusError

_PATCHES: Final = {
    "application/merge-patch+json": "merge",
    "application/strategic-merge-patch+json": "strategic",
    "application/apply-patch+yaml": "apply",
}
_KINDS: Final = {
    "pods": ("v1", "PodList"),
    "nodes": ("v1", "NodeList"),
    "namespaces": ("v1", "NamespaceList"),
    "resourceclaims": ("resource.k8s.io/v1", "ResourceClaimList"),
    "resourceclaimtemplates": ("resource.k8s.io/v1", "ResourceClaimTemplateList"),
    "resourceslices": ("resource.k8s.io/v1", "ResourceSliceList"),
    "devicetaintrules": ("resource.k8s.io/v1", "DeviceTaintRuleList"),
    "deviceclasses": ("resource.k8s.io/v1", "DeviceClassList"),
    "leases": ("coordination.k8s.io/v1", "LeaseList"),
}


class Target(NamedTuple):
    """What a path names."""

    resource: str
    key: Key
    subresource: str


class Answer(NamedTuple):
    status: int
    headers: Mapping[str, str]
    body: bytes


def parse(path: str) -> Target:
    parts = path.strip("/").split("/")
    parts = parts[2:] if parts[0] == "api" else parts[3:]
    namespace = ""
    if len(parts) > 2 and parts[0] == "namespaces":
        namespace, parts = parts[1], parts[2:]
    name = parts[1] if len(parts) > 1 else ""
    return Target(parts[0], (namespace, name), parts[2] if len(parts) > 2 else "")


def failure(error: StatusError) -> Answer:
    status = {
        "kind": "Status",
        "apiVersion": "v1",
        "status": "Failure",
        "message": error.message,
        "reason": error.reason,
        "code": error.code,
    }
    if error.about:
        status["details"] = {"name": error.about}
    headers = {} if error.retry_after is None else {"Retry-After": str(error.retry_after)}
    return Answer(error.code, headers, msgspec.json.encode(status))


def serve(
    store: ModelStore,
    method: str,
    path: str,
    params: Mapping[str, str],
    body: bytes | None,
    content_type: str,
    actor: str,
) -> Answer:
    """One request. What it changes is changed when this returns."""
    target = parse(path)
    if target.resource in ("events", "mutatingadmissionpolicies", "mutatingadmissionpolicybindings"):
        return Answer(200, {}, b"{}")  # nobody reads them here
    try:
        return _serve(store, method, target, params, body, content_type, actor)
    except StatusError as error:
        return failure(error)


def _serve(
    store: ModelStore,
    method: str,
    target: Target,
    params: Mapping[str, str],
    body: bytes | None,
    content_type: str,
    actor: str,
) -> Answer:
    resource, key, subresource = target
    manager = params.get("fieldManager", actor)
    if method == "GET":
        if key[1]:
            return Answer(200, {}, store.entry(resource, key).raw)
        return Answer(200, {}, list_body(store, resource, key[0], params.get("fieldSelector", "")))
    given: Json = msgspec.json.decode(body) if body else {}
    if method == "POST":
        if subresource == "eviction":
            wanted = (given.get("deleteOptions") or {}).get("preconditions") or {}
            store.delete(resource, key, preconditions=_preconditions(wanted), actor=actor)
            return Answer(201, {}, b"{}")
        given.setdefault("metadata", {})["namespace"] = key[0]
        return Answer(201, {}, store.create(resource, given, manager=manager, actor=actor).raw)
    if method == "DELETE":
        entry = store.delete(
            resource,
            key,
            preconditions=_preconditions(given.get("preconditions") or {}),
            grace_seconds=given.get("gracePeriodSeconds"),
            actor=actor,
        )
        return Answer(200, {}, entry.raw)
    if method == "PUT":
        entry = store.update(
            resource, key, lambda _: given, subresource=subresource, manager=manager, actor=actor, exact=True
        )
    else:
        kind = _PATCHES.get(content_type)
        if kind is None:
            raise StatusError(415, "UnsupportedMediaType", f"{content_type} is not supported")
        if kind == "apply":
            entry = store.apply(
                resource,
                key,
                given,
                subresource=subresource,
                manager=manager,
                force=params.get("force") == "true",
                actor=actor,
            )
        else:
            entry = store.patch(resource, key, given, kind, subresource=subresource, manager=manager, actor=actor)
    return Answer(200, {}, entry.raw)


def list_body(store: ModelStore, resource: str, namespace: str = "", field_selector: str = "") -> bytes:
    api_version, kind = _KINDS[resource]
    entries = store.entries(resource, namespace)
    if field_selector:
        name, _, value = field_selector.partition("=")
        entries = [entry for entry in entries if _field(entry.object, name) == value]
    items = [msgspec.Raw(entry.raw) for entry in entries]
    meta = {"resourceVersion": str(store.version)}
    return msgspec.json.encode({"apiVersion": api_version, "kind": kind, "metadata": meta, "items": items})


def _field(object_: Json, name: str) -> str:
    if name not in ("spec.nodeName", "metadata.name", "metadata.namespace"):
        raise StatusError(400, "BadRequest", f"field label not supported: {name}")
    part, _, member = name.partition(".")
    return str(object_[part].get(member, ""))


def _preconditions(given: Json) -> Preconditions:
    return Preconditions(given.get("uid") or "", given.get("resourceVersion") or "")
