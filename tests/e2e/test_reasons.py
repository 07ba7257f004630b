"""Every reason code, provoked on the real API server: the condition, `explain` and `simulate` say the same.

Each scene brings a pod into the state of one code. Then the three are compared: the same code and the same sentence,
counts included. `simulate` and `explain` see what the API server lists and nothing of the operator.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from dra_operator.api.kinds import CLAIMS, NAMESPACES, SLICES, TAINT_RULES, TEMPLATES
from dra_operator.api.meta import ObjectKey
from dra_operator.api.names import ADMIN_ACCESS_LABEL, ALLOCATION_LABEL
from dra_operator.api.reasons import Reason
from dra_operator.cli.explain import explain
from dra_operator.cli.simulate import simulate
from dra_operator.cluster.http import ApiError
from dra_operator.sandbox.state import State
from tests.e2e.stage import Stage, make_class, until
from tests.unit.cli.commands import Answer, call

DRIVER = "reasons.example.com"
CLASS = "reasons"
POD = "one"
NODE = "gpu-0"


class Scene:
    """What the scenes need besides a stage: slices of a driver of their own, and that all of it goes away."""

    def __init__(self, here: Stage, stack: AsyncExitStack) -> None:
        self.here = here
        self.stack = stack

    async def publish(self, devices: list[dict[str, Any]] | None, **spec: Any) -> None:
        await make_class(self.here.client, CLASS, f"device.driver == '{DRIVER}'")
        body = {
            "metadata": {"generateName": "reasons-"},
            "spec": {
                "driver": DRIVER,
                "nodeName": NODE,
                "pool": {"name": "reasons", "generation": 1, "resourceSliceCount": 1},
                "devices": devices,
                **spec,
            },
        }
        slice_ = await self.here.client.create(SLICES, body)
        self.stack.push_async_callback(self.here.client.delete, SLICES, slice_.key)

    async def taint(self, name: str, key: str) -> None:
        """By a DeviceTaintRule."""
        spec = {
            "deviceSelector": {"driver": DRIVER, "pool": "reasons", "device": name},
            "taint": {"key": key, "effect": "NoSchedule"},
        }
        rule = await self.here.client.create(TAINT_RULES, {"metadata": {"generateName": "reasons-"}, "spec": spec})
        self.stack.push_async_callback(self.here.client.delete, TAINT_RULES, rule.key)

    async def template(self, name: str = "gpu", class_name: str = CLASS, **exactly: Any) -> None:
        ask = {"deviceClassName": class_name, **exactly}
        body = {
            "apiVersion": "resource.k8s.io/v1",
            "kind": "ResourceClaimTemplate",
            "metadata": {"name": name},
            "spec": {"spec": {"devices": {"requests": [{"name": "gpu", "exactly": ask}]}}},
        }
        await self.here.client.create(TEMPLATES, body, namespace=self.here.namespace)

    async def hold(self, *names: str) -> None:
        """Pods that have a device of the template `gpu`, whether or not a node agent serves its driver."""
        for name in names:
            await self.here.pod(name, templates=("gpu",))
        for name in names:
            await self.here.waits(name, "Allocated")

    async def label(self, name: str, value: str | None) -> None:
        key = ObjectKey("", self.here.namespace)
        await self.here.client.patch(NAMESPACES, key, {"metadata": {"labels": {name: value}}}, patch_type="merge")

    async def claim_status(self, name: str, status: dict[str, Any]) -> None:
        key = self.here.key(name)
        await self.here.client.patch(CLAIMS, key, {"status": status}, patch_type="merge", subresource="status")


Play: TypeAlias = Callable[[Scene], Awaitable[None]]
SCENES: dict[Reason, Play] = {}


def scene(reason: Reason) -> Callable[[Play], Play]:
    def register(play: Play) -> Play:
        SCENES[reason] = play
        return play

    return register


def device(name: str, **parts: Any) -> dict[str, Any]:
    return {"name": name, **parts}


def result(name: str) -> dict[str, Any]:
    return {"request": "gpu", "driver": "gpu.dra-operator.io", "pool": NODE, "device": name}


def allocation(name: str) -> dict[str, Any]:
    field = {"key": "metadata.name", "operator": "In", "values": [NODE]}
    return {"devices": {"results": [result(name)]}, "nodeSelector": {"nodeSelectorTerms": [{"matchFields": [field]}]}}


# --- the scenes ------------------------------------------------------------------------------------------------------


@scene(Reason.ALLOCATED)
async def _allocated(on: Scene) -> None:
    await on.here.template()
    await on.here.pod(POD, templates=("gpu",))


@scene(Reason.TEMPLATE_NOT_FOUND)
async def _template_not_found(on: Scene) -> None:
    await on.here.pod(POD, templates=("late",))


@scene(Reason.CLAIM_NOT_FOUND)
async def _claim_not_found(on: Scene) -> None:
    await on.here.pod(POD, claims=("late",))


@scene(Reason.CLAIM_NOT_OWNED)
async def _claim_not_owned(on: Scene) -> None:
    await on.here.template()
    owner = await on.here.pod("owner", templates=("gpu",))
    await on.here.running("owner")
    [claim] = await on.here.claims_of(owner)
    await on.here.pod(POD, claims=(claim.metadata.name,))


@scene(Reason.CLAIM_DELETING)
async def _claim_deleting(on: Scene) -> None:
    claim = await on.here.claim("old")
    held = {"metadata": {"finalizers": ["example.com/held"]}}
    await on.here.client.patch(CLAIMS, claim.key, held, patch_type="merge")
    on.stack.push_async_callback(
        on.here.client.patch, CLAIMS, claim.key, {"metadata": {"finalizers": None}}, patch_type="merge"
    )
    await on.here.delete_claim("old")
    await on.here.pod(POD, claims=("old",))


@scene(Reason.CLAIM_FULL)
async def _claim_full(on: Scene) -> None:
    await on.here.claim("full")
    users = [{"apiGroup": "example.com", "resource": "things", "name": f"t{n}", "uid": f"u{n}"} for n in range(256)]
    await on.claim_status("full", {"allocation": allocation("gpu-0"), "reservedFor": users})
    on.stack.push_async_callback(on.claim_status, "full", {"allocation": None, "reservedFor": None})
    await on.here.pod(POD, claims=("full",))


@scene(Reason.CLAIM_CREATION_REFUSED)
async def _claim_creation_refused(on: Scene) -> None:
    await on.here.template()
    hard = {"hard": {"count/resourceclaims.resource.k8s.io": "0"}}
    path = f"/api/v1/namespaces/{on.here.namespace}/resourcequotas"
    body = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "none"}, "spec": hard}
    await on.here.client.request("POST", path, body=_json(body))

    async def counted() -> bool:
        answer = await on.here.client.request("GET", f"{path}/none")
        return b'"used"' in answer.body

    await until(lambda: "the quota is not in force", counted)
    await on.here.pod(POD, templates=("gpu",))


@scene(Reason.CLASS_NOT_FOUND)
async def _class_not_found(on: Scene) -> None:
    await on.here.template(class_name="nowhere")
    await on.here.pod(POD, templates=("gpu",))


@scene(Reason.SELECTOR_FAILED)
async def _selector_failed(on: Scene) -> None:
    await on.here.template(selector="device.attributes['gpu.dra-operator.io'].colour == 'green'")
    await on.here.pod(POD, templates=("gpu",))


@scene(Reason.REQUEST_INVALID)
async def _request_invalid(on: Scene) -> None:
    await on.publish([device(f"d{n}") for n in range(33)])
    await on.template(allocationMode="All")
    await on.here.pod(POD, templates=("gpu",))


@scene(Reason.NO_MATCHING_DEVICE)
async def _no_matching_device(on: Scene) -> None:
    await on.here.template(selector="device.attributes['gpu.dra-operator.io'].productName == 'none'")
    await on.here.pod(POD, templates=("gpu",))


@scene(Reason.DEVICES_IN_USE)
async def _devices_in_use(on: Scene) -> None:
    await on.here.template()
    await on.hold("a", "b", "c", "d")
    await on.here.pod(POD, templates=("gpu",))


@scene(Reason.DEVICES_TAINTED)
async def _devices_tainted(on: Scene) -> None:
    """One by its driver, one by an admin's rule."""
    await on.taint("tired", "example.com/tired")
    await on.publish([device("hot", taints=[{"key": "example.com/hot", "effect": "NoSchedule"}]), device("tired")])
    await on.template()
    await on.here.pod(POD, templates=("gpu",))


