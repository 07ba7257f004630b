"""The whole agent as a program on a real API server: it publishes, prepares, and taints what is not free yet."""

from __future__ import annotations

import shutil
import sys
import tempfile
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc.aio
import pytest

from dra_operator.agent.protos import dra_v1_pb2 as v1
from dra_operator.agent.registration import Sockets
from dra_operator.agent.services import PREPARE_V1, UNPREPARE_V1
from dra_operator.api.kinds import CLAIMS, NODES, SLICES
from dra_operator.api.meta import ObjectKey
from dra_operator.api.names import DEFAULT_DRIVER, UNPREPARING_TAINT
from dra_operator.api.resource import ResourceClaim
from dra_operator.cluster.http import ApiClient
from dra_operator.sandbox.controlplane import ControlPlane
from dra_operator.sandbox.processes import Process, start, wait_until

pytestmark = pytest.mark.cluster

PATIENCE = 30.0


@dataclass
class Ground:
    """A Node of the test's own, and the folders of its kubelet."""

    api: ApiClient
    plane: ControlPlane
    node: str
    namespace: str
    folder: Path

    @asynccontextmanager
    async def agent(self) -> AsyncIterator[Process]:
        """The agent under its own account, registered or about to be."""
        (self.folder / "plugins_registry").mkdir(exist_ok=True)
        command = [
            *(sys.executable, "-m", "dra_operator.cli.main", "agent", "--profile=l4", "--gpus=2", "--refresh=0.5"),
            f"--node-name={self.node}",
            f"--kubeconfig={self.plane.agent_kubeconfig(self.node)}",
            f"--kubelet-dir={self.folder}",
            f"--cdi-dir={self.folder / 'cdi'}",
        ]
        process = start("agent", command, self.folder / "agent.log")
        try:
            yield process
        finally:
            await process.stop()

    async def published(self, agent: Process) -> None:
        async def there() -> bool:
            return len(await self.tainted()) == 2

        await wait_until("the slices", there, PATIENCE, [agent])

    async def tainted(self) -> dict[str, list[str]]:
        """The keys of the taints of each device."""
        selector = f"spec.driver={DEFAULT_DRIVER},spec.nodeName={self.node}"
        slices, _ = await self.api.list_objects(SLICES, field_selector=selector)
        devices = [device for one in slices for device in one.spec.devices or ()]
        return {device.name: [taint.key for taint in device.taints or ()] for device in devices}

    async def claim(self, name: str, device: str) -> ResourceClaim:
        """An allocated claim."""
        exactly = {"deviceClassName": "gpu"}
        spec = {"devices": {"requests": [{"name": "gpu", "exactly": exactly}]}}
        made = await self.api.create(CLAIMS, {"metadata": {"name": name}, "spec": spec}, namespace=self.namespace)
        result = {"request": "gpu", "driver": DEFAULT_DRIVER, "pool": self.node, "device": device}
        await self.set_status(name, {"allocation": {"devices": {"results": [result]}}})
        return made

    async def set_status(self, name: str, status: dict[str, Any]) -> None:
        key = ObjectKey(self.namespace, name)
        await self.api.patch(CLAIMS, key, {"status": status}, patch_type="merge", subresource="status")

    @asynccontextmanager
    async def channel(self) -> AsyncIterator[grpc.aio.Channel]:
        socket = Sockets(self.folder, DEFAULT_DRIVER).plugin
        options = [("grpc.use_local_subchannel_pool", 1)]
        async with grpc.aio.insecure_channel(f"unix:{socket}", options=options) as channel:
            yield channel

    def specs(self) -> list[str]:
        return sorted(path.name for path in (self.folder / "cdi").glob("*"))


def ref(claim: ResourceClaim) -> v1.Claim:
    return v1.Claim(namespace=claim.metadata.namespace, name=claim.metadata.name, uid=claim.uid)


@pytest.fixture
def folder() -> Iterator[Path]:
    """Short: the path of a socket may have 107 bytes."""
    made = Path(tempfile.mkdtemp(prefix="dra-"))
    yield made
    shutil.rmtree(made)


@pytest.fixture
async def ground(control_plane: ControlPlane, admin: ApiClient, namespace: str, folder: Path) -> AsyncIterator[Ground]:
    name = f"agent-{uuid.uuid4().hex[:8]}"
    node = await admin.create(NODES, {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}})
    yield Ground(admin, control_plane, name, namespace, folder)
    await admin.delete(NODES, node.key)


async def test_a_device_that_is_prepared_for_a_claim_without_it_is_tainted_until_it_is_unprepared(
    ground: Ground,
) -> None:
    async with ground.agent() as agent, ground.channel() as channel:
        await ground.published(agent)
        claim = await ground.claim("mine", "gpu-1")
        answer = await PREPARE_V1.call(channel, v1.NodePrepareResourcesRequest(claims=[ref(claim)]), timeout=30)
        assert answer.claims[claim.uid].error == ""
        assert await ground.tainted() == {"gpu-0": [], "gpu-1": []}

        await ground.set_status("mine", {"allocation": None})

        async def tainted() -> bool:
            return await ground.tainted() == {"gpu-0": [], "gpu-1": [UNPREPARING_TAINT]}

        await wait_until("the taint", tainted, PATIENCE, [agent])
        await UNPREPARE_V1.call(channel, v1.NodeUnprepareResourcesRequest(claims=[ref(claim)]), timeout=30)

        async def free() -> bool:
            return await ground.tainted() == {"gpu-0": [], "gpu-1": []}

        await wait_until("the taint to go", free, PATIENCE, [agent])


async def test_an_agent_that_was_killed_comes_back_to_what_it_had_prepared(ground: Ground) -> None:
    async with ground.agent() as agent, ground.channel() as channel:
        await ground.published(agent)
        claim = await ground.claim("mine", "gpu-1")
        request = v1.NodePrepareResourcesRequest(claims=[ref(claim)])
        before = await PREPARE_V1.call(channel, request, timeout=30)
        specs = ground.specs()
        agent.kill()

    async with ground.agent() as agent, ground.channel() as channel:
        await ground.published(agent)
        assert ground.specs() == specs
        assert await PREPARE_V1.call(channel, request, timeout=30, wait_for_ready=True) == before
        other = await ground.claim("other", "gpu-1")
        refused = await PREPARE_V1.call(channel, v1.NodePrepareResourcesRequest(claims=[ref(other)]), timeout=30)
        assert "still prepared for another claim" in refused.claims[other.uid].error


async def test_the_sockets_go_with_an_agent_that_is_asked_to_end_and_the_slices_stay(ground: Ground) -> None:
    async with ground.agent() as agent:
        await ground.published(agent)
        sockets = Sockets(ground.folder, DEFAULT_DRIVER)
        assert sockets.registration.is_socket()
        await agent.stop()
        assert not sockets.registration.exists()
        assert len(await ground.tainted()) == 2


async def test_a_kubelet_folder_whose_path_is_too_long_is_said_at_once(ground: Ground) -> None:
    deep = ground.folder / ("x" * 90)
    deep.mkdir()
    long = Ground(ground.api, ground.plane, ground.node, ground.namespace, deep)
    async with long.agent() as agent:

        async def ended() -> bool:
            return not agent.alive

        await wait_until("the agent to end", ended, PATIENCE)
    (line,) = [text for text in agent.log.read_text().splitlines() if text.startswith("dra-operator agent:")]
    assert "use a shorter --kubelet-dir" in line
