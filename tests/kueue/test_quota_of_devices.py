"""Kueue's own quota of devices, by DeviceClass: it reads what pods ask for from their templates, we give it out."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from dra_operator.sandbox.state import State
from tests.e2e.stage import CLASS, Stage, make_class
from tests.kueue.manager import kueue
from tests.kueue.queue import Queue


@pytest.fixture(scope="module")
def manager(cluster: State, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with kueue(cluster, tmp_path_factory.mktemp("kueue"), classes={"gpus": [CLASS]}):
        yield


@pytest.fixture
async def queue(manager: None, here: Stage) -> AsyncIterator[Queue]:
    await here.template()
    one = Queue.of(here)
    yield one
    one.end_jobs()


async def test_pods_that_kueue_counts_run_as_far_as_the_quota_goes(queue: Queue) -> None:
    queue.set_quota(cpu="9", gpus="2")
    for name in ("a", "b", "c"):
        await queue.pod(name)
        if name != "c":
            await queue.stage.running(name)
    await queue.stage.waits("c", "WaitingForOtherGates")
    await queue.uses(cpu="2", gpus="2")

    await queue.stage.delete_pod("a")
    await queue.stage.running("c")
    await queue.uses(cpu="2", gpus="2")
    for name in ("b", "c"):
        await queue.stage.delete_pod(name)
    await queue.uses(cpu="0", gpus="0")


async def test_every_device_of_every_pod_of_a_job_counts(queue: Queue) -> None:
    await queue.stage.template("pair", count=2)
    queue.set_quota(cpu="9", gpus="4")
    queue.job("pairs", template="pair", pods=2)
    await queue.running_pods("pairs", 2)
    await queue.uses(cpu="2", gpus="4")
    held = [claim for claim in await queue.stage.claims() if claim.status.allocation is not None]
    assert sum(len(claim.status.allocation.devices.results or ()) for claim in held if claim.status.allocation) == 4


async def test_kueue_admits_no_pod_whose_claims_it_cannot_count(queue: Queue) -> None:
    """It says so in its Workload. The pod keeps both gates, and is told to wait for Kueue's."""
    queue.set_quota(cpu="9", gpus="4")
    await make_class(queue.stage.client, "uncounted.e2e")
    await queue.stage.template("uncounted", class_name="uncounted.e2e")
    await queue.stage.template("either", first_available=("true", "true"))
    await queue.stage.claim("mine")
    await queue.pod("uncounted", templates=("uncounted",))
    await queue.pod("either", templates=("either",))
    await queue.pod("own", templates=(), claims=("mine",))

    await queue.refuses("uncounted", "not mapped")
    await queue.refuses("either", "FirstAvailable")
    await queue.refuses("own", "does not support use of resource claims")
    for name in ("uncounted", "either", "own"):
        await queue.stage.waits(name, "WaitingForOtherGates")
    assert [claim.metadata.name for claim in await queue.stage.claims() if claim.status.allocation] == []