@scene(Reason.CONSTRAINT_UNSATISFIED)
async def _constraint_unsatisfied(on: Scene) -> None:
    await on.here.template(count=2, constraint="gpu.dra-operator.io/uuid")
    await on.here.pod(POD, templates=("gpu",))


@scene(Reason.COUNTERS_EXHAUSTED)
async def _counters_exhausted(on: Scene) -> None:
    consumes = [{"counterSet": "gpu", "counters": {"memory": {"value": "40Gi"}}}]
    pool = {"name": "reasons", "generation": 1, "resourceSliceCount": 2}
    counters = [{"name": "gpu", "counters": {"memory": {"value": "40Gi"}}}]
    await on.publish(None, sharedCounters=counters, pool=pool)
    await on.publish([device("p0", consumesCounters=consumes), device("p1", consumesCounters=consumes)], pool=pool)
    await on.template()
    await on.hold("a")
    await on.here.pod(POD, templates=("gpu",))


@scene(Reason.CAPACITY_EXHAUSTED)
async def _capacity_exhausted(on: Scene) -> None:
    await on.publish([device("shared", allowMultipleAllocations=True, capacity={"memory": {"value": "40Gi"}})])
    await on.template(capacity={"requests": {"memory": "30Gi"}})
    await on.hold("a")
    await on.here.pod(POD, templates=("gpu",))


