"""What else a kubelet meets: the registration, the older API, the health of the devices."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc.aio
import pytest

from dra_operator.agent.checkpoint import FILE_NAME
from dra_operator.agent.health import DeviceHealth, HealthBoard, HealthState
from dra_operator.agent.healthstream import HealthService
from dra_operator.agent.protos import dra_v1beta1_pb2 as v1beta1
from dra_operator.agent.protos import health_v1_pb2 as health_v1
from dra_operator.agent.protos import health_v1alpha1_pb2 as health_v1alpha1
from dra_operator.agent.protos import registration_pb2 as registration
from dra_operator.agent.services import (
    GET_INFO,
    NOTIFY_STATUS,
    PREPARE_V1BETA1,
    UNPREPARE_V1BETA1,
    WATCH_V1,
    WATCH_V1ALPHA1,
)
from tests.agent.bench import DRIVER, NODE, Bench
from tests.virtual_loop import run_virtual


@asynccontextmanager
async def channel_to(socket: Path) -> AsyncIterator[grpc.aio.Channel]:
    options = [("grpc.use_local_subchannel_pool", 1)]
    async with grpc.aio.insecure_channel(f"unix:{socket}", options=options) as channel:
        yield channel


# --- registration ----------------------------------------------------------------------------------------------------


async def test_the_registration_socket_names_the_plugin_and_its_services(node: Bench) -> None:
    socket = node.root / "kubelet" / "plugins_registry" / f"{DRIVER}-reg.sock"

    async with channel_to(socket) as channel:
        info = await GET_INFO.call(channel, registration.InfoRequest(), timeout=10)

    assert (info.type, info.name) == ("DRAPlugin", DRIVER)
    assert info.endpoint == str(node.root / "kubelet" / "plugins" / DRIVER / "dra.sock")
    assert list(info.supported_versions) == [
        "v1.DRAPlugin",
        "v1beta1.DRAPlugin",
        "v1.DRAResourceHealth",
        "v1alpha1.DRAResourceHealth",
    ]


@pytest.mark.parametrize("registered", [True, False])
async def test_the_kubelet_says_whether_it_took_the_registration(node: Bench, registered: bool) -> None:
    assert node.plugin is not None
    async with channel_to(node.plugin.sockets.registration) as channel:
        status = registration.RegistrationStatus(plugin_registered=registered, error="" if registered else "no")
        await NOTIFY_STATUS.call(channel, status, timeout=10)

    assert node.plugin.registration.registered is registered


async def test_with_a_pod_uid_both_sockets_carry_it(root: Path, node: Bench) -> None:
    await node.stop()
    node.pod_uid = "0f9c1c5a-6d2e"
    await node.start()

    assert node.plugin is not None
    assert node.plugin.sockets.plugin.name == "dra-0f9c1c5a-6d2e.sock"
    assert node.plugin.sockets.registration.name == f"{DRIVER}-0f9c1c5a-6d2e-reg.sock"
    assert node.plugin.sockets.plugin.is_socket()
    assert node.plugin.sockets.registration.is_socket()


async def test_sockets_are_for_the_owner_alone_and_gone_at_the_end(node: Bench) -> None:
    assert node.plugin is not None
    sockets = [node.plugin.sockets.plugin, node.plugin.sockets.registration]
    assert [socket.stat().st_mode & 0o777 for socket in sockets] == [0o600, 0o600]

    await node.stop()

    assert [socket.exists() for socket in sockets] == [False, False]


async def test_a_socket_that_was_removed_is_listened_on_anew(node: Bench) -> None:
    assert node.plugin is not None
    socket = node.plugin.sockets.plugin
    socket.unlink()

    async with asyncio.timeout(30):
        while not socket.exists():
            await asyncio.sleep(0.02)

    async with channel_to(socket) as channel:
        answer = await UNPREPARE_V1BETA1.call(channel, v1beta1.NodeUnprepareResourcesRequest(), timeout=30)
        assert not answer.claims


# --- v1beta1 ---------------------------------------------------------------------------------------------------------


async def test_the_older_api_does_the_same(node: Bench) -> None:
    claim, missing = node.claim("one", "gpu-1"), node.unknown()
    new = await node.prepare(claim)
    refs = [
        v1beta1.Claim(namespace="default", name=one["metadata"]["name"], uid=one["metadata"]["uid"])
        for one in (claim, missing)
    ]

    answer = await PREPARE_V1BETA1.call(node.channel, v1beta1.NodePrepareResourcesRequest(claims=refs), timeout=30)
    (device,) = answer.claims[refs[0].uid].devices
    assert device.SerializeToString() == new["one"].devices[0].SerializeToString()
    assert answer.claims[refs[1].uid].error == "there is no such claim"

    undone = await UNPREPARE_V1BETA1.call(node.channel, v1beta1.NodeUnprepareResourcesRequest(claims=refs), timeout=30)
    assert {uid: one.error for uid, one in undone.claims.items()} == {ref.uid: "" for ref in refs}
    assert node.specs() == []


# --- health ----------------------------------------------------------------------------------------------------------


def healthy(device: str) -> DeviceHealth:
    return DeviceHealth(device, HealthState.HEALTHY)


def unhealthy(device: str, message: str) -> DeviceHealth:
    return DeviceHealth(device, HealthState.UNHEALTHY, "overheated", message)


def by_name(*devices: DeviceHealth) -> dict[str, DeviceHealth]:
    return {one.device: one for one in devices}


GOOD = by_name(healthy("gpu-0"), healthy("gpu-1"))
HOT = by_name(healthy("gpu-0"), unhealthy("gpu-1", "97 °C"))


async def test_health_is_told_at_once_and_at_every_change(node: Bench) -> None:
    await node.health.post(GOOD)
    stream = WATCH_V1.call_stream(node.channel, health_v1.NodeWatchResourcesRequest())

    first = await anext(stream)
    await node.health.post(HOT)
    second = await anext(stream)

    assert [(one.device.pool_name, one.device.device_name) for one in first.devices] == [
        (NODE, "gpu-0"),
        (NODE, "gpu-1"),
    ]
    assert [one.health for one in first.devices] == [health_v1.HEALTHY, health_v1.HEALTHY]
    assert [(one.health, one.message) for one in second.devices] == [
        (health_v1.HEALTHY, ""),
        (health_v1.UNHEALTHY, "97 °C"),
    ]
    assert {one.health_check_timeout_seconds for one in second.devices} == {30}
    assert {one.last_updated_time for one in second.devices} == {int(node.health.looked)}


async def test_the_older_health_api_tells_the_same(node: Bench) -> None:
    await node.health.post(HOT)

    new = await anext(WATCH_V1.call_stream(node.channel, health_v1.NodeWatchResourcesRequest()))
    old = await anext(WATCH_V1ALPHA1.call_stream(node.channel, health_v1alpha1.NodeWatchResourcesRequest()))

    assert old.SerializeToString() == new.SerializeToString()


def test_health_is_told_again_while_somebody_looks_at_the_devices_and_only_then() -> None:
    async def when_told() -> list[tuple[float, int]]:
        """When a report came, and how many devices were unhealthy."""
        loop = asyncio.get_running_loop()
        start = loop.time() + 1000.0
        await asyncio.sleep(1000.0)
        board = HealthBoard(now=loop.time)
        told: list[tuple[float, int]] = []

        async def listen() -> None:
            async for devices in HealthService(NODE, board, now=loop.time).reports():
                unhealthy = [one for one in devices if one.state is HealthState.UNHEALTHY]
                told.append((loop.time() - start, len(unhealthy)))

        listening = asyncio.create_task(listen())
        await asyncio.sleep(3)
        for at, devices in ((3, GOOD), (65, HOT)):  # between them nobody looks at the devices
            await asyncio.sleep(start + at - loop.time())
            await board.post(devices)
        await asyncio.sleep(15)
        listening.cancel()
        return told

    assert run_virtual(when_told()) == [(3, 0), (13, 0), (23, 0), (33, 0), (65, 1), (75, 1)]


async def test_a_long_message_is_cut_to_what_the_kubelet_keeps(node: Bench) -> None:
    await node.health.post(by_name(unhealthy("gpu-0", "x" * 5000)))

    report = await anext(WATCH_V1.call_stream(node.channel, health_v1.NodeWatchResourcesRequest()))

    assert len(report.devices[0].message) == 1024


# --- who may read what ------------------------------------------------------------------------------------------------


async def test_what_claims_say_is_for_the_owner_alone_and_what_containers_read_is_for_all(node: Bench) -> None:
    """Variables of a claim are in its spec and in the checkpoint; another user of the node has no business there."""
    claim = node.claim("one", "gpu-1")
    await node.prepare(claim)

    def mode(path: Path) -> int:
        return path.stat().st_mode & 0o777

    assert mode(node.folder) & 0o027 == 0, "nobody else comes to the socket, the lock and the checkpoint"
    assert mode(node.folder / FILE_NAME) == 0o600
    assert mode(node.cdi / node.spec_name(claim)) == 0o600
    [metadata] = (node.folder / "metadata").iterdir()
    assert mode(metadata) == 0o644
