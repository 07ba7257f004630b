"""The operator dies at its N-th write, for every N that a pod with two claims needs: nothing is lost or doubled."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from dra_operator.api.core import Pod
from dra_operator.cluster.kubeconfig import find_credentials
from dra_operator.sandbox.processes import Process
from dra_operator.sandbox.state import State
from tests.e2e.operators import launch, leading
from tests.e2e.proxy import KillingProxy
from tests.e2e.stage import Stage, devices_of, until

MOST_WRITES = 40


async def test_killed_at_any_write_and_started_again(bare: State, there: Stage, tmp_path: Path) -> None:
    """Each operator puts right what the one before it has left, and dies one write later than that."""
    await there.template()
    await there.claim("shared")
    killed_at: list[str] = []
    pod: Pod | None = None
    for number in range(1, MOST_WRITES):
        async with mortal(bare, tmp_path / str(number)) as proxy:
            if pod is not None:
                await has_all_it_needs(there, pod, killed_at[-1])
                await leave(there, pod)
            proxy.arm(number, after=number % 2 == 1)
            pod = await there.pod(f"pod-{number}", templates=("gpu",), claims=("shared",))
            if not await dies(proxy, there, pod):
                await has_all_it_needs(there, pod, "nothing")
                break
            killed_at.append(proxy.killed_at)
    else:
        raise AssertionError(f"a pod takes more than {MOST_WRITES} writes")
    verbs = [write.split()[0] for write in killed_at]
    assert len(killed_at) >= 6, killed_at  # create, finalizer, two allocations, publish, ungate
    assert "POST" in verbs
    assert "PATCH" in verbs


@asynccontextmanager
async def mortal(bare: State, place: Path) -> AsyncIterator[KillingProxy]:
    """An operator that leads, behind a proxy that can end it."""
    processes: list[Process] = []
    async with KillingProxy(find_credentials(bare.operator_kubeconfig), lambda: processes[0].kill()) as proxy:
        kubeconfig = proxy.write_kubeconfig(place.with_suffix(".kubeconfig"))
        processes.append(launch(kubeconfig, place.with_suffix(".log")))
        try:
            await leading(processes[0])
            yield proxy
        finally:
            await processes[0].stop()


async def dies(proxy: KillingProxy, there: Stage, pod: Pod) -> bool:
    """Whether the operator came to the write at which it is ended; otherwise the pod runs."""

    async def killed_or_running() -> bool:
        return proxy.killed.is_set() or (await there.get_pod(pod.metadata.name)).status.phase == "Running"

    await until(lambda: f"that write never came, and the pod does not run: {proxy.writes}", killed_or_running)
    return proxy.killed.is_set()


async def has_all_it_needs(there: Stage, pod: Pod, write: str) -> None:
    await there.running(pod.metadata.name)
    claims = await there.claims_of(pod)
    assert len(claims) == 1, f"one claim after a crash at {write}"
    assert len(devices_of(claims[0])) == 1
    assert claims[0].reserved_for(pod.uid)
    assert set(devices_of(claims[0])).isdisjoint(await there.devices("shared"))


async def leave(there: Stage, pod: Pod) -> None:
    [claim] = await there.claims_of(pod)
    await there.delete_pod(pod.metadata.name, force=True)
    await there.gone(claim.metadata.name)
    await there.free("shared")
