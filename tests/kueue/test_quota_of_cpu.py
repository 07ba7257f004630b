"""Kueue has a quota of CPU and knows nothing of devices; the operator gives out devices and knows nothing of quota.

Kueue's own rules for devices are off: with them on it admits no pod whose DeviceClasses it was not told to count.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from dra_operator.api.kinds import PODS
from dra_operator.api.names import GATE as OURS
from dra_operator.sandbox.state import State
from tests.e2e.stage import Stage, until
from tests.kueue.manager import kueue
from tests.kueue.queue import GATES, Queue

OFF = {
    "KueueDRAIntegration": False,
    "KueueDRAIntegrationExtendedResource": False,
    "KueueDRAIntegrationPartitionableDevices": False,
    "KueueDRARejectWorkloadsWhenDRADisabled": False,
}


@pytest.fixture(scope="module")
def manager(cluster: State, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with kueue(cluster, tmp_path_factory.mktemp("kueue"), gates=OFF):
        yield


@pytest.fixture
async def queue(manager: None, here: Stage) -> AsyncIterator[Queue]:
    await here.template()
    one = Queue.of(here)
    yield one
    one.end_jobs()


async def test_a_pod_that_kueue_gates_holds_nothing_and_runs_when_there_is_quota(queue: Queue) -> None:
    queue.set_quota(cpu="0")
    pod = await queue.pod("one")
    assert {gate.name for gate in pod.spec.scheduling_gates or ()} == {*GATES, OURS}
    said = await queue.stage.waits("one", "WaitingForOtherGates")
    assert all(gate in said for gate in GATES)
    [claim] = await queue.stage.claims_of(pod)
    assert claim.status.allocation is None

    queue.set_quota(cpu="1")
    await queue.stage.running("one")
    [claim] = await queue.stage.claims_of(pod)
    assert claim.reserved_for(pod.uid)
    await queue.uses(cpu="1")


async def test_devices_are_chosen_where_kueue_lets_the_pod_go(queue: Queue) -> None:
    """Kueue writes the flavor's labels into the pod when it admits it, before we decide."""
    assert queue.stage.state is not None
    last = queue.stage.state.nodes[-1]
    queue.set_quota(labels={"kubernetes.io/hostname": last}, cpu="2")
    for name in ("one", "two"):
        await queue.pod(name)
    await queue.stage.running("one", "two")
    assert {(await queue.stage.get_pod(name)).spec.node_name for name in ("one", "two")} == {last}


async def test_a_job_that_kueue_suspends_has_no_pods_and_runs_when_there_is_quota(queue: Queue) -> None:
    queue.set_quota(cpu="0")
    queue.job("training", pods=2, run_for=0.5)
    await queue.workload("training")
    assert (await queue.stage.client.list_objects(PODS, namespace=queue.stage.namespace))[0] == []

    queue.set_quota(cpu="2")
    await queue.finished("training")
    assert await no_claims(queue)
    await queue.uses(cpu="0")


async def test_pods_that_kueue_admits_together_run_together(queue: Queue) -> None:
    queue.set_quota(cpu="2")
    names = ("a", "b", "c")
    for name in names[:2]:
        await queue.pod(name, group="together", of=3)
        await queue.stage.waits(name, "WaitingForOtherGates")
    await queue.pod("c", group="together", of=3)
    await queue.stage.waits("c", "WaitingForOtherGates")
    assert all(claim.status.allocation is None for claim in await queue.stage.claims())

    queue.set_quota(cpu="3")
    await queue.stage.running(*names)
    await queue.uses(cpu="3")


async def test_who_is_preempted_gives_its_devices_back(queue: Queue) -> None:
    queue.priority("low", 1)
    queue.priority("high", 100)
    queue.set_quota(cpu="4")
    low = [await queue.pod(f"low-{number}", priority="low") for number in range(4)]
    await queue.stage.running(*(one.metadata.name for one in low))

    high = await queue.pod("high", cpu="2", priority="high")
    await queue.stage.running("high")
    left = [
        one for one in (await queue.stage.client.list_objects(PODS, namespace=queue.stage.namespace))[0] if not one.done
    ]
    assert len(left) == 3
    [claim] = await queue.stage.claims_of(high)
    assert claim.reserved_for(high.uid)
    await queue.uses(cpu="4")


async def test_a_job_that_is_preempted_gives_its_devices_back_and_runs_again_later(queue: Queue) -> None:
    queue.priority("low", 1)
    queue.priority("high", 100)
    queue.set_quota(cpu="4")
    queue.job("low", pods=4, priority="low")
    await queue.uses(cpu="4")
    await queue.running_pods("low", 4)

    queue.job("high", pods=3, run_for=1.0, priority="high")
    await queue.finished("high")
    await queue.running_pods("low", 4)
    assert len([one for one in await queue.stage.claims() if one.status.allocation is not None]) == 4


async def test_pods_that_are_taken_out_of_the_queue_leave_no_claim(queue: Queue) -> None:
    queue.set_quota(cpu="1")
    await queue.pod("runs")
    await queue.pod("waits")
    await queue.stage.running("runs")
    await queue.stage.waits("waits", "WaitingForOtherGates")

    await queue.stage.delete_pod("waits")
    await queue.stage.pod_gone("waits")
    await queue.deactivate("runs")
    await queue.stage.pod_gone("runs")
    assert await no_claims(queue)


async def test_a_pod_that_kueue_admits_waits_for_devices_and_uses_quota_meanwhile(queue: Queue) -> None:
    queue.set_quota(cpu="8")
    names = [f"pod-{number}" for number in range(4)]
    for name in names:
        await queue.pod(name)
    await queue.stage.running(*names)
    await queue.pod("late")
    await queue.stage.waits("late", "DevicesInUse")
    await queue.uses(cpu="5")
    await queue.stage.delete_pod(names[0])
    await queue.stage.running("late")


async def no_claims(queue: Queue) -> bool:
    async def there() -> bool:
        return not await queue.stage.claims()

    await until(lambda: "claims are left", there)
    return True
