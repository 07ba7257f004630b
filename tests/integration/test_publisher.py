"""The publisher against a real API server: what it writes, what it leaves alone, how it repairs."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

import pytest

from dra_operator.agent.gpu import Naming
from dra_operator.agent.profiles import load_profile, profile_names
from dra_operator.agent.publisher import Publisher, RivalPublisherError
from dra_operator.agent.sources import NodeDevices
from dra_operator.agent.taints import DeviceTaints
from dra_operator.api.codec import encode
from dra_operator.api.kinds import NODES, SLICES
from dra_operator.api.meta import ObjectKey
from dra_operator.api.resource import DeviceTaint, ResourceSlice
from dra_operator.cluster.http import ApiClient
from dra_operator.sandbox.controlplane import ControlPlane, Options
from tests.controlplane import running_control_plane

pytestmark = pytest.mark.cluster

DRIVER = "gpu.dra-operator.io"
PATIENCE = 30.0
"""Of who waits for what takes milliseconds on a machine that has nothing else to do."""


@dataclass(frozen=True, slots=True)
class Ground:
    """A Node of the test's own, and the publisher of its devices."""

    client: ApiClient
    node: str
    publisher: Publisher

    async def slices(self) -> list[ResourceSlice]:
        found, _ = await self.client.list_objects(
            SLICES, field_selector=f"spec.driver={DRIVER},spec.nodeName={self.node}"
        )
        return sorted(found, key=lambda slice_: slice_.metadata.name)

    async def names(self) -> list[str]:
        return [device.name for slice_ in await self.slices() for device in slice_.spec.devices or ()]

    async def taints(self) -> dict[str, DeviceTaint]:
        devices = [device for slice_ in await self.slices() for device in slice_.spec.devices or ()]
        return {device.name: taint for device in devices for taint in device.taints or ()}

    def gpus(self, count: int, profile: str = "l4") -> NodeDevices:
        return load_profile(profile).devices_of(self.node, count)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """The publisher repairs while the block runs."""
        task = asyncio.create_task(self.publisher.run())
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


@pytest.fixture
async def api(control_plane: ControlPlane) -> AsyncIterator[ApiClient]:
    async with control_plane.client() as client:
        yield client


@asynccontextmanager
async def new_ground(api: ApiClient) -> AsyncIterator[Ground]:
    name = f"publisher-{uuid.uuid4().hex[:8]}"
    node = await api.create(NODES, {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}})
    ground = Ground(api, name, Publisher(api, node_name=name, node_uid=node.uid, driver=DRIVER))
    yield ground
    for slice_ in await ground.slices():
        await api.delete(SLICES, slice_.key)
    await api.delete(NODES, node.key)


@pytest.fixture
async def ground(api: ApiClient) -> AsyncIterator[Ground]:
    async with new_ground(api) as ground:
        yield ground


