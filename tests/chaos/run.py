"""One run of chaos: good and bad weather, kills, an end at which everybody can be served, and the time that takes."""

from __future__ import annotations

import asyncio
import random
import shutil
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from dra_operator.api.kinds import CLAIMS, PODS
from dra_operator.cluster.http import ApiClient
from dra_operator.sandbox.processes import wait_until
from tests.chaos.cluster import Cluster, running_cluster
from tests.chaos.history import watch_history
from tests.chaos.observer import Kind, Observer, Violation
from tests.chaos.users import Users
from tests.chaos.weather import Fault

_STARTUP_SECONDS: Final = 60.0
_CALM, _STORM = (0.02, 4.0), (0.3, 6.0)
"""How likely a request meets a fault, and for how many seconds."""
_KILL_PAUSE: Final = (4.0, 12.0)
_BACK_AFTER: Final = (0.0, 2.0)
_LEASE_SECONDS: Final = 16.0
"""Operators are not killed in the last seconds: a leader's lease has to run out before anyone can do anything."""
_SETTLE_SECONDS: Final = 6.0
_CONVERGENCE_LIMIT: Final = 90.0
_LOOK: Final = 0.1


@dataclass(slots=True)
class Report:
    """What happened, and what came of it."""

    seed: int
    faults: Counter[Fault] = field(default_factory=Counter)
    kills: Counter[str] = field(default_factory=Counter)
    pods: Counter[str] = field(default_factory=Counter)
    violations: list[Violation] = field(default_factory=list)
    ended: Counter[str] = field(default_factory=Counter)
    """Programs that ended although nobody had killed them."""
    revisions: int = 0
    converged: float | None = None
    """Seconds from the last fault until every pod ran and nothing was left over."""
    cleared: float | None = None
    """Seconds from the last pod's deletion until no device was held and nothing was prepared."""

    def count(self, kind: Kind) -> int:
        return sum(one.kind is kind for one in self.violations)

    @property
    def good(self) -> bool:
        return not self.violations and not self.ended and self.converged is not None and self.cleared is not None


async def run(minutes: float, seed: int, say: Callable[[str], None], *, keep: bool = False) -> Report:
    """Chaos for so long. All logs are kept, and their folder named, if anything is wrong."""
    report = Report(seed)
    folder = Path(tempfile.mkdtemp(prefix="dra-"))
    rng = random.Random(seed)
    say(f"starting the cluster; seed {seed}")
    async with running_cluster(folder, rng, report.faults) as (cluster, client):
        observer = Observer()
        report.kills = cluster.kills
        async with _observed(observer, cluster):
            users = Users(client, random.Random(rng.random()), observer.deletable)
            await users.move_in()
            await _wait_for_agents(client, cluster)
            await _trouble(cluster, users, rng, minutes * 60.0, report, say)
            report.converged = await _until_quiet(observer, report)
            say(f"converged after {report.converged} s; everybody leaves")
            await users.move_out()
            report.cleared = await _until_quiet(observer, report, lambda: _empty(observer, cluster))
            await _nothing_was_missed(client, observer)
        report.pods = observer.counts
        report.revisions = observer.revision
        report.violations += observer.violations
    if report.good and not keep:
        shutil.rmtree(folder)
    else:
        say(f"logs: {folder / 'log'}")
    return report


@asynccontextmanager
async def _observed(observer: Observer, cluster: Cluster) -> AsyncIterator[None]:
    async def observe() -> None:
        async for revision in watch_history(cluster.plane.etcd_server):
            observer.see(revision)

    task = asyncio.create_task(observe())
    try:
        yield
        if task.done():
            task.result()
    finally:
        task.cancel()
        await asyncio.wait({task})


async def _wait_for_agents(client: ApiClient, cluster: Cluster) -> None:
    async def leading() -> bool:
        return any('"leading"' in cluster.processes[name].log.read_text() for name in cluster.operators)

    await wait_until("an operator to lead", leading, _STARTUP_SECONDS, list(cluster.processes.values()))


# --- trouble ---------------------------------------------------------------------------------------------------------


async def _trouble(
    cluster: Cluster, users: Users, rng: random.Random, seconds: float, report: Report, say: Callable[[str], None]
) -> None:
    """Returns when the last fault is over: the weather is fine, and every part serves again."""
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    tasks = [
        asyncio.create_task(_change_weather(cluster, end)),
        asyncio.create_task(_kill(cluster, rng, end)),
        asyncio.create_task(_restart(cluster, report)),
    ]
    visiting = asyncio.create_task(users.come_and_go())
    try:
        await asyncio.wait({visiting, *tasks}, timeout=seconds - _SETTLE_SECONDS, return_when=asyncio.FIRST_EXCEPTION)
        visiting.cancel()
        await asyncio.wait({visiting})
        if not visiting.cancelled():
            visiting.result()
        say("the last storm: some pods stay, all others go")
        await users.settle()
        await asyncio.gather(*tasks[:2])
    finally:
        for task in (visiting, *tasks):
            task.cancel()
        await asyncio.wait({visiting, *tasks})
        cluster.set_chance(0.0)


async def _change_weather(cluster: Cluster, end: float) -> None:
    loop = asyncio.get_running_loop()
    while loop.time() < end:
        for chance, seconds in (_CALM, _STORM):
            cluster.set_chance(chance)
            await asyncio.sleep(max(0.0, min(seconds, end - loop.time())))


async def _kill(cluster: Cluster, rng: random.Random, end: float) -> None:
    loop = asyncio.get_running_loop()
    while (now := loop.time()) < end:
        await asyncio.sleep(min(rng.uniform(*_KILL_PAUSE), end - now))
        operators = cluster.operators if loop.time() < end - _LEASE_SECONDS else []
        groups = [group for group in (operators, cluster.agents, ["kube-apiserver"], ["etcd"]) if group]
        await cluster.kill(rng.choice(rng.choice(groups)), rng.uniform(*_BACK_AFTER))


async def _restart(cluster: Cluster, report: Report) -> None:
    """For ever."""
    while True:
        await asyncio.sleep(0.5)
        report.ended.update(cluster.restart_those_that_ended())


# --- rest ------------------------------------------------------------------------------------------------------------


async def _until_quiet(observer: Observer, report: Report, also: Callable[[], bool] = lambda: True) -> float | None:
    """Seconds until nothing is left over; None, and violations, if that does not come."""
    loop = asyncio.get_running_loop()
    begin = loop.time()
    while observer.leftovers() or not also():
        if loop.time() - begin > _CONVERGENCE_LIMIT:
            report.violations += observer.leftovers()
            return None
        await asyncio.sleep(_LOOK)
    return round(loop.time() - begin, 1)


def _empty(observer: Observer, cluster: Cluster) -> bool:
    """No pod, no claim, no device held, nothing prepared."""
    return not observer.pods and not observer.claims and not cluster.cdi_specs()


async def _nothing_was_missed(client: ApiClient, observer: Observer) -> None:
    """What the observer has seen is what there is. Raises TimeoutError otherwise."""

    async def same() -> bool:
        claims, _ = await client.list_objects(CLAIMS)
        pods, _ = await client.list_objects(PODS)
        return {one.key: one.uid for one in (*claims, *pods)} == {
            one.key: one.uid for one in (*observer.claims.values(), *observer.pods.values())
        }

    await wait_until("the observer to have seen everything", same, _STARTUP_SECONDS)
