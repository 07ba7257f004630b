"""A node is cordoned after its devices were given to a pod and before kube-scheduler binds it."""

from __future__ import annotations

from pathlib import Path

from dra_operator.cluster.kubeconfig import find_credentials
from dra_operator.sandbox.state import State
from tests.e2e.nodes import cordoned
from tests.e2e.operators import FLAGS, leading, operator
from tests.e2e.proxy import HoldingProxy
from tests.e2e.stage import Stage, devices_of


async def test_a_node_cordoned_between_decision_and_binding_keeps_the_allocation(
    bare: State, there: Stage, tmp_path: Path
) -> None:
    """The ungating is held back until kube-scheduler has seen the cordon: which of the two it hears first is chance."""
    await there.template()
    ungating = f"PATCH /api/v1/namespaces/{there.namespace}/pods/one"
    target = find_credentials(bare.operator_kubeconfig)
    async with HoldingProxy(target, lambda write: write == ungating) as proxy:
        kubeconfig = proxy.write_kubeconfig(tmp_path / "held.kubeconfig")
        async with operator(kubeconfig, tmp_path / "held.log", (*FLAGS, "--repack-after=1")) as process:
            await leading(process)
            pod = await there.pod("one", templates=("gpu",))
            await proxy.held.wait()
            [claim] = await there.claims_of(pod)
            devices = devices_of(claim)
            node = devices[0].split("/")[0]
            try:
                async with cordoned(there, node):
                    proxy.release.set()
                    await there.waits("one", "UnschedulableAfterPin")
                    [kept] = await there.claims_of(pod)
                    assert devices_of(kept) == devices
                    assert kept.reserved_for(pod.uid)
            finally:
                proxy.release.set()
            await there.running("one")
            [used] = await there.claims_of(pod)
            assert devices_of(used) == devices
            assert used.status.allocation == kept.status.allocation
