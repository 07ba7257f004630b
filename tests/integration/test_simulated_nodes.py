"""Simulated nodes on a real API server: what they publish, and what becomes of the pods that are bound to them."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

from dra_operator.api.core import Pod
from dra_operator.api.kinds import CLAIMS, NODES, PODS, SLICES
from dra_operator.api.meta import ObjectKey
from dra_operator.api.names import DEFAULT_DRIVER, IGNORE_TERM_ANNOTATION, RUN_FOR_ANNOTATION
from dra_operator.cluster.http import ApiClient, ApiError, NoAnswer
from dra_operator.sandbox.inventory import NodeGroup, expand
from dra_operator.sandbox.nodes import Nodes
from tests.controlplane import running_control_plane

pytestmark = pytest.mark.cluster


@asynccontextmanager
async def running_nodes(client: ApiClient, count: int = 1, gpus: int = 2) -> AsyncIterator[list[str]]:
    """Nodes of the test's own, with their kubelets; gone afterwards."""
    group = NodeGroup(name=f"sim-{uuid.uuid4().hex[:8]}", count=count, profile="l4", gpus=gpus)
    simulated = expand([group])
    nodes = Nodes(client, simulated)
    await nodes.register()
    task = asyncio.create_task(nodes.run())
    try:
        yield [node.name for node in simulated]
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        for node in simulated:
            await client.delete(NODES, ObjectKey("", node.name))


@pytest.fixture
async def node(admin: ApiClient) -> AsyncIterator[str]:
    async with running_nodes(admin) as (name,):
        yield name


async def bind_pod(client: ApiClient, namespace: str, node: str, name: str = "p", **extra: Any) -> ObjectKey:
    """A pod that is bound already, as if kube-scheduler had done it."""
    annotations = extra.pop("annotations", {})
    body = {
        "metadata": {"name": name, "annotations": annotations},
        "spec": {"nodeName": node, "containers": [{"name": "main", "image": "busybox"}], **extra},
    }
    await client.create(PODS, body, namespace=namespace)
    return ObjectKey(namespace, name)


async def until(what: str, condition: Callable[[], Awaitable[bool]], seconds: float = 20.0) -> None:
    async def met() -> bool:
        try:
            return await condition()
        except NoAnswer:  # the API server restarts
            return False

    deadline = asyncio.get_running_loop().time() + seconds
    while not await met():
        assert asyncio.get_running_loop().time() < deadline, f"waited {seconds:g} s for {what}"
        await asyncio.sleep(0.05)


async def until_phase(client: ApiClient, pod: ObjectKey, phase: str, seconds: float = 20.0) -> Pod:
    async def there() -> bool:
        return (await client.get(PODS, pod)).status.phase == phase

    await until(f"{pod} to be {phase}", there, seconds)
    return await client.get(PODS, pod)


async def until_gone(client: ApiClient, pod: ObjectKey, seconds: float = 20.0) -> None:
    async def gone() -> bool:
        try:
            await client.get(PODS, pod)
        except ApiError as error:
            return error.status == 404
        return False

    await until(f"{pod} to be gone", gone, seconds)


async def slice_count(client: ApiClient, node: str) -> int:
    return len((await client.list_objects(SLICES, field_selector=f"spec.nodeName={node}"))[0])


async def test_a_node_is_ready_and_has_its_slices(admin: ApiClient, node: str) -> None:
    found = await admin.get(NODES, ObjectKey("", node))

    assert found.metadata.labels is not None
    assert found.metadata.labels["kubernetes.io/hostname"] == node
    assert not found.spec.taints
    (slice_,), _ = await admin.list_objects(SLICES, field_selector=f"spec.nodeName={node}")
    assert slice_.spec.driver == DEFAULT_DRIVER
    assert [device.name for device in slice_.spec.devices or ()] == ["gpu-0", "gpu-1"]


async def test_slices_that_someone_deletes_come_back(admin: ApiClient, node: str) -> None:
    (slice_,), _ = await admin.list_objects(SLICES, field_selector=f"spec.nodeName={node}")

    await admin.delete(SLICES, slice_.key)

    async def back() -> bool:
        found, _ = await admin.list_objects(SLICES, field_selector=f"spec.nodeName={node}")
        return [one.uid for one in found] not in ([], [slice_.uid])

    await until("the slice to be back", back)