@scene(Reason.POOL_INCOMPLETE)
async def _pool_incomplete(on: Scene) -> None:
    await on.publish([device("d0")], pool={"name": "reasons", "generation": 1, "resourceSliceCount": 2})
    await on.template()
    await on.here.pod(POD, templates=("gpu",))


@scene(Reason.POOL_INVALID)
async def _pool_invalid(on: Scene) -> None:
    pool = {"name": "reasons", "generation": 1, "resourceSliceCount": 2}
    await on.publish([device("twice")], pool=pool)
    await on.publish([device("twice")], pool=pool)
    await on.template()
    await on.here.pod(POD, templates=("gpu",))


@scene(Reason.NODE_UNSUITABLE)
async def _node_unsuitable(on: Scene) -> None:
    await on.here.template()
    main = {"name": "main", "image": "none", "resources": {"requests": {"cpu": "1000"}, "claims": [{"name": "t0"}]}}
    await on.here.pod(POD, templates=("gpu",), containers=[main])


@scene(Reason.ADMIN_ACCESS_DENIED)
async def _admin_access_denied(on: Scene) -> None:
    await on.label(ADMIN_ACCESS_LABEL, "true")
    await on.template(class_name="gpu.e2e", adminAccess=True)
    await on.label(ADMIN_ACCESS_LABEL, None)
    await on.here.pod(POD, templates=("gpu",))


@scene(Reason.SEARCH_BUDGET_EXCEEDED)
async def _search_budget_exceeded(on: Scene) -> None:
    """Ten cells of a square that differ in row, column and diagonal: for an even side there are none (Euler)."""
    side, names = 10, ("row", "column", "diagonal")
    cells = [(row, column, (row + column) % side) for row in range(side) for column in range(side)]
    square = [{name: {"int": place} for name, place in zip(names, cell, strict=True)} for cell in cells]
    await on.publish([device(f"d{n}", attributes=attributes) for n, attributes in enumerate(square)])
    ask = {"deviceClassName": CLASS, "count": side}
    constraints = [{"distinctAttribute": f"{DRIVER}/{name}"} for name in names]
    devices = {"requests": [{"name": "gpu", "exactly": ask}], "constraints": constraints}
    body = {"metadata": {"name": "gpu"}, "spec": {"spec": {"devices": devices}}}
    await on.here.client.create(TEMPLATES, body, namespace=on.here.namespace)
    await on.here.pod(POD, templates=("gpu",))


@scene(Reason.WAITING_FOR_OTHER_GATES)
async def _waiting_for_other_gates(on: Scene) -> None:
    await on.here.template()
    await on.here.pod(POD, templates=("gpu",), schedulingGates=[{"name": "example.com/quota"}])


@scene(Reason.NOT_MANAGED)
async def _not_managed(on: Scene) -> None:
    await on.here.template(selector="device.attributes['gpu.dra-operator.io'].productName == 'none'")
    await on.here.pod(POD, templates=("gpu",))
    await on.here.waits(POD, "NoMatchingDevice")
    await on.label(ALLOCATION_LABEL, "disabled")


