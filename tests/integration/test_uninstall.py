"""Uninstalling on a real API server: interrupted after every write and started again, refused where it must be."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from dra_operator.api.kinds import CLAIMS, NAMESPACES, PODS, SLICES
from dra_operator.api.meta import ObjectKey
from dra_operator.api.names import DELETE_PROTECTION_FINALIZER, DEVICES_ALLOCATED, GATE
from dra_operator.cluster.http import ApiClient, ApiError
from dra_operator.controller.admission.certificates import Lifetimes, step, to_data
from dra_operator.removal.steps import Agents, Removal, RemovalRefused, Task
from dra_operator.removal.uninstall import find_plan, uninstall
from dra_operator.sandbox.controlplane import ControlPlane
from dra_operator.sandbox.supervisor import wait_for_gate
from tests.controlplane import new_namespace, running_control_plane
from tests.e2e.stage import until
from tests.integration.test_doctor import allocate, claim, delete_lease, lease, pod, slice_

pytestmark = pytest.mark.cluster

OVERLAYS = Path(__file__).parents[2] / "manifests" / "overlays"
PART_OF = "app.kubernetes.io/part-of=dra-operator"


class Killed(Exception):
    """The process ends here."""


@pytest.fixture(scope="module")
def plane() -> Iterator[ControlPlane]:
    with asyncio.Runner() as runner:
        running = running_control_plane(manifests=False)
        yield runner.run(running.__aenter__())
        runner.run(running.__aexit__(None, None, None))


@pytest.fixture
async def client(plane: ControlPlane) -> AsyncIterator[ApiClient]:
    async with plane.client() as one:
        yield one


@pytest.fixture
async def installed(plane: ControlPlane, client: ApiClient) -> None:
    await asyncio.to_thread(plane.kubectl, "apply", "-k", str(OVERLAYS / "native"))
    await wait_for_gate(client)


@pytest.fixture
async def here(client: ApiClient) -> AsyncIterator[str]:
    async with new_namespace(client, "uninstall") as name:
        yield name
        for one in (await client.list_objects(PODS, namespace=name))[0]:
            await client.delete(PODS, one.key, grace_seconds=0)
        for claim_ in (await client.list_objects(CLAIMS, namespace=name))[0]:
            empty: dict[str, Any] = {"status": {"allocation": None, "reservedFor": None}}
            await client.patch(CLAIMS, claim_.key, empty, patch_type="merge", subresource="status")
            await client.patch(CLAIMS, claim_.key, {"metadata": {"finalizers": None}}, patch_type="merge")


def removal(client: ApiClient, agents: Agents = Agents.AUTO, patience: float = 30.0) -> Removal:
    return Removal(client, "dra-operator", "dra-operator", agents, time.time, patience, at_once=1)


def quietly(line: str) -> None:
    """Progress is for people."""


async def plant(client: ApiClient, here: str) -> None:
    """A pod that runs with its claim, one that waits, a claim of nobody, and slices of two drivers."""
    for name in ("used", "idle", "lost"):
        body = claim(name)
        body["metadata"]["finalizers"] = [DELETE_PROTECTION_FINALIZER]
        await client.create(CLAIMS, body, namespace=here)
    running = await client.create(PODS, pod("runs", claim_name="used", gated=False), namespace=here)
    await allocate(client, here, "used", running.uid)
    await allocate(client, here, "lost")
    waiting = pod("waits", claim_name="idle")
    waiting["spec"]["schedulingGates"] = [{"name": GATE}]
    await client.create(PODS, waiting, namespace=here)
    condition = {"type": DEVICES_ALLOCATED, "status": "True", "reason": "Allocated"}
    await client.patch(
        PODS,
        ObjectKey(here, "runs"),
        {"status": {"conditions": [condition]}},
        patch_type="strategic",
        subresource="status",
    )
    await client.create(SLICES, slice_("ours", driver="gpu.dra-operator.io"))
    theirs = {"apiVersion": "resource.k8s.io/v1", "kind": "ResourceSlice", **slice_("theirs")}
    await client.patch(SLICES, ObjectKey("", "theirs"), theirs, patch_type="apply", field_manager="someone")


async def left(plane: ControlPlane) -> list[str]:
    """Objects of any kind that carry our label, but for those that go with another one of them."""
    kinds = (await asyncio.to_thread(plane.kubectl, "api-resources", "--verbs=list,delete", "-o=name")).stdout.split()
    answer = await asyncio.to_thread(plane.kubectl, "get", ",".join(kinds), "-A", "-l", PART_OF, "-o", "json")
    items = json.loads(answer.stdout)["items"]
    return [f"{one['kind']}/{one['metadata']['name']}" for one in items if "ownerReferences" not in one["metadata"]]


async def is_as_it_should_be(plane: ControlPlane, client: ApiClient, here: str) -> None:
    runs, waits = [await client.get(PODS, ObjectKey(here, name)) for name in ("runs", "waits")]
    assert runs.condition(DEVICES_ALLOCATED) is None
    assert not waits.has_gate(GATE)
    used, idle, lost = [await client.get(CLAIMS, ObjectKey(here, name)) for name in ("used", "idle", "lost")]
    assert used.status.allocation is not None
    assert used.reserved_for(runs.uid)
    assert used.metadata.finalizers == (DELETE_PROTECTION_FINALIZER,), "upstream clears the allocation only with it"
    assert lost.status.allocation is None
    assert not idle.metadata.finalizers
    assert not lost.metadata.finalizers
    slices, _ = await client.list_objects(SLICES)
    assert [one.metadata.name for one in slices] == ["theirs"]
    assert await left(plane) == []
    assert not [one for one in (await client.list_objects(NAMESPACES))[0] if one.metadata.name == "dra-operator"]


async def test_killed_after_each_write_and_started_again_it_ends_well(
    plane: ControlPlane, client: ApiClient, installed: None, here: str
) -> None:
    await plant(client, here)
    await killed_after_each_write(client)
    await is_as_it_should_be(plane, client, here)
    assert await find_plan(removal(client, Agents.REMOVE)) == []


async def test_a_webhook_that_nobody_answers_any_more_locks_nobody_out_afterwards(
    plane: ControlPlane, client: ApiClient, here: str
) -> None:
    """The gate of the overlay `webhook`, and what the operator keeps of it: certificates, and trust in them."""
    await plant(client, here)
    await asyncio.to_thread(plane.kubectl, "apply", "-k", str(OVERLAYS / "webhook"))
    await keep_certificates(client)
    new_pod = pod("new", claim_name="idle")

    async def refused() -> bool:
        try:
            await client.create(PODS, new_pod, namespace=here, dry_run=True)
        except ApiError as error:
            return 'failed calling webhook "gate.dra-operator.io"' in str(error)
        return False

    await until(lambda: "the webhook is not in force", refused)
    planned = dict(await find_plan(removal(client, Agents.REMOVE)))
    assert planned["stop gating pods"] == [
        "delete MutatingWebhookConfiguration dra-operator-gate",
        "delete MutatingWebhookConfiguration dra-operator-selectors",
    ]
    objects = planned["delete what manifests/ brought"]
    assert {f"delete {one} dra-operator/dra-operator-webhook" for one in ("Secret", "Service", "Role")} <= set(objects)

    await killed_after_each_write(client)

    async def admitted() -> bool:
        return not await refused()

    await until(lambda: "the webhook is still in force", admitted)
    assert not (await client.create(PODS, new_pod, namespace=here)).has_gate(GATE)
    await client.delete(PODS, ObjectKey(here, "new"), grace_seconds=0)
    await is_as_it_should_be(plane, client, here)


async def keep_certificates(client: ApiClient) -> None:
    """What a replica writes when it starts: the Secret, and `caBundle` of the configurations."""
    ring = step(None, time.time(), ("127.0.0.1",), Lifetimes(), trusted=False)
    data = {name: base64.b64encode(value).decode() for name, value in to_data(ring).items()}
    trusted: list[dict[str, Any]] = [
        {"op": "add", "path": "/webhooks/0/clientConfig/caBundle", "value": base64.b64encode(ring.bundle).decode()}
    ]
    root = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations"
    for path, patch, kind in (
        ("/api/v1/namespaces/dra-operator/secrets/dra-operator-webhook", {"data": data}, "merge-patch"),
        (f"{root}/dra-operator-gate", trusted, "json-patch"),
        (f"{root}/dra-operator-selectors", trusted, "json-patch"),
    ):
        await client.request("PATCH", path, body=json.dumps(patch).encode(), content_type=f"application/{kind}+json")


async def killed_after_each_write(client: ApiClient) -> None:
    """Started again until it ends; what the dry run says is what is done."""
    done: list[str] = []

    def and_die(task: Task) -> None:
        done.append(task.what)
        raise Killed

    planned = [what for _, tasks in await find_plan(removal(client, Agents.REMOVE)) for what in tasks]
    for _ in range(3 * len(planned)):
        try:
            await uninstall(removal(client, Agents.REMOVE), quietly, and_die)
        except Killed:
            continue
        break
    else:
        raise AssertionError(f"it does not end; done so far: {done}")
    assert set(planned) <= set(done)


async def test_a_dry_run_writes_nothing(plane: ControlPlane, client: ApiClient, installed: None, here: str) -> None:
    async def versions() -> dict[str, str]:
        kinds = "pods,resourceclaims,resourceslices,deployments,daemonsets,clusterroles,mutatingadmissionpolicies"
        answer = await asyncio.to_thread(plane.kubectl, "get", kinds, "-A", "-o", "json")
        return {
            f"{one['kind']}/{one['metadata']['name']}": str(one["metadata"].get("generation", one.get("spec")))
            for one in json.loads(answer.stdout)["items"]
            if stays(one["kind"], one["metadata"].get("namespace", ""))
        }

    def stays(kind: str, namespace: str) -> bool:
        """Pods of the operator may still be about to be made, and other tests' namespaces about to go."""
        return namespace in ("", here) or kind in ("Deployment", "DaemonSet")

    before = await versions()
    steps = dict(await find_plan(removal(client)))
    assert "scale Deployment dra-operator/dra-operator to 0 replicas" in steps["stop the operator"]
    assert "delete MutatingAdmissionPolicy dra-operator-gate" in steps["stop gating pods"]
    assert await versions() == before
    await uninstall(removal(client, Agents.REMOVE), quietly)
    assert await left(plane) == []


