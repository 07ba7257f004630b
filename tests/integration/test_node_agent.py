"""`dra-operator agent` as a process of its own, on a node with GPUs by the fake NVML and a real API server."""

from __future__ import annotations

import asyncio
import json
import sys
import uuid
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from dra_operator.api.kinds import NODES, SLICES
from dra_operator.api.meta import ObjectKey
from dra_operator.api.names import DEFAULT_DRIVER
from dra_operator.api.resource import BasicDevice
from dra_operator.cluster.http import ApiClient
from dra_operator.sandbox.controlplane import ControlPlane
from tests.nvml import XID, FakeNode, build_library, fake_node

pytestmark = pytest.mark.cluster

RSS_MAX_MIB = 64


@dataclass(slots=True)
class Ground:
    """A Node, its GPUs, and the way to start its agent."""

    client: ApiClient
    plane: ControlPlane
    node: str
    gpus: FakeNode
    library: Path

    async def start(self, *options: str) -> Process:
        command = [sys.executable, "-m", "dra_operator.cli.main", "agent", "--node-name", self.node, *options]
        command += ["--kubeconfig", str(self.plane.kubeconfig()), "--plugin", "off", "--refresh", "0.2"]
        environment = {**self.gpus.environment(self.library), "PYTHONDONTWRITEBYTECODE": ""}
        return await asyncio.create_subprocess_exec(*command, env=environment, stdout=PIPE, stderr=PIPE)

    @asynccontextmanager
    async def running(self, *options: str) -> AsyncIterator[Process]:
        process = await self.start(*options)
        try:
            yield process
            assert process.returncode is None, (await process.communicate())[1].decode()
        finally:
            if process.returncode is None:
                process.terminate()
            await process.communicate()

    async def devices(self, driver: str = DEFAULT_DRIVER) -> list[BasicDevice]:
        selector = f"spec.driver={driver},spec.nodeName={self.node}"
        found, _ = await self.client.list_objects(SLICES, field_selector=selector)
        return [device for slice_ in found for device in slice_.spec.devices or ()]

    async def taints(self) -> dict[str, tuple[str, str]]:
        return {each.name: (taint.value, taint.effect) for each in await self.devices() for taint in each.taints or ()}

    async def until(self, what: str, holds: Callable[[], Awaitable[bool]]) -> None:
        try:
            async with asyncio.timeout(60):
                while not await holds():
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise AssertionError(f"waited for {what}") from None

    async def until_tainted(self, **taints: tuple[str, str]) -> None:
        wanted = {name.replace("_", "-"): taint for name, taint in taints.items()}

        async def so() -> bool:
            return await self.taints() == wanted

        await self.until(f"taints {wanted}", so)

    async def until_published(self, count: int, driver: str = DEFAULT_DRIVER) -> None:
        async def so() -> bool:
            return len(await self.devices(driver)) == count

        await self.until(f"{count} devices", so)


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_library(tmp_path_factory.mktemp("nvml"))


@pytest.fixture
async def ground(control_plane: ControlPlane, library: Path, tmp_path: Path) -> AsyncIterator[Ground]:
    name = f"agent-{uuid.uuid4().hex[:8]}"
    async with control_plane.client() as client:
        await client.create(NODES, {"metadata": {"name": name}})
        yield Ground(client, control_plane, name, fake_node(tmp_path, "h100-sxm-80gb", name), library)
        found, _ = await client.list_objects(SLICES, field_selector=f"spec.nodeName={name}")
        for slice_ in found:
            await client.delete(SLICES, slice_.key)
        await client.delete(NODES, ObjectKey("", name))


def resident_mib(process: Process) -> float:
    fields = dict(line.split(":", 1) for line in Path(f"/proc/{process.pid}/status").read_text().splitlines())
    return int(fields["VmRSS"].split()[0]) / 1024


async def test_gpus_are_published_and_their_trouble_comes_and_goes(ground: Ground) -> None:
    async with ground.running():
        await ground.until_published(8)
        ground.gpus.gpus[2].events.append(f"{XID} 48")
        ground.gpus.gpus[5].lines["lost"] = 1
        ground.gpus.write()
        await ground.until_tainted(gpu_2=("xid-48", "NoSchedule"), gpu_5=("gpu-lost", "NoExecute"))

        ground.gpus.gpus[5].lines["lost"] = 0
        ground.gpus.load += 1
        ground.gpus.write()
        await ground.until_tainted()
        assert len(await ground.devices()) == 8


async def test_eight_gpus_cut_into_partitions_stay_within_the_memory_that_an_agent_may_have(
    ground: Ground, tmp_path: Path
) -> None:
    """Of one that is installed, so that nothing has to be compiled any more: that takes 10 MiB, and is done by then."""
    async with ground.running():
        await ground.until_published(8)
    (tmp_path / "mig").mkdir()
    ground.gpus = fake_node(tmp_path / "mig", "a100-sxm-80gb-mig", ground.node)
    async with ground.running() as process:
        await ground.until_published(200)
        assert resident_mib(process) < RSS_MAX_MIB


async def test_nvidias_driver_name_is_published_with_its_attributes(ground: Ground) -> None:
    async with ground.running("--driver-name", "gpu.nvidia.com"):
        await ground.until_published(8, "gpu.nvidia.com")
        device = (await ground.devices("gpu.nvidia.com"))[3]
        assert (device.attributes or {})["index"].int_value == 3


async def test_beside_another_publisher_of_the_driver_it_refuses_to_start(ground: Ground) -> None:
    pool = {"name": ground.node, "generation": 1, "resourceSliceCount": 1}
    spec = {"driver": DEFAULT_DRIVER, "nodeName": ground.node, "pool": pool, "devices": [{"name": "theirs"}]}
    file = ground.gpus.file.with_suffix(".yaml")
    theirs = {
        "apiVersion": "resource.k8s.io/v1",
        "kind": "ResourceSlice",
        "metadata": {"name": f"theirs-{ground.node}"},
        "spec": spec,
    }
    file.write_text(json.dumps(theirs))
    ground.plane.kubectl("apply", "--server-side", "--field-manager=another-driver", "-f", str(file))
    process = await ground.start()
    _, errors = await process.communicate()

    assert process.returncode == 2
    assert b"are published by another-driver" in errors
    assert b"Traceback" not in errors
    assert [device.name for device in await ground.devices()] == ["theirs"]


async def test_without_a_driver_it_says_what_is_missing_and_with_patience_it_waits(ground: Ground) -> None:
    ground.gpus.state = "unloaded"
    ground.gpus.write()
    process = await ground.start()
    _, errors = await process.communicate()
    assert process.returncode == 2
    assert b"is the NVIDIA driver loaded" in errors
    assert b"Traceback" not in errors

    async with ground.running("--wait-for-driver"):
        ground.gpus.state = "loaded"
        ground.gpus.write()
        await ground.until_published(8)