async def eventually(holds: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not await holds():
            await asyncio.sleep(0.02)


async def test_published_devices_are_read_back_as_they_were_given(ground: Ground) -> None:
    gpus = ground.gpus(8)
    await ground.publisher.publish(gpus)

    (slice_,) = await ground.slices()
    assert slice_.spec.devices == gpus.devices
    assert slice_.spec.node_name == slice_.spec.pool.name == ground.node
    owner = slice_.metadata.controller
    node = await ground.client.get(NODES, ObjectKey("", ground.node))
    assert owner is not None
    assert (owner.kind, owner.uid) == ("Node", node.uid)


@pytest.mark.parametrize("profile", [name for name in profile_names() if not name.endswith("-mig")])
async def test_the_api_server_accepts_the_devices_of_each_profile(ground: Ground, profile: str) -> None:
    assert await ground.publisher.publish(ground.gpus(16, profile)) == 1


@pytest.mark.parametrize("naming", list(Naming))
async def test_partitions_are_published_with_their_counters_in_a_slice_of_their_own(
    ground: Ground, naming: Naming
) -> None:
    node = load_profile("a100-sxm-80gb-mig").devices_of(ground.node, naming=naming)
    assert await ground.publisher.publish(node) == 5
    assert await ground.publisher.publish(node) == 0

    counters, *devices = [slice_.spec for slice_ in await ground.slices()]
    assert (counters.devices, counters.shared_counters) == (None, node.shared_counters)
    assert tuple(device for spec in devices for device in spec.devices or ()) == node.devices
    assert all(spec.shared_counters is None for spec in devices)


async def test_the_same_devices_again_are_no_write_also_after_a_restart(ground: Ground) -> None:
    await ground.publisher.publish(ground.gpus(100))
    before = await ground.slices()
    node = await ground.client.get(NODES, ObjectKey("", ground.node))
    restarted = Publisher(ground.client, node_name=ground.node, node_uid=node.uid, driver=DRIVER)

    assert await ground.publisher.publish(ground.gpus(100)) == 0
    assert await restarted.publish(ground.gpus(100)) == 0
    assert await ground.slices() == before


async def test_growing_and_shrinking_moves_the_pool_to_new_generations(ground: Ground) -> None:
    for gpus, generation, sizes in ((64, 1, [64]), (130, 2, [64, 64, 2]), (129, 2, [64, 64, 1]), (10, 2, [10])):
        await ground.publisher.publish(ground.gpus(gpus))
        slices = await ground.slices()
        assert [len(slice_.spec.devices or ()) for slice_ in slices] == sizes
        assert {slice_.spec.pool.resource_slice_count for slice_ in slices} == {len(sizes)}
        assert {slice_.spec.pool.generation for slice_ in slices} == {generation}


async def test_a_node_without_devices_has_an_empty_slice(ground: Ground) -> None:
    await ground.publisher.publish(ground.gpus(1))
    await ground.publisher.publish(NodeDevices())

    (slice_,) = await ground.slices()
    assert slice_.spec.devices is None


async def test_deleted_slices_come_back(ground: Ground) -> None:
    await ground.publisher.publish(ground.gpus(100))
    async with ground.running():
        for slice_ in await ground.slices():
            await ground.client.delete(SLICES, slice_.key)

        async def back() -> bool:
            slices = await ground.slices()
            return [len(slice_.spec.devices or ()) for slice_ in slices] == [64, 36]

        await eventually(back)


async def test_a_slice_that_someone_changed_is_put_right(ground: Ground) -> None:
    await ground.publisher.publish(ground.gpus(2))
    async with ground.running():
        (slice_,) = await ground.slices()
        await ground.client.patch(SLICES, slice_.key, {"spec": {"devices": [{"name": "foreign"}]}}, patch_type="merge")

        async def right() -> bool:
            (slice_,) = await ground.slices()
            return slice_.spec.devices == ground.gpus(2).devices

        await eventually(right)


async def test_the_slices_of_a_node_that_was_created_anew_belong_to_the_new_one(ground: Ground) -> None:
    await ground.publisher.publish(ground.gpus(1))
    key = ObjectKey("", ground.node)
    await ground.client.delete(NODES, key)
    await ground.client.create(NODES, {"apiVersion": "v1", "kind": "Node", "metadata": {"name": ground.node}})
    reborn = await ground.client.get(NODES, key)

    async with ground.running():

        async def owned_by_the_new_one() -> bool:
            return [s.metadata.controller.uid for s in await ground.slices() if s.metadata.controller] == [reborn.uid]

        await eventually(owned_by_the_new_one)


async def test_two_publishers_at_once_leave_one_set_of_slices(ground: Ground) -> None:
    """A rolling update of the DaemonSet can run two agents on one node for a moment."""
    node = await ground.client.get(NODES, ObjectKey("", ground.node))
    twin = Publisher(ground.client, node_name=ground.node, node_uid=node.uid, driver=DRIVER)
    async with ground.running():
        await asyncio.gather(ground.publisher.publish(ground.gpus(100)), twin.publish(ground.gpus(100)))

        async def one_set() -> bool:
            return [len(s.spec.devices or ()) for s in await ground.slices()] == [64, 36]

        await eventually(one_set)


async def test_beside_another_publisher_of_the_driver_nothing_is_written(ground: Ground) -> None:
    key = ObjectKey("", ground.node)
    node = await ground.client.get(NODES, key)
    pool = {"name": ground.node, "generation": 1, "resourceSliceCount": 1}
    theirs = {
        "apiVersion": "resource.k8s.io/v1",
        "kind": "ResourceSlice",
        "metadata": {
            "name": f"theirs-{ground.node}",
            "ownerReferences": [{"apiVersion": "v1", "kind": "Node", "name": ground.node, "uid": node.uid}],
        },
        "spec": {"driver": DRIVER, "nodeName": ground.node, "pool": pool, "devices": [{"name": "theirs"}]},
    }
    path = f"/apis/resource.k8s.io/v1/resourceslices/theirs-{ground.node}"
    params = {"fieldManager": "gpu-kubelet-plugin"}
    await ground.client.request(
        "PATCH", path, params=params, body=encode(theirs), content_type="application/apply-patch+yaml"
    )

    with pytest.raises(RivalPublisherError, match=r"published by gpu-kubelet-plugin .*another --driver-name"):
        await ground.publisher.publish(ground.gpus(1))
    assert await ground.names() == ["theirs"]

    await ground.client.request("DELETE", path)
    await ground.publisher.publish(ground.gpus(1))
    assert await ground.names() == ["gpu-0"]


# --- taints, and API servers that drop them --------------------------------------------------------------------------

HOT = DeviceTaint(key="dra-operator.io/unhealthy", value="overheated", effect="NoSchedule")


def heated(node: NodeDevices, *names: str) -> NodeDevices:
    taints = DeviceTaints()
    taints.replace(HOT.key, dict.fromkeys(names, HOT))
    return taints.on(node)


async def test_a_taint_is_one_update_of_one_slice_and_keeps_the_time_it_was_added(ground: Ground) -> None:
    gpus = ground.gpus(100)
    await ground.publisher.publish(gpus)
    assert await ground.publisher.publish(heated(gpus, "gpu-70")) == 1
    assert await ground.publisher.publish(heated(gpus, "gpu-70")) == 0
    before = await ground.taints()
    assert before["gpu-70"].time_added is not None

    assert await ground.publisher.publish(heated(gpus, "gpu-70", "gpu-71")) == 1
    assert (await ground.taints())["gpu-70"] == before["gpu-70"]
    assert await ground.publisher.publish(gpus) == 1
    assert await ground.taints() == {}


@pytest.fixture(scope="module")
def old_control_plane() -> Iterator[ControlPlane]:
    """An API server that drops what 1.34 drops."""
    gates = "DRADeviceTaints=false,DRADeviceTaintRules=false,DRAPartitionableDevices=false"
    options = Options(api_server_flags=(f"--feature-gates={gates}",), scheduler=False)
    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        running = running_control_plane(options, manifests=False)
        yield runner.run(running.__aenter__())
        runner.run(running.__aexit__(None, None, None))


@pytest.fixture
async def old(old_control_plane: ControlPlane) -> AsyncIterator[Ground]:
    async with old_control_plane.client() as client, new_ground(client) as ground:
        yield ground


async def test_where_taints_are_dropped_an_unhealthy_device_leaves_its_slice_until_it_is_well(old: Ground) -> None:
    gpus = old.gpus(100)
    await old.publisher.publish(gpus)

    assert await old.publisher.publish(heated(gpus, "gpu-1")) == 1
    assert [len(slice_.spec.devices or ()) for slice_ in await old.slices()] == [63, 36]
    assert "gpu-1" not in await old.names()

    assert await old.publisher.publish(heated(gpus, "gpu-1")) == 0
    assert await old.publisher.publish(gpus) == 1
    assert "gpu-1" in await old.names()


async def test_where_taints_are_dropped_an_unhealthy_device_is_never_seen_also_after_a_restart(old: Ground) -> None:
    await old.publisher.publish(heated(old.gpus(2), "gpu-1"))

    (slice_,) = await old.slices()
    assert [device.name for device in slice_.spec.devices or ()] == ["gpu-0"]
    assert (slice_.metadata.generation, slice_.spec.pool.generation) == (1, 1)


async def test_where_counters_are_dropped_partitions_are_not_published(old: Ground) -> None:
    node = load_profile("a100-sxm-80gb").devices_of(old.node, 3, mig={"gpu-1": True})
    await old.publisher.publish(node)

    assert await old.names() == ["gpu-0", "gpu-2"]
    assert await old.publisher.publish(node) == 0