@scene(Reason.UNSCHEDULABLE_AFTER_PIN)
async def _unschedulable_after_pin(on: Scene) -> None:
    """A volume that does not exist: kube-scheduler does not place the pod, and says so."""
    await on.here.template()
    volume = {"name": "data", "persistentVolumeClaim": {"claimName": "none"}}
    await on.here.pod(POD, templates=("gpu",), volumes=[volume])


@scene(Reason.CONFLICT)
async def _conflict(on: Scene) -> None:
    """Someone else's allocator gave one device to two claims."""
    for name in ("a", "b"):
        await on.here.claim(name)
        user = {"apiGroup": "example.com", "resource": "things", "name": name, "uid": name}
        await on.claim_status(name, {"allocation": allocation("gpu-0"), "reservedFor": [user]})
        on.stack.push_async_callback(on.claim_status, name, {"allocation": None, "reservedFor": None})
    await on.here.pod(POD, claims=("b",))


REFUSED = {Reason.SELECTOR_INVALID}
"""Codes of objects that the API server does not take; met with objects that an older one stored."""


# --- the comparison --------------------------------------------------------------------------------------------------


@asynccontextmanager
async def played(here: Stage, play: Play) -> AsyncIterator[None]:
    async with AsyncExitStack() as stack:
        await play(Scene(here, stack))
        yield


def test_every_code_has_a_scene() -> None:
    assert set(SCENES) | REFUSED == set(Reason)


@pytest.mark.parametrize("reason", SCENES, ids=str)
async def test_condition_explain_and_simulate_say_the_same(here: Stage, cluster: State, reason: Reason) -> None:
    async with played(here, SCENES[reason]):
        message = await here.waits(POD, reason.value)
        live = ("--kubeconfig", cluster.kubeconfig, "-o", "json")
        told = await asyncio.to_thread(call, explain, POD, "-n", here.namespace, *live)
        simulated = await asyncio.to_thread(call, simulate, "--from-cluster", *live)

    assert said_by_explain(told) == (reason.value, message)
    assert said_by_simulate(simulated, here.namespace) == (reason.value, message)
    pod = next(one for one in simulated.json["pods"] if (one["namespace"], one["name"]) == (here.namespace, POD))
    assert told.json["claims"] == pod["claims"]


def said_by_explain(answer: Answer) -> tuple[str, str]:
    assert answer.code in (0, 1), answer.err
    reason = answer.json["reason"]
    return reason["code"], reason["message"]


def said_by_simulate(answer: Answer, namespace: str) -> tuple[str, str]:
    assert answer.code in (0, 1), answer.err
    [pod] = [one for one in answer.json["pods"] if (one["namespace"], one["name"]) == (namespace, POD)]
    return pod["reason"]["code"], pod["reason"]["message"]


async def test_a_selector_that_the_api_server_refuses_is_refused_by_simulate_with_its_words(
    here: Stage, tmp_path: Path
) -> None:
    """SelectorInvalid: such a selector is in a cluster only if an older API server took it."""
    spec = {"selectors": [{"cel": {"expression": "device.driver = 'x'"}}]}
    body = {"apiVersion": "resource.k8s.io/v1", "kind": "DeviceClass", "metadata": {"name": "broken"}, "spec": spec}
    with pytest.raises(ApiError) as refused:
        await here.client.request("POST", "/apis/resource.k8s.io/v1/deviceclasses", body=_json(body))
    (tmp_path / "class.json").write_bytes(_json(body))

    answer = await asyncio.to_thread(call, simulate, "-f", str(tmp_path), "--strict")
    assert answer.code == 2
    words, _, _ = refused.value.message.partition("compilation failed")
    assert words in answer.err


def _json(body: Any) -> bytes:
    return json.dumps(body).encode()


async def test_who_asks_about_a_pod_hears_nothing_of_what_others_ask_for(here: Stage, cluster: State) -> None:
    gpus = {"example.com/nobody-has-it": "1"}
    resources = {"requests": gpus, "limits": gpus}
    await here.pod("other", resourceClaims=None, containers=[{"name": "main", "image": "none", "resources": resources}])
    await here.pod(POD, templates=("missing",))
    await here.waits(POD, "TemplateNotFound")

    live = ("--kubeconfig", cluster.kubeconfig)
    told = await asyncio.to_thread(call, explain, POD, "-n", here.namespace, *live)
    simulated = await asyncio.to_thread(call, simulate, "--from-cluster", *live)

    assert "nobody-has-it" in simulated.err
    assert told.err == ""
