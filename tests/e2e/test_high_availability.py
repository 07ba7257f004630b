"""Several replicas: one leads, and whatever becomes of it, another goes on soon and nothing is lost or doubled.

Times are measured and printed. What is asserted of them follows from the constants of the lease: a leader that died is
replaced within a lease and two periods, and one that gave the lease back much sooner than the lease runs out.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import pytest

from dra_operator.api.kinds import CLAIMS
from dra_operator.cluster.kubeconfig import find_credentials
from dra_operator.cluster.lease import LEASE_DURATION, RENEW_DEADLINE, RETRY_PERIOD
from dra_operator.cluster.reflector import Reflector
from dra_operator.sandbox.state import State
from tests.e2e.operators import launch
from tests.e2e.proxy import HoldingProxy, PartingProxy, Proxy
from tests.e2e.replicas import LEASE, Replica, leader, leader_of, lease_spec
from tests.e2e.stage import Stage, until
from tests.e2e.suite.doubles import Doubles

FLAGS = ("--log-format=json", "--claims=generate", "--metrics-address=127.0.0.1:0")
FAILOVER = 2 * LEASE_DURATION
HANDOVER = LEASE_DURATION - RETRY_PERIOD
"""A lease that nobody gave back is not taken sooner."""
USERS = 2


@dataclass(slots=True)
class House:
    """Where replicas live; all of them end with the test."""

    there: Stage
    kubeconfig: Path
    folder: Path
    say: Callable[[str], None]
    stack: AsyncExitStack
    replicas: list[Replica] = field(default_factory=list)

    async def replica(self, proxy: Proxy | None = None, *flags: str) -> Replica:
        """One more, not ready yet."""
        name = f"replica-{len(self.replicas)}"
        config = self.kubeconfig
        if proxy is not None:
            await self.stack.enter_async_context(proxy)
            config = proxy.write_kubeconfig(self.folder / f"{name}.kubeconfig")
        one = Replica(name, launch(config, self.folder / f"{name}.log", (*FLAGS, *flags)))
        self.replicas.append(one)
        self.stack.push_async_callback(one.process.stop)
        return one

    async def leader(self) -> Replica:
        return await leader(self.there.client, self.replicas)

    async def next_leader(self, but: Replica) -> float:
        """Wait until another leads; returns the seconds since this was called."""
        started = time.monotonic()

        async def another() -> bool:
            one = await leader_of(self.there.client, self.replicas)
            return one is not None and one is not but

        await until(lambda: "nobody else leads", another, 60.0)
        return time.monotonic() - started


@pytest.fixture
async def house(bare: State, there: Stage, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> AsyncIterator[House]:
    if await lease_spec(there.client):  # of an operator that was killed
        await there.client.request("DELETE", LEASE)

    def say(line: str) -> None:
        with capsys.disabled():
            print(f"\n{line}", end="")

    async with AsyncExitStack() as stack:
        await there.template()
        yield House(there, Path(bare.operator_kubeconfig), tmp_path, say, stack)


@asynccontextmanager
async def users(there: Stage) -> AsyncIterator[list[str]]:
    """Pods all the time, each as soon as the one before has ended; at the end of the block all of them have."""
    over = asyncio.Event()
    names: list[str] = []

    async def user(number: int) -> None:
        index = 0
        while not over.is_set():
            names.append(f"u{number}-{index}")
            await there.pod(names[-1], templates=("gpu",), run_for=0.1)
            await there.succeeded(f"u{number}-{index}", 60.0)
            index += 1

    async with asyncio.TaskGroup() as tasks:
        for number in range(USERS):
            tasks.create_task(user(number))
        yield names
        over.set()


@asynccontextmanager
async def nothing_doubled(there: Stage) -> AsyncIterator[None]:
    doubles = Doubles()
    task = asyncio.create_task(Reflector(there.client, CLAIMS, doubles, rng=random.Random(0)).run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert doubles.given > 0
    assert doubles.found == []


async def test_of_three_one_leads_and_when_it_dies_another_does(bare: State, house: House) -> None:
    there = house.there
    target = find_credentials(bare.operator_kubeconfig)
    proxies = [Proxy(target) for _ in range(3)]
    replicas = [await house.replica(proxy) for proxy in proxies]
    await asyncio.gather(*(one.ready() for one in replicas))
    first = await house.leader()
    await there.pod("before", templates=("gpu",))
    await there.running("before")
    assert [bool(proxy.writes) for proxy in proxies] == [one is first for one in replicas]

    first.process.kill()
    await there.pod("after", templates=("gpu",))
    seconds = await house.next_leader(first)
    house.say(f"failover after kill -9: {seconds:.1f} s")
    assert seconds < FAILOVER
    await there.running("before", "after")
    assert sum(bool(proxy.writes) for proxy in proxies) == 2


async def test_a_leader_that_is_told_to_end_lets_its_writes_end_and_hands_over(bare: State, house: House) -> None:
    there = house.there
    proxy = HoldingProxy(
        find_credentials(bare.operator_kubeconfig),
        lambda write: write.startswith("PATCH") and write.endswith("/status"),
    )
    first = await house.replica(proxy)
    await first.ready()
    assert await house.leader() is first
    second = await house.replica()
    await second.ready()
    pod = await there.pod("one", templates=("gpu",))
    async with asyncio.timeout(30):
        await proxy.held.wait()

    first.process.terminate()

    async def stopping() -> bool:
        return '"stopping"' in first.said

    await until(lambda: f"it does not stop: {first.said}", stopping)
    assert await leader_of(there.client, house.replicas) is first
    proxy.release.set()
    seconds = await house.next_leader(first)
    house.say(f"hand-over after the last answer: {seconds:.2f} s")
    assert seconds < HANDOVER
    assert await first.ended() == 0
    await there.running("one")
    [claim] = await there.claims_of(pod)
    assert [one.uid for one in claim.status.reserved_for or ()] == [pod.uid]


async def test_a_rolling_upgrade_loses_no_pod(house: House) -> None:
    there = house.there
    old = [await house.replica(), await house.replica()]
    await asyncio.gather(*(one.ready() for one in old))
    await house.leader()
    async with nothing_doubled(there), users(there) as names:
        for one in old:
            newer = await house.replica()
            await newer.ready()
            led = await leader_of(there.client, house.replicas) is one
            one.process.terminate()
            if led:
                seconds = await house.next_leader(one)
                house.say(f"hand-over after SIGTERM: {seconds:.2f} s")
                assert seconds < HANDOVER
            assert await one.ended() == 0
        await house.leader()
    house.say(f"{len(names)} pods came and ended during the upgrade")
    assert len(names) > USERS

    async def none() -> bool:
        return not await there.claims()

    await until(lambda: "claims are left over", none)


async def test_a_leader_cut_off_from_its_lease_stops_before_another_may_take_it(bare: State, house: House) -> None:
    there = house.there
    proxy = PartingProxy(find_credentials(bare.operator_kubeconfig))
    first = await house.replica(proxy)
    await first.ready()
    assert await house.leader() is first
    second = await house.replica()
    await second.ready()
    async with nothing_doubled(there), users(there):
        cut = time.time()
        proxy.cut("/leases")
        seconds = await house.next_leader(first)
        taken = datetime.fromisoformat((await lease_spec(there.client))["acquireTime"]).timestamp()
        last = max(proxy.moments)
        house.say(
            f"cut off from its lease: wrote for {last - cut:.1f} s more, another took over after {seconds:.1f} s "
            f"(deadline {RENEW_DEADLINE:g} s, lease {LEASE_DURATION:g} s)"
        )
        assert cut < last < taken
        written = len(proxy.writes)
        proxy.heal()

        async def follows() -> bool:
            return "the lease is lost" in first.said

        await until(lambda: "it does not notice", follows)
    assert len(proxy.writes) == written
    assert await leader_of(there.client, house.replicas) is second
    assert await first.is_ready()


async def test_a_leader_that_stands_still_past_its_lease_changes_nothing_when_it_goes_on(
    bare: State, house: House
) -> None:
    """SIGSTOP, a frozen virtual machine: it does not know how long. One of its writes is on its way meanwhile, too."""
    there = house.there
    proxy = HoldingProxy(
        find_credentials(bare.operator_kubeconfig),
        lambda write: write.startswith("PATCH") and "/resourceclaims/" in write and write.endswith("/status"),
    )
    first = await house.replica(proxy)
    await first.ready()
    assert await house.leader() is first
    second = await house.replica()
    await second.ready()
    async with nothing_doubled(there):
        pod = await there.pod("one", templates=("gpu",))
        async with asyncio.timeout(30):
            await proxy.held.wait()
        os.kill(first.process.pid, signal.SIGSTOP)
        try:
            seconds = await house.next_leader(first)
            house.say(f"failover from a leader that stands still: {seconds:.1f} s")
            await there.running("one")
            proxy.release.set()  # the write of the one that stands still arrives, long after it was sent
            written = len(proxy.writes)
            await there.pod("two", templates=("gpu",))
            await there.running("two")
            [claim] = await there.claims_of(pod)
        finally:
            os.kill(first.process.pid, signal.SIGCONT)

        async def follows() -> bool:
            return "the lease is lost" in first.said

        await until(lambda: "it does not notice", follows)
        await there.pod("three", templates=("gpu",), run_for=0.1)
        await there.succeeded("three")
    assert len(proxy.writes) == written
    now = await there.find_claim(claim.metadata.name)
    assert now is not None
    assert now.metadata.resource_version == claim.metadata.resource_version
    assert await leader_of(there.client, house.replicas) is second
    assert await first.is_ready()


async def test_ready_is_who_has_seen_everything_and_nobody_else_leads(bare: State, house: House) -> None:
    proxy = PartingProxy(find_credentials(bare.operator_kubeconfig))
    proxy.cut("/resourceslices")
    one = await house.replica(proxy, "--gate=off")

    async def serves() -> bool:
        return bool(one.port) and await one.probe("healthz") == 200

    await until(lambda: f"no health: {one.said}", serves)
    assert await one.probe("readyz") == 503
    assert await lease_spec(house.there.client) == {}
    proxy.heal()
    await one.ready()
    assert await house.leader() is one
    assert await one.probe("healthz") == 200
    one.process.terminate()
    assert await one.ended() == 0
