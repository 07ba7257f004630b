"""Simulated nodes on a real API server: the kubelet's contract with DRA, kept also over a restart of the API server."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import pytest

from dra_operator.api.core import Pod
from dra_operator.api.kinds import CLAIMS, NODES, PODS, SLICES
from dra_operator.api.meta import ObjectKey
from dra_operator.api.names import IGNORE_TERM_ANNOTATION, RUN_FOR_ANNOTATION
from dra_operator.api.resource import ResourceClaim
from dra_operator.cluster.http import ApiClient, ApiError
from dra_operator.sandbox.controlplane import ControlPlane
from dra_operator.sandbox.inventory import NodeGroup, SimulatedNode, expand
from dra_operator.sandbox.nodes import Nodes
from dra_operator.sandbox.runtime import NodeRuntime, NotYetError, SimulatedRuntime
from tests.controlplane import new_namespace, running_control_plane

pytestmark = pytest.mark.cluster


@dataclass(frozen=True, slots=True)
class Ground:
    """Running nodes of the test's own, and a namespace for its pods. Pods are bound by hand."""

    client: ApiClient
    namespace: str
    nodes: list[SimulatedNode]

    def key(self, name: str) -> ObjectKey:
        return ObjectKey(self.namespace, name)

    async def bind(self, name: str, *, claim: str = "", node: int = 0, marks: Mapping[str, str] | None = None) -> Pod:
        """`marks` are annotations."""
        spec: dict[str, Any] = {
            "nodeName": self.nodes[node].name,
            "terminationGracePeriodSeconds": 30,
            "containers": [{"name": "main", "image": "busybox"}],
        }
        if claim:
            spec["resourceClaims"] = [{"name": "gpu", "resourceClaimName": claim}]
            spec["containers"][0]["resources"] = {"claims": [{"name": "gpu"}]}
        metadata = {"name": name, "annotations": dict(marks or {})}
        return await self.client.create(PODS, {"metadata": metadata, "spec": spec}, namespace=self.namespace)

    async def phase(self, name: str) -> str:
        return (await self.client.get(PODS, self.key(name))).status.phase

    async def until(self, name: str, phase: str) -> None:
        await eventually(f"{name} to be {phase}", lambda: self._has(name, phase))

    async def until_gone(self, name: str) -> None:
        async def gone() -> bool:
            try:
                await self.client.get(PODS, self.key(name))
            except ApiError as error:
                return error.status == 404
            return False

        await eventually(f"{name} to be gone", gone)

    async def create_claim(self, name: str) -> None:
        request = {"name": "gpu", "exactly": {"deviceClassName": "gpu"}}
        spec = {"devices": {"requests": [request]}}
        await self.client.create(CLAIMS, {"metadata": {"name": name}, "spec": spec}, namespace=self.namespace)

    async def allocate(self, claim: str, *pods: Pod) -> None:
        node = self.nodes[0]
        result = {"request": "gpu", "driver": node.driver, "pool": node.name, "device": node.content.devices[0].name}
        consumers = [{"resource": "pods", "name": pod.metadata.name, "uid": pod.uid} for pod in pods]
        status = {"allocation": {"devices": {"results": [result]}}, "reservedFor": consumers}
        await self.client.patch(CLAIMS, self.key(claim), {"status": status}, patch_type="merge", subresource="status")

    async def slice_names(self) -> set[str]:
        found, _ = await self.client.list_objects(SLICES, field_selector=f"spec.nodeName={self.nodes[0].name}")
        return {one.metadata.name for one in found}

    async def _has(self, name: str, phase: str) -> bool:
        return await self.phase(name) == phase


async def eventually(what: str, holds: Callable[[], Awaitable[bool]], within: float = 30.0) -> None:
    try:
        async with asyncio.timeout(within):
            while not await holds():
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise AssertionError(f"waited {within:g} s for {what}") from None


@asynccontextmanager
async def running_nodes(
    plane: ControlPlane, count: int = 1, *, runtime: NodeRuntime | None = None
) -> AsyncIterator[Ground]:
    group = NodeGroup(name=f"node-{uuid.uuid4().hex[:8]}", count=count, profile="l4", gpus=2)
    simulated = expand([group])
    async with plane.client() as client, new_namespace(client, "nodes") as namespace:
        nodes = Nodes(client, simulated, runtime=runtime)
        await nodes.register()
        running = asyncio.create_task(nodes.run())
        try:
            yield Ground(client, namespace, simulated)
            assert not running.done(), running.exception()
        finally:
            running.cancel()
            with suppress(asyncio.CancelledError):
                await running
            await asyncio.gather(*(client.delete(NODES, ObjectKey("", node.name)) for node in simulated))


@pytest.fixture
async def ground(control_plane: ControlPlane) -> AsyncIterator[Ground]:
    async with running_nodes(control_plane) as one:
        yield one


async def test_a_node_is_ready_from_the_start_and_publishes_its_devices(ground: Ground) -> None:
    node = await ground.client.get(NODES, ObjectKey("", ground.nodes[0].name))

    assert not node.spec.taints
    assert node.metadata.labels is not None
    assert node.metadata.labels["kubernetes.io/hostname"] == ground.nodes[0].name
    assert len(await ground.slice_names()) == 1


