"""One seed of the simulation: a busy while with faults, then quiet until the cluster is at rest."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

from dra_operator.api.core import Pod
from dra_operator.world.store import Store
from tests.simulation.invariants import Invariants, ViolationError
from tests.simulation.operator import Faults, Incarnation
from tests.simulation.world import Cluster
from tests.virtual_loop import run_virtual

BUSY_SECONDS = 20.0
REST_SECONDS = 240.0
QUIET_SECONDS = 20.0
"""Nothing written for so long means at rest; longer than a sweep and the pods' lives."""


@dataclass(frozen=True, slots=True)
class Report:
    """What happened in a seed."""

    seed: int
    violation: str | None
    trouble: Counter[str]
    writes: Counter[str]
    pods: int


def run_seed(seed: int, bug: Callable[[], AbstractContextManager[None]] | None = None) -> Report:
    """Run one seed; `bug` plants a defect for its duration."""
    with bug() if bug is not None else nullcontext():
        return run_virtual(_run(seed))


async def _run(seed: int) -> Report:
    rng = random.Random(seed)
    cluster = Cluster(rng)
    cluster.populate(nodes=rng.randint(3, 5), gpus=rng.randint(3, 4))
    invariants, faults = Invariants(cluster), Faults()
    writes: Counter[str] = Counter()
    pods = rng.randint(10, 25)
    violation: list[str] = []

    def before(action: object) -> None:
        try:
            invariants.before(action)  # type: ignore[arg-type]
        except ViolationError as error:
            violation.append(str(error))
            raise

    others = [
        asyncio.create_task(work) for work in (cluster.scheduler(), cluster.kubelets(), cluster.garbage_collector())
    ]
    foreign = asyncio.create_task(cluster.foreign_allocator())
    users = asyncio.create_task(cluster.users(pods, BUSY_SECONDS))
    operator = Incarnation(cluster, rng, faults, before, writes)
    operator.start()
    loop = asyncio.get_running_loop()
    end, quiet_since, version = loop.time() + BUSY_SECONDS, loop.time(), 0
    resting = False
    while not violation:
        await asyncio.sleep(0.1)
        if operator.crashed.is_set():
            await operator.stop()
            await asyncio.sleep(rng.uniform(0.0, 1.0))
            operator = Incarnation(cluster, rng, faults, before, writes)
            operator.start()
        if not resting and users.done() and loop.time() > end:
            resting = True
            faults.end()
            foreign.cancel()
            for uid in sorted(cluster.foreign):
                cluster.release_foreign(uid)
        if resting:
            cluster.settle()
        if cluster.store.version != version:
            version, quiet_since = cluster.store.version, loop.time()
        if resting and loop.time() - quiet_since > QUIET_SECONDS:
            break
        if loop.time() > end + REST_SECONDS:
            violation.append("the cluster does not come to rest")
    await operator.stop()
    for task in (*others, users, foreign):
        task.cancel()
    await asyncio.gather(*others, users, foreign, return_exceptions=True)
    if not violation:
        try:
            invariants.at_rest()
        except ViolationError as error:
            violation.append(str(error))
    return Report(seed, violation[0] if violation else None, cluster.trouble, writes, _pods(cluster.store))


def _pods(store: Store) -> int:
    return sum(1 for change in store.log if change.type == "ADDED" and isinstance(change.object, Pod))
