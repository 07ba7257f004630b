"""A node agent's token writes ResourceSlices of its own node only: real tokens, ServiceAccount admission on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from dra_operator.agent.profiles import load_profile
from dra_operator.agent.publisher import Publisher
from dra_operator.api.kinds import NODES, SLICES
from dra_operator.api.meta import ObjectKey
from dra_operator.api.names import OPERATOR_NAMESPACE
from dra_operator.cluster.http import ApiClient, ApiError
from dra_operator.cluster.kubeconfig import connect
from dra_operator.sandbox.controlplane import ControlPlane, Options
from tests.controlplane import running_control_plane

pytestmark = pytest.mark.cluster

MINE, OTHER = "mine", "other"
DRIVER = "gpu.example.com"


def slice_of(node: str, name: str, *, pool: str = "") -> dict[str, Any]:
    numbers = {"name": pool or node, "generation": 1, "resourceSliceCount": 1}
    return {"metadata": {"name": name}, "spec": {"driver": DRIVER, "nodeName": node, "pool": numbers}}


@dataclass(slots=True)
class Ground:
    plane: ControlPlane
    admin: ApiClient
    agent: ApiClient
    """Of the node that is `MINE`, by the token of a pod that runs there."""

    async def refused(self, *words: str, body: dict[str, Any]) -> None:
        with pytest.raises(ApiError) as error:
            await self.agent.create(SLICES, body)
        assert error.value.status == 422
        assert all(word in str(error.value) for word in words)


@pytest.fixture(scope="module")
def plane() -> Iterator[ControlPlane]:
    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        running = running_control_plane(Options(service_account_admission=True, scheduler=False))
        yield runner.run(running.__aenter__())
        runner.run(running.__aexit__(None, None, None))


@pytest.fixture
async def ground(plane: ControlPlane) -> AsyncIterator[Ground]:
    async with plane.client() as admin:
        for node in (MINE, OTHER):
            await admin.create(NODES, {"metadata": {"name": node}})
        async with connect(plane.agent_kubeconfig(MINE)) as agent:
            ground = Ground(plane, admin, agent)
            await _policy_in_force(ground)
            yield ground
        for slice_ in (await admin.list_objects(SLICES))[0]:
            await admin.delete(SLICES, slice_.key)
        for node in (MINE, OTHER):
            await admin.delete(NODES, ObjectKey("", node))


async def _policy_in_force(ground: Ground) -> None:
    """The API server takes a moment to notice a policy."""
    async with asyncio.timeout(30):
        while True:
            try:
                await ground.agent.create(SLICES, slice_of(OTHER, "probe"), dry_run=True)
            except ApiError as error:
                if error.status == 422:
                    return
            await asyncio.sleep(0.1)


async def test_an_agent_publishes_changes_and_takes_away_the_slices_of_its_node(ground: Ground) -> None:
    node = await ground.admin.get(NODES, ObjectKey("", MINE))
    publisher = Publisher(ground.agent, node_name=MINE, node_uid=node.uid, driver=DRIVER)
    for gpus in (100, 101, 1):
        assert await publisher.publish(load_profile("l4").devices_of(MINE, gpus))


async def test_slices_of_another_node_of_none_or_in_another_pool_are_refused(ground: Ground) -> None:
    await ground.refused("agent of node mine", "that node only", body=slice_of(OTHER, "a"))
    await ground.refused("pool of that name only", body=slice_of(MINE, "b", pool=OTHER))
    everywhere = slice_of(MINE, "c")
    del everywhere["spec"]["nodeName"]
    everywhere["spec"]["allNodes"] = True
    await ground.refused("that node only", body=everywhere)


async def test_what_another_agent_published_is_neither_changed_nor_deleted(ground: Ground) -> None:
    await ground.admin.create(SLICES, slice_of(OTHER, "theirs"))
    key = ObjectKey("", "theirs")

    with pytest.raises(ApiError, match="that node only"):
        await ground.agent.patch(SLICES, key, {"spec": {"devices": [{"name": "x"}]}}, patch_type="merge")
    with pytest.raises(ApiError, match="that node only"):
        await ground.agent.delete(SLICES, key)
    assert (await ground.admin.get(SLICES, key)).spec.devices is None


async def test_a_token_that_names_no_node_writes_nothing(ground: Ground) -> None:
    made = ground.plane.kubectl("create", "token", "dra-operator-agent", f"--namespace={OPERATOR_NAMESPACE}")
    tls = ground.plane.kubeconfig()
    answer = ground.plane.kubectl(
        f"--token={made.stdout.strip()}", "create", "--dry-run=server", "-f", _manifest(tls.parent), check=False
    )
    assert answer.returncode != 0
    assert "names no node" in answer.stderr


def _manifest(folder: Any) -> str:
    file = folder / "slice.yaml"
    file.write_text(
        "{apiVersion: resource.k8s.io/v1, kind: ResourceSlice, metadata: {name: x}, spec: {driver: gpu.example.com, "
        "nodeName: mine, pool: {name: mine, generation: 1, resourceSliceCount: 1}}}"
    )
    return str(file)


async def test_others_are_left_alone(ground: Ground) -> None:
    await ground.admin.create(SLICES, slice_of(OTHER, "admins", pool="anything"))
