"""More pods at once than devices: exactly as many run as there are devices, and the rest when those end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator

import pytest

from dra_operator.api.kinds import PODS
from dra_operator.sandbox.state import State
from tests.e2e.conftest import OPERATOR, sandbox
from tests.e2e.stage import Stage, devices_of, stage, until

PODS_AT_ONCE = 200
DEVICES = 160


@pytest.fixture(scope="module")
def wide() -> Iterator[State]:
    yield from sandbox("burst", "--nodes=20", "--gpus=8", "--profile=l4", *OPERATOR)


@pytest.fixture
async def crowd(wide: State) -> AsyncIterator[Stage]:
    async with stage(wide) as one:
        yield one


async def test_200_pods_at_once_on_160_devices(crowd: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    await crowd.template()
    names = [f"p{index:03}" for index in range(PODS_AT_ONCE)]
    started = time.monotonic()
    await asyncio.gather(*(crowd.pod(name, templates=("gpu",)) for name in names))
    running: list[str] = []

    async def full() -> bool:
        pods, _ = await crowd.client.list_objects(PODS, namespace=crowd.namespace)
        running[:] = [pod.metadata.name for pod in pods if pod.status.phase == "Running"]
        return len(running) >= DEVICES

    await until(lambda: f"{len(running)} pods run, not {DEVICES}", full, 120.0)
    seconds = time.monotonic() - started
    with capsys.disabled():
        print(f"\n{DEVICES} of {PODS_AT_ONCE} pods run after {seconds:.1f} s: {DEVICES / seconds:.1f} pods/s")
    waiting = sorted(set(names) - set(running))
    for name in waiting[:3]:
        await crowd.waits(name, "DevicesInUse")
    given = [device for claim in await crowd.claims() for device in devices_of(claim)]
    assert len(running) == DEVICES
    assert len(given) == len(set(given)) == DEVICES

    first = running[: PODS_AT_ONCE - DEVICES]
    await asyncio.gather(*(crowd.delete_pod(name) for name in first))
    await crowd.running(*waiting, seconds=90.0)
    given = [device for claim in await crowd.claims() for device in devices_of(claim)]
    assert len(given) == len(set(given)) == DEVICES