async def test_a_pod_runs_only_when_its_claim_is_allocated_and_reserved_for_it(ground: Ground) -> None:
    await ground.create_claim("mine")
    waiting = await ground.bind("waiting", claim="mine")
    other = await ground.bind("other")
    await ground.until("other", "Running")  # whoever came after it has been served
    assert await ground.phase("waiting") == "Pending"

    await ground.allocate("mine", other)
    await ground.bind("another")
    await ground.until("another", "Running")
    assert await ground.phase("waiting") == "Pending"

    await ground.allocate("mine", other, waiting)
    await ground.until("waiting", "Running")
    conditions = (await ground.client.get(PODS, ground.key("waiting"))).status.conditions or ()
    assert {one.type: one.status for one in conditions}["Ready"] == "True"


@pytest.mark.parametrize("time", ["0.1", "100ms"])
async def test_a_pod_whose_time_is_up_has_succeeded(ground: Ground, time: str) -> None:
    await ground.bind("short", marks={RUN_FOR_ANNOTATION: time})

    await ground.until("short", "Succeeded")


@pytest.mark.parametrize("phase", ["Pending", "Running", "Succeeded"])
async def test_a_deleted_pod_is_gone_before_its_grace_period_is_over(ground: Ground, phase: str) -> None:
    await ground.create_claim("never")
    claim = "never" if phase == "Pending" else ""
    marks = {RUN_FOR_ANNOTATION: "0.1"} if phase == "Succeeded" else {}
    await ground.bind("victim", claim=claim, marks=marks)
    await ground.until("victim", phase)

    await ground.client.delete(PODS, ground.key("victim"))

    await ground.until_gone("victim")


async def test_a_pod_that_ignores_the_signal_runs_on_for_its_grace_period(ground: Ground) -> None:
    await ground.bind("stubborn", marks={IGNORE_TERM_ANNOTATION: "true"})
    await ground.bind("obedient")
    for name in ("stubborn", "obedient"):
        await ground.until(name, "Running")
    for name in ("stubborn", "obedient"):
        await ground.client.delete(PODS, ground.key(name), grace_seconds=3)

    await ground.until_gone("obedient")
    assert await ground.phase("stubborn") == "Running"
    await ground.until_gone("stubborn")


async def test_two_hundred_pods_on_a_hundred_nodes_run_and_go(control_plane: ControlPlane) -> None:
    async with running_nodes(control_plane, count=100) as ground:
        names = [f"pod-{index}" for index in range(200)]
        await asyncio.gather(*(ground.bind(name, node=index % 100) for index, name in enumerate(names)))

        async def pods(field_selector: str = "") -> int:
            found = await ground.client.list_objects(PODS, namespace=ground.namespace, field_selector=field_selector)
            return len(found[0])

        async def all_run() -> bool:
            return await pods("status.phase=Running") == len(names)

        async def none_left() -> bool:
            return await pods() == 0

        await eventually("200 pods to run", all_run)
        await asyncio.gather(*(ground.client.delete(PODS, ground.key(name)) for name in names))
        await eventually("200 pods to be gone", none_left)


async def test_slices_that_someone_deletes_are_published_again(ground: Ground) -> None:
    before = await ground.slice_names()
    for name in before:
        await ground.client.delete(SLICES, ObjectKey("", name))

    async def back() -> bool:
        return bool(await ground.slice_names() - before)

    await eventually("other slices to be there", back)


async def test_nodes_go_on_after_the_api_server_has_been_away() -> None:
    async with running_control_plane(manifests=False) as plane, running_nodes(plane) as ground:
        await ground.bind("before")
        await ground.until("before", "Running")

        await plane.restart("kube-apiserver")

        await ground.bind("after")
        await ground.until("after", "Running")
        await ground.client.delete(PODS, ground.key("before"))
        await ground.until_gone("before")


class _Refuses(SimulatedRuntime):
    """Prepares nothing, for a reason that does not pass."""

    tries = 0

    async def prepare(self, pod: Pod, claims: list[ResourceClaim]) -> None:
        self.tries += 1
        raise NotYetError("claim is configured for something else", again_in=0.01)


async def test_a_pod_whose_claims_cannot_be_prepared_is_told_once(control_plane: ControlPlane) -> None:
    refuses = _Refuses()
    async with running_nodes(control_plane, runtime=refuses) as ground:
        await ground.create_claim("mine")
        pod = await ground.bind("user", claim="mine")
        await ground.allocate("mine", pod)

        async def told() -> list[tuple[str, str, str]]:
            path = f"/apis/events.k8s.io/v1/namespaces/{ground.namespace}/events"
            events = json.loads((await ground.client.request("GET", path)).body)["items"]
            return [(one["reportingController"], one["reason"], one["note"]) for one in events if "series" not in one]

        async def is_told() -> bool:
            return refuses.tries > 50 and bool(await told())

        await eventually("the pod to be told", is_told)
        assert await told() == [
            (
                "kubelet",
                "FailedPrepareDynamicResources",
                "Failed to prepare dynamic resources: claim is configured for something else",
            )
        ]
        assert await ground.phase("user") == "Pending"
