"""Random operations, played on the model of the API server and on a real one: both must answer alike.

Operations name objects, and say of which version of it they know; each side fills in its own UIDs and versions. What
is compared is the code, the reason, what is gone, and what the model keeps of an object; at the end, what watches tell.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import msgspec

from dra_operator.api.kinds import CLAIMS, PODS, TEMPLATES, Kind
from dra_operator.api.meta import ObjectKey
from dra_operator.cluster.http import ApiClient, ApiError
from tests.simulation.model.fields import Json
from tests.simulation.model.server import serve
from tests.simulation.model.store import ModelStore
from tests.simulation.objects import CLAIM_SPECS

KINDS: dict[str, Kind[Any]] = {"pods": PODS, "resourceclaims": CLAIMS, "resourceclaimtemplates": TEMPLATES}
MERGE, STRATEGIC = "application/merge-patch+json", "application/strategic-merge-patch+json"
APPLY = "application/apply-patch+yaml"
GATES = ("dra-operator.io/allocation", "example.com/other")
NODES = ("node-a", "node-b")
NODE = "twin-node"
"""Exists on both sides: pods on nodes that do not are taken away by pod GC."""


class Op(NamedTuple):
    """One request. `uid` and `version` say what is put into `metadata` (or the preconditions): "", new, old or odd."""

    method: str
    resource: str
    name: str
    subresource: str = ""
    body: Json = None
    content_type: str = "application/json"
    params: tuple[tuple[str, str], ...] = ()
    uid: str = ""
    version: str = ""

    def __str__(self) -> str:
        path = "/".join(part for part in (self.resource, self.name, self.subresource) if part)
        told = f"{self.method} {path} uid={self.uid or '-'} version={self.version or '-'} {dict(self.params)}"
        return f"{told} {self.content_type.rpartition('/')[2]} {msgspec.json.encode(self.body).decode()}"


class Outcome(NamedTuple):
    status: int
    reason: str
    object: Json
    gone: str = ""
    """The object that there is none of, as the answer names it."""


@dataclass(slots=True)
class Side:
    """What one of the two has answered so far, for placeholders."""

    namespace: str
    known: dict[tuple[str, str], list[tuple[str, str]]] = field(default_factory=dict)

    def path(self, op: Op) -> str:
        kind = KINDS[op.resource]
        if op.method == "POST":
            return kind.collection_path(self.namespace)
        return kind.path(ObjectKey(self.namespace, op.name), op.subresource)

    def body(self, op: Op) -> bytes | None:
        if op.method == "GET":
            return None
        body = msgspec.json.decode(msgspec.json.encode(op.body or {}))
        versions = self.known.get((op.resource, op.name)) or [("none", "1")]
        uid = {"": "", "new": versions[-1][0], "old": versions[0][0], "odd": "odd"}[op.uid]
        version = {"": "", "new": versions[-1][1], "old": versions[0][1], "odd": "1"}[op.version]
        given = {name: value for name, value in (("uid", uid), ("resourceVersion", version)) if value}
        if op.method == "DELETE":
            if given:
                body["preconditions"] = given
        elif op.method == "POST":
            body["metadata"] = {**body.get("metadata", {}), "name": op.name, "namespace": self.namespace}
        else:
            body["metadata"] = {**body.get("metadata", {}), **given}
            if op.content_type == APPLY or op.method == "PUT":
                body["metadata"] |= {"name": op.name, "namespace": self.namespace}
        return msgspec.json.encode(body)

    def note(self, op: Op, answer: Json) -> Outcome:
        if answer.get("kind") == "Status":
            return Outcome(answer.get("code", 200), answer.get("reason", ""), None)
        meta = answer["metadata"]
        self.known.setdefault((op.resource, op.name), []).append((meta["uid"], meta["resourceVersion"]))
        return Outcome(200, "", project(op.resource, answer))


def project(resource: str, object_: Json) -> Json:
    """What is compared of an object."""
    meta = object_["metadata"]
    kept: Json = {name: meta[name] for name in ("name", "labels", "annotations", "finalizers") if meta.get(name)}
    kept["deleting"] = bool(meta.get("deletionTimestamp"))
    kept["grace"] = meta.get("deletionGracePeriodSeconds")
    managers = {
        (one["manager"], one["operation"])
        for one in meta.get("managedFields") or ()
        if one.get("subresource") == "status"
    }
    spec, status = object_.get("spec") or {}, object_.get("status") or {}
    if resource != "pods":
        return {**kept, "managers": sorted(managers), "spec": _bare(spec), "status": _bare(status)}
    kept["spec"] = {
        name: spec[name]
        for name in ("schedulingGates", "nodeName", "affinity", "nodeSelector", "resourceClaims")
        if spec.get(name)
    }
    conditions = [
        {name: one[name] for name in ("type", "status", "reason", "message") if one.get(name)}
        for one in status.get("conditions") or ()
    ]
    kept["status"] = {
        "phase": status.get("phase"),
        "conditions": sorted(conditions, key=lambda one: str(one["type"])),
        "resourceClaimStatuses": status.get("resourceClaimStatuses") or [],
    }
    return kept


def _bare(value: Json) -> Json:
    """Without what is empty: the real one writes some of it out."""
    if isinstance(value, dict):
        return {name: kept for name, inner in value.items() if (kept := _bare(inner)) not in ({}, [], None)}
    return [_bare(inner) for inner in value] if isinstance(value, list) else value


async def play_on_server(client: ApiClient, side: Side, op: Op) -> Outcome:
    params = dict(op.params)
    try:
        answer = await client.request(
            op.method, side.path(op), params=params, body=side.body(op), content_type=op.content_type
        )
    except ApiError as error:
        return Outcome(error.status, error.reason, None, error.about if error.is_gone else "")
    return side.note(op, msgspec.json.decode(answer.body))


def play_on_model(store: ModelStore, side: Side, op: Op) -> Outcome:
    answer = serve(store, op.method, side.path(op), dict(op.params), side.body(op), op.content_type, "model")
    body = msgspec.json.decode(answer.body)
    if answer.status >= 300:
        return Outcome(answer.status, body["reason"], None, body.get("details", {}).get("name", ""))
    return side.note(op, body)


# --- operations ------------------------------------------------------------------------------------------------------


def operations(seed: int, count: int) -> Iterator[Op]:
    rng = random.Random(seed)
    makers = (
        _create,
        _create,
        _delete,
        _pod_gates,
        _pod_status,
        _pod_apply,
        _pod_apply,
        _pod_metadata,
        *(3 * (_claim_status_op,)),
        _claim_metadata,
        _claim_metadata,
        _claim_spec,
        _put,
        _get,
    )
    for _ in range(count):
        yield rng.choice(makers)(rng)


def _conditional(rng: random.Random) -> Json:
    return {
        "uid": rng.choice(("new", "new", "", "", "old", "odd")),
        "version": rng.choice(("new", "new", "new", "", "", "old", "odd")),
    }


def _params(rng: random.Random) -> tuple[tuple[str, str], ...]:
    return (("fieldManager", rng.choice(("dra-operator", "kube-controller-manager", "somebody"))),)


def _create(rng: random.Random) -> Op:
    resource = rng.choice(("pods", "pods", "resourceclaims", "resourceclaims", "resourceclaimtemplates"))
    finalizers = rng.choice(([], [], ["example.com/keep"], ["resource.kubernetes.io/delete-protection"]))
    meta: Json = {"labels": {"a": "b"}} if rng.random() < 0.3 else {}
    if finalizers:
        meta["finalizers"] = finalizers
    spec = CLAIM_SPECS[rng.choice(("one", "two", "slot", "either", "watch"))]
    if resource == "pods":
        spec = {
            "schedulerName": "nobody",
            "terminationGracePeriodSeconds": 30,
            "containers": [{"name": "main", "image": "example.com/main"}],
            "resourceClaims": [{"name": "gpu", "resourceClaimName": "claim-a"}],
        }
        if rng.random() < 0.7:
            spec["schedulingGates"] = [{"name": name} for name in rng.sample(GATES, rng.randint(1, 2))]
        elif rng.random() < 0.7:
            spec["nodeName"] = NODE
        if rng.random() < 0.3:
            spec["affinity"] = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": _terms(rng)}}
    elif resource == "resourceclaimtemplates":
        spec = {"spec": spec}
    body = {
        "apiVersion": KINDS[resource].api_version,
        "kind": KINDS[resource].kind,
        "metadata": meta,
        "spec": spec,
    }
    return Op("POST", resource, _name(rng, resource), body=body, params=_params(rng))


def _name(rng: random.Random, resource: str) -> str:
    return f"{ {'pods': 'pod', 'resourceclaims': 'claim'}.get(resource, 'template') }-{rng.choice('ab')}"


def _terms(rng: random.Random) -> Json:
    terms = []
    for _ in range(rng.randint(1, 2)):
        term: Json = {}
        if rng.random() < 0.7:
            term["matchExpressions"] = [{"key": "zone", "operator": "In", "values": [rng.choice("xy")]}]
        if rng.random() < 0.5:
            term["matchFields"] = [{"key": "metadata.name", "operator": "In", "values": [rng.choice(NODES)]}]
        terms.append(term or {"matchExpressions": [{"key": "zone", "operator": "Exists"}]})
    return {"nodeSelectorTerms": terms}


def _delete(rng: random.Random) -> Op:
    resource = rng.choice(("pods", "resourceclaims", "resourceclaims", "resourceclaimtemplates"))
    body: Json = {"apiVersion": "v1", "kind": "DeleteOptions"}
    if resource == "pods" and rng.random() < 0.5:
        body["gracePeriodSeconds"] = rng.choice((0, 5))
    return Op("DELETE", resource, _name(rng, resource), "", body, **_conditional(rng))


def _pod_gates(rng: random.Random) -> Op:
    """Ungate and pin as the operator does, and less politely."""
    spec: Json = {}
    if rng.random() < 0.8:
        change = {"name": rng.choice(GATES)}
        if rng.random() < 0.8:
            change["$patch"] = "delete"
        spec["schedulingGates"] = [change]
    if rng.random() < 0.5:
        spec["affinity"] = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": _terms(rng)}}
    if rng.random() < 0.2:
        spec["nodeSelector"] = {rng.choice("pq"): rng.choice("12")}
    if rng.random() < 0.1:
        spec["hostNetwork"] = True
    name = _name(rng, "pods")
    return Op("PATCH", "pods", name, "", {"spec": spec}, STRATEGIC, _params(rng), **_conditional(rng))


def _condition(rng: random.Random) -> Json:
    return {
        "type": rng.choice(("dra-operator.io/DevicesAllocated", "Ready")),
        "status": rng.choice(("True", "False")),
        "reason": rng.choice(("One", "Two")),
        "message": "m",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }


def _claim_names(rng: random.Random) -> list[Json]:
    return [{"name": "gpu", "resourceClaimName": rng.choice(("claim-a", "claim-b"))}]


def _pod_status(rng: random.Random) -> Op:
    status: Json = {}
    if rng.random() < 0.5:
        status["conditions"] = [_condition(rng)]
    if rng.random() < 0.4:
        status["resourceClaimStatuses"] = _claim_names(rng)
    if rng.random() < 0.3:
        status["phase"] = rng.choice(("Running", "Succeeded"))
    content = rng.choice((MERGE, STRATEGIC))
    if content == MERGE and "conditions" in status:
        content = STRATEGIC
    name = _name(rng, "pods")
    return Op("PATCH", "pods", name, "status", {"status": status}, content, _params(rng), **_conditional(rng))


def _pod_apply(rng: random.Random) -> Op:
    status: Json = {}
    if rng.random() < 0.7:
        status["conditions"] = [_condition(rng)]
    if rng.random() < 0.7:
        status["resourceClaimStatuses"] = _claim_names(rng)
    body = {"apiVersion": "v1", "kind": "Pod", "status": status}
    params = (*_params(rng), *((("force", "true"),) if rng.random() < 0.3 else ()))
    return Op("PATCH", "pods", _name(rng, "pods"), "status", body, APPLY, params, **_conditional(rng))


def _metadata(rng: random.Random) -> Json:
    return rng.choice(
        (
            {"labels": {rng.choice("ab"): rng.choice("cd")}},
            {"labels": {"a": None}},
            {"annotations": {"note": rng.choice("ef")}},
        )
    )


def _pod_metadata(rng: random.Random) -> Op:
    name = _name(rng, "pods")
    meta = _metadata(rng) if rng.random() < 0.6 else {"finalizers": rng.choice((None, ["example.com/keep"]))}
    return Op("PATCH", "pods", name, "", {"metadata": meta}, MERGE, _params(rng), **_conditional(rng))


def _claim_metadata(rng: random.Random) -> Op:
    protected = ["resource.kubernetes.io/delete-protection"]
    meta = rng.choice(
        (
            _metadata(rng),
            {"finalizers": protected},
            {"finalizers": None},
            {"finalizers": ["example.com/keep", *protected]},
        )
    )
    name = _name(rng, "resourceclaims")
    return Op("PATCH", "resourceclaims", name, "", {"metadata": meta}, MERGE, _params(rng), **_conditional(rng))


def _claim_status_op(rng: random.Random) -> Op:
    """Allocate, reserve, release, clear, and what may not be."""
    status: Json = {}
    if rng.random() < 0.8:
        result: Json = {
            "request": rng.choice(("gpu", "gpu", "gpu", "gpu/big", "other")),
            "driver": "gpu.example.com",
            "pool": "p",
            "device": rng.choice(("d0", "d1")),
        }
        if rng.random() < 0.1:
            result["adminAccess"] = True
        status["allocation"] = rng.choice(
            ({"devices": {"results": [result], "config": None}, "nodeSelector": None}, None)
        )
    if rng.random() < 0.7:
        users = [
            {"resource": "pods", "name": f"pod-{uid}", "uid": uid}
            for uid in rng.choice((["u1"], ["u1", "u2"], ["u2", "u2"]))
        ]
        if rng.random() < 0.1:
            users = [
                {"resource": "pods", "name": f"pod-{number}", "uid": f"u{number}"}
                for number in range(rng.choice((256, 257)))
            ]
        status["reservedFor"] = rng.choice((users, users, None))
    meta: Json = {"labels": {"x": "ignored"}} if rng.random() < 0.1 else {}
    body = {"metadata": meta, "status": status}
    name = _name(rng, "resourceclaims")
    return Op("PATCH", "resourceclaims", name, "status", body, MERGE, _params(rng), **_conditional(rng))


def _claim_spec(rng: random.Random) -> Op:
    resource = rng.choice(("resourceclaims", "resourceclaimtemplates"))
    spec = CLAIM_SPECS[rng.choice(("one", "two"))]
    body = {"spec": spec if resource == "resourceclaims" else {"spec": spec}}
    return Op("PATCH", resource, _name(rng, resource), "", body, MERGE, _params(rng), **_conditional(rng))


def _put(rng: random.Random) -> Op:
    body = {
        "apiVersion": CLAIMS.api_version,
        "kind": "ResourceClaim",
        "metadata": {"labels": {"put": rng.choice("12")}},
        "spec": CLAIM_SPECS[rng.choice(("one", "two"))],
    }
    name = _name(rng, "resourceclaims")
    return Op("PUT", "resourceclaims", name, "", body, params=_params(rng), **_conditional(rng))


def _get(rng: random.Random) -> Op:
    resource = rng.choice(("pods", "resourceclaims"))
    return Op("GET", resource, _name(rng, resource))