async def test_a_pod_runs_and_ends_when_its_time_is_up(admin: ApiClient, namespace: str, node: str) -> None:
    lasting = await bind_pod(admin, namespace, node, "lasting")
    short = await bind_pod(admin, namespace, node, "short", annotations={RUN_FOR_ANNOTATION: "100ms"})

    await until_phase(admin, short, "Succeeded")
    await until_phase(admin, lasting, "Running")


async def test_a_pod_waits_for_its_claim_to_be_allocated_and_reserved(
    admin: ApiClient, namespace: str, node: str
) -> None:
    request = {"name": "gpu", "exactly": {"deviceClassName": "any"}}
    claim = await admin.create(
        CLAIMS, {"metadata": {"name": "c"}, "spec": {"devices": {"requests": [request]}}}, namespace=namespace
    )
    waiting = await bind_pod(
        admin, namespace, node, resourceClaims=[{"name": "gpu", "resourceClaimName": claim.metadata.name}]
    )
    witness = await bind_pod(admin, namespace, node, "witness")
    await until_phase(admin, witness, "Running")  # so the kubelet has seen the first pod, too
    pod = await admin.get(PODS, waiting)
    assert pod.status.phase == "Pending"

    result = {"request": "gpu", "driver": DEFAULT_DRIVER, "pool": node, "device": "gpu-0"}
    reserved = [{"resource": "pods", "name": "p", "uid": pod.uid}]
    status = {"allocation": {"devices": {"results": [result]}}, "reservedFor": reserved}
    await admin.patch(CLAIMS, claim.key, {"status": status}, patch_type="merge", subresource="status")

    await until_phase(admin, waiting, "Running")


async def test_a_deleted_pod_goes_as_soon_as_it_has_ended(admin: ApiClient, namespace: str, node: str) -> None:
    pod = await bind_pod(admin, namespace, node)
    await until_phase(admin, pod, "Running")

    await admin.delete(PODS, pod, grace_seconds=300)

    await until_gone(admin, pod)


async def test_a_pod_that_ignores_the_signal_stays_for_its_grace_period(
    admin: ApiClient, namespace: str, node: str
) -> None:
    stubborn = await bind_pod(admin, namespace, node, "stubborn", annotations={IGNORE_TERM_ANNOTATION: "true"})
    witness = await bind_pod(admin, namespace, node, "witness")
    for pod in (stubborn, witness):
        await until_phase(admin, pod, "Running")

    await admin.delete(PODS, stubborn, grace_seconds=3)
    await admin.delete(PODS, witness, grace_seconds=3)

    await until_gone(admin, witness)
    assert (await admin.get(PODS, stubborn)).status.phase == "Running"
    await until_gone(admin, stubborn)


async def test_two_hundred_pods_on_a_hundred_nodes_run_and_go(admin: ApiClient, namespace: str) -> None:
    async with running_nodes(admin, count=100, gpus=8) as names:
        pods = await asyncio.gather(
            *(bind_pod(admin, namespace, names[index % len(names)], f"p-{index}") for index in range(200))
        )
        assert await slice_count(admin, names[99]) == 1

        async def all_run() -> bool:
            found, _ = await admin.list_objects(PODS, namespace=namespace, field_selector="status.phase=Running")
            return len(found) == len(pods)

        await until("200 pods to run", all_run, 30)
        await asyncio.gather(*(admin.delete(PODS, pod) for pod in pods))

        async def all_gone() -> bool:
            return not (await admin.list_objects(PODS, namespace=namespace))[0]

        await until("200 pods to be gone", all_gone, 30)


async def test_nodes_go_on_after_the_api_server_was_killed() -> None:
    async with (
        running_control_plane(manifests=False) as plane,
        plane.client() as client,
        running_nodes(client) as (node,),
    ):
        before = await bind_pod(client, "default", node, "before")
        await until_phase(client, before, "Running")

        plane.kill("kube-apiserver")
        await plane.start_again("kube-apiserver")

        after = await bind_pod(client, "default", node, "after", annotations={RUN_FOR_ANNOTATION: "0.1"})
        await until_phase(client, after, "Succeeded", 60)
        await client.delete(PODS, before)
        await until_gone(client, before, 60)