async def test_agents_stay_while_pods_need_them(
    plane: ControlPlane, client: ApiClient, installed: None, here: str
) -> None:
    body = claim("used")
    body["metadata"]["finalizers"] = [DELETE_PROTECTION_FINALIZER]
    await client.create(CLAIMS, body, namespace=here)
    await client.create(SLICES, slice_("agents", driver="gpu.example.com"))
    running = await client.create(PODS, pod("runs", claim_name="used", gated=False), namespace=here)
    await allocate(client, here, "used", running.uid)

    first = removal(client)
    await uninstall(first, quietly)
    assert any("the node agents stay (claims that hold devices of theirs: 1," in one for one in first.remarks)
    assert any("resourceclaim-controller" in one for one in first.remarks), "nobody else frees that claim here"
    assert sorted(await left(plane)) == [
        "ClusterRole/dra-operator-agent",
        "ClusterRoleBinding/dra-operator-agent",
        "DaemonSet/dra-operator-agent",
        "Namespace/dra-operator",
        "ServiceAccount/dra-operator-agent",
        "ValidatingAdmissionPolicy/dra-operator-agent",
        "ValidatingAdmissionPolicyBinding/dra-operator-agent",
    ]

    await client.delete(PODS, ObjectKey(here, "runs"), grace_seconds=0)
    empty: dict[str, Any] = {"status": {"allocation": None, "reservedFor": None}}
    await client.patch(CLAIMS, ObjectKey(here, "used"), empty, patch_type="merge", subresource="status")
    await uninstall(removal(client), quietly)
    assert await left(plane) == []
    assert "agents" not in {one.metadata.name for one in (await client.list_objects(SLICES))[0]}


async def test_an_operator_that_runs_elsewhere_is_not_cut_off(
    plane: ControlPlane, client: ApiClient, installed: None
) -> None:
    await lease(client, "laptop_1", renewed=time.time() + 600)
    with pytest.raises(RemovalRefused, match="holds the Lease: laptop_1; stop it"):
        await uninstall(removal(client, patience=1.0), quietly)
    await delete_lease(client)
    await uninstall(removal(client, Agents.REMOVE), quietly)
    assert await left(plane) == []


async def test_whoever_may_not_is_told_so(plane: ControlPlane, client: ApiClient, installed: None) -> None:
    async with plane.client("kube-scheduler") as scheduler:
        # Gates of each kind are asked for at once; whichever answer comes first is the one that is told.
        with pytest.raises(
            RemovalRefused, match=r"you may not list mutating\w+; uninstall needs the rights of an admin"
        ):
            await find_plan(removal(scheduler))
