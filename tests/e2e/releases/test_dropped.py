"""An old release of Kubernetes: what its API server drops is named once, and nothing relies on it.

`make e2e CONTROLPLANE=1.35` runs these, and 1.34 does. There fields of taints, partitions, shared capacity and binding
conditions are accepted and not stored.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from structlog.testing import capture_logs

from dra_operator.agent.profiles import load_profile
from dra_operator.agent.publisher import Publisher
from dra_operator.agent.taints import DeviceTaints
from dra_operator.api.kinds import NODES, SLICES
from dra_operator.api.meta import ObjectKey
from dra_operator.api.resource import DeviceTaint, ResourceSlice
from dra_operator.cluster.http import ApiClient
from dra_operator.sandbox.binaries import release
from dra_operator.sandbox.controlplane import ControlPlane
from dra_operator.sandbox.inventory import NodeGroup, expand
from dra_operator.sandbox.nodes import Nodes
from dra_operator.sandbox.processes import Process
from dra_operator.sandbox.supervisor import wait_for_gate
from tests.controlplane import running_control_plane
from tests.e2e.operators import FLAGS, launch, leading
from tests.e2e.stage import Stage, make_class, new_stage
from tests.webhook import apply_webhook, free_port

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(release().minor >= 36, reason="this release stores what older ones drop"),
    pytest.mark.asyncio(loop_scope="module"),
]
NODE = "gpu-0"
FOREIGN = "gpu.example.com"
"""A driver that is not ours and publishes what its server may not know."""
UNKNOWN = ("taints", "consumesCounters", "allowMultipleAllocations", "bindingConditions", "bindingFailureConditions")


@dataclass(slots=True)
class Old:
    plane: ControlPlane
    client: ApiClient
    operator: Process


async def in_background(stack: AsyncExitStack, work: Any) -> None:
    task = asyncio.create_task(work)

    async def end() -> None:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    stack.push_async_callback(end)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("old")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def old(folder: Path) -> AsyncIterator[Old]:
    """The webhook in the place of the policy, one node of two GPUs, and the operator."""
    async with AsyncExitStack() as stack:
        plane = await stack.enter_async_context(running_control_plane(manifests=False))
        client = await stack.enter_async_context(plane.client())
        port = free_port()
        await asyncio.to_thread(apply_webhook, plane, port)
        nodes = Nodes(client, expand([NodeGroup(name=NODE, profile="l4", gpus=2)]))
        await nodes.register()
        await in_background(stack, nodes.run())
        flags = (*FLAGS, f"--webhook-address=127.0.0.1:{port}")
        operator = launch(plane.kubeconfig("operator"), folder / "operator.log", flags)
        stack.push_async_callback(operator.stop)
        await leading(operator)
        await wait_for_gate(client)
        yield Old(plane, client, operator)


@pytest_asyncio.fixture(loop_scope="module")
async def here(old: Old) -> AsyncIterator[Stage]:
    stage = await new_stage(old.client)
    try:
        yield stage
    finally:
        await stage.clear()


def said(process: Process, event: str) -> list[dict[str, Any]]:
    lines = (json.loads(line) for line in process.log.read_text().splitlines() if line.startswith("{"))
    return [line for line in lines if line.get("event") == event]


def foreign_slice() -> dict[str, Any]:
    """One device, with all that newer API servers would keep."""
    device = {
        "name": "a",
        "taints": [{"key": "example.com/broken", "effect": "NoExecute"}],
        "allowMultipleAllocations": True,
        "capacity": {"memory": {"value": "80Gi", "requestPolicy": {"default": "1Gi"}}},
        "consumesCounters": [{"counterSet": "all", "counters": {"memory": {"value": "80Gi"}}}],
        "bindsToNode": True,
        "bindingConditions": ["example.com/ready"],
        "bindingFailureConditions": ["example.com/failed"],
    }
    pool = {"name": NODE, "generation": 1, "resourceSliceCount": 1}
    return {
        "apiVersion": "resource.k8s.io/v1",
        "kind": "ResourceSlice",
        "metadata": {"name": "foreign"},
        "spec": {"driver": FOREIGN, "nodeName": NODE, "pool": pool, "devices": [device]},
    }


async def test_a_foreign_device_is_given_once_whatever_its_driver_wanted_to_say(old: Old, here: Stage) -> None:
    """Not shared, since the server does not know that it may be; not waited for, since no condition is there."""
    await old.client.create(SLICES, foreign_slice())
    stored = (await old.client.request("GET", SLICES.path(ObjectKey("", "foreign")))).body.decode()
    assert [name for name in UNKNOWN if name in stored] == []
    await make_class(old.client, "foreign", f"device.driver == '{FOREIGN}'")
    await here.template(class_name="foreign")
    await here.pod("a", templates=("gpu",))
    await here.bound("a")
    await here.pod("b", templates=("gpu",))

    await here.waits("b", "DevicesInUse")
    [claim] = await here.claims_of(await here.get_pod("a"))
    assert claim.status.allocation is not None
    [result] = claim.status.allocation.devices.results or ()
    assert (result.device, result.share_id, result.binding_conditions or ()) == ("a", None, ())
    await old.client.delete(SLICES, ObjectKey("", "foreign"))


async def test_pods_get_devices_and_what_the_server_does_not_keep_is_named_once(old: Old, here: Stage) -> None:
    await here.template()
    for name in ("a", "b", "c", "d"):
        await here.pod(name, templates=("gpu",), run_for=0.1)
    for name in ("a", "b", "c", "d"):
        await here.succeeded(name)

    event = "the API server does not keep a field of allocations as it is written"
    named = [line["field"] for line in said(old.operator, event)]
    assert len(named) == len(set(named))
    assert said(old.operator, "pods are gated")[-1]["by"] == "webhook"


@pytest_asyncio.fixture(loop_scope="module")
async def publisher(old: Old) -> AsyncIterator[Publisher]:
    """Of a node that only it knows."""
    node = await old.client.create(NODES, {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "published"}})
    yield Publisher(old.client, node_name="published", node_uid=node.uid, driver="gpu.dra-operator.io")
    for one in await slices(old.client):
        await old.client.delete(SLICES, one.key)
    await old.client.delete(NODES, ObjectKey("", "published"))


async def slices(client: ApiClient) -> list[ResourceSlice]:
    return (await client.list_objects(SLICES, field_selector="spec.nodeName=published"))[0]


async def published(client: ApiClient) -> list[str]:
    return [device.name for one in await slices(client) for device in one.spec.devices or ()]


async def test_partitions_are_left_out_and_that_is_said_once(old: Old, publisher: Publisher) -> None:
    node = load_profile("a100-sxm-80gb-mig").devices_of("published", 1)

    with capture_logs() as lines:
        await publisher.publish(node)
        await publisher.publish(node)

    assert await published(old.client) == []
    warnings = [line for line in lines if line["log_level"] == "warning"]
    assert [line["feature"] for line in warnings] == ["DRAPartitionableDevices"]


async def test_an_unhealthy_gpu_leaves_until_it_is_well_and_that_is_said_once(old: Old, publisher: Publisher) -> None:
    gpus = load_profile("l4").devices_of("published", 2)
    [well, ill] = [device.name for device in gpus.devices]
    taints = DeviceTaints()
    taints.replace("health", {ill: DeviceTaint(key="dra-operator.io/unhealthy", effect="NoExecute")})

    with capture_logs() as lines:
        await publisher.publish(gpus)
        for _ in range(2):
            await publisher.publish(taints.on(gpus))
            assert await published(old.client) == [well]
            await publisher.publish(gpus)
            assert await published(old.client) == [well, ill]

    warnings = [line for line in lines if line["log_level"] == "warning"]
    assert [line["feature"] for line in warnings] == ["DRADeviceTaints"]


async def test_nobody_was_ever_refused_a_right(old: Old) -> None:
    """Old releases ask for other rights than 1.37 does; a refusal ends up as a warning of the operator."""
    text = old.operator.log.read_text()
    assert "Forbidden" not in text
    assert '"level": "error"' not in text
    old.operator.check()
