"""The operator dies at its N-th write, for every N that a pod with two claims needs: nothing is lost or doubled."""

from __future__ import annotations

from pathlib import Path

from dra_operator.cluster.kubeconfig import find_credentials
from dra_operator.sandbox.processes import Process
from dra_operator.sandbox.state import State
from tests.e2e.operators import launch, leading, operator
from tests.e2e.proxy import KillingProxy
from tests.e2e.stage import Stage, devices_of, until

MOST_WRITES = 40


async def test_killed_at_any_write_and_started_again(bare: State, there: Stage, tmp_path: Path) -> None:
    await there.template()
    await there.claim("shared")
    killed_at: list[str] = []
    for number in range(1, MOST_WRITES):
        writes = await _one_life(bare, there, tmp_path, number, after=number % 2 == 1)
        if writes is None:
            break
        killed_at.append(writes)
    else:
        raise AssertionError(f"a pod takes more than {MOST_WRITES} writes")
    verbs = [write.split()[0] for write in killed_at]
    assert len(killed_at) >= 6, killed_at  # create, finalizer, two allocations, publish, ungate
    assert "POST" in verbs
    assert "PATCH" in verbs


async def _one_life(bare: State, there: Stage, folder: Path, number: int, *, after: bool) -> str | None:
    """Kill the operator at its write `number`; returns which that was, or None if it never got there."""
    name = f"pod-{number}"
    processes: list[Process] = []
    target = find_credentials(bare.operator_kubeconfig)
    async with KillingProxy(target, lambda: processes[0].kill(), number, after=after) as proxy:
        processes.append(launch(proxy.write_kubeconfig(folder / f"{number}.kubeconfig"), folder / f"{number}.log"))
        try:
            await leading(processes[0])
            pod = await there.pod(name, templates=("gpu",), claims=("shared",))

            async def killed_or_running() -> bool:
                return proxy.killed.is_set() or (await there.get_pod(name)).status.phase == "Running"

            await until(
                lambda: f"write {number} never came, and the pod does not run: {proxy.writes}", killed_or_running
            )
        finally:
            await processes[0].stop()
        reached = proxy.killed.is_set()
        write = proxy.writes[number - 1] if reached else ""
    async with operator(bare.operator_kubeconfig, folder / f"{number}-again.log") as again:
        await leading(again)
        await there.running(name)
        claims = await there.claims_of(pod)
        assert len(claims) == 1, f"one claim after a crash at {write}"
        assert len(devices_of(claims[0])) == 1
        assert claims[0].reserved_for(pod.uid)
        assert set(devices_of(claims[0])).isdisjoint(await there.devices("shared"))
        await there.delete_pod(name, force=True)
        await there.gone(claims[0].metadata.name)
        await there.free("shared")
    return write if reached else None
