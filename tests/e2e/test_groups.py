"""Pods of a PodGroup: kube-scheduler places all of a group at once, and allocates their claims itself.

The group's API and its claims are off by default in 1.37; here they are on, beside kube-controller-manager's
resourceclaim-controller, which alone generates the claims that a group shares.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any, Final

import pytest

from dra_operator.sandbox.controlplane import Options
from dra_operator.sandbox.state import State
from tests.controlplane import running_control_plane
from tests.e2e.conftest import OPERATOR, sandbox
from tests.e2e.stage import Stage, devices_of, stage, until

API: Final = "scheduling.k8s.io/v1beta1"
_GATES: Final = "--feature-gates=GenericWorkload=true,DRAWorkloadResourceClaims=true"
OPTIONS: Final = Options(
    resourceclaim_controller=True,
    api_server_flags=(_GATES, f"--runtime-config={API}=true"),
    controller_manager_flags=(_GATES,),
    scheduler_flags=(_GATES,),
)


@pytest.fixture(scope="module")
def cluster() -> Iterator[State]:
    """Two nodes of two GPUs, and an operator that does not wait for others to generate claims."""
    flags = (*OPERATOR, "--operator-flag=--claims=generate")
    running = running_control_plane(OPTIONS)
    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        plane = runner.run(running.__aenter__())
        config = f"--kubeconfig={plane.kubeconfig()}"
        try:
            yield from sandbox("groups", config, "--nodes=2", "--gpus=2", "--profile=l4", "--no-manifests", *flags)
        finally:
            runner.run(running.__aexit__(None, None, None))


@pytest.fixture
async def here(cluster: State) -> AsyncIterator[Stage]:
    async with stage(cluster) as one:
        yield one


def groups(here: Stage) -> str:
    return f"/apis/{API}/namespaces/{here.namespace}/podgroups"


async def group(here: Stage, name: str, *, pods: int = 1, shares: dict[str, str] | None = None) -> None:
    """A PodGroup of which so many pods are placed at once or none. `shares`: templates by the name of the claim."""
    claims = [{"name": one, "resourceClaimTemplateName": template} for one, template in (shares or {}).items()]
    body = {
        "apiVersion": API,
        "kind": "PodGroup",
        "metadata": {"name": name},
        "spec": {"schedulingPolicy": {"gang": {"minCount": pods}}, "resourceClaims": claims},
    }
    await here.client.request("POST", groups(here), body=json.dumps(body).encode())


async def test_pods_of_a_group_run_together_with_claims_of_their_own(here: Stage) -> None:
    await here.template()
    await group(here, "gang", pods=3)
    names = ("a", "b", "c")
    member: dict[str, Any] = {"schedulingGroup": {"podGroupName": "gang"}}
    for name in names[:2]:
        await here.pod(name, templates=("gpu",), **member)
    await here.pod("alone", templates=("gpu",))
    await here.running("alone")
    assert not any([(await here.get_pod(name)).spec.node_name for name in names[:2]])
    await here.pod("c", templates=("gpu",), **member)
    await here.running(*names)
    held = [device for claim in await here.claims() for device in devices_of(claim)]
    assert len(held) == len(set(held)) == 4


async def test_pods_of_a_group_share_its_claim_and_get_none_of_their_own(here: Stage) -> None:
    await here.template()
    await group(here, "gang", pods=2, shares={"t0": "gpu"})
    shared = await claim_of(here, "gang")
    member: dict[str, Any] = {"schedulingGroup": {"podGroupName": "gang"}}
    for name in ("a", "b"):
        await here.pod(name, templates=("gpu",), **member)
    await here.running("a", "b")
    await here.pod("alone", templates=("gpu",))
    await here.running("alone")

    found = {claim.metadata.name: claim for claim in await here.claims()}
    [own] = await here.claims_of(await here.get_pod("alone"))
    assert set(found) == {shared, own.metadata.name}
    assert [user.resource for user in found[shared].status.reserved_for or ()] == ["podgroups"]

    for name in ("a", "b"):
        await here.delete_pod(name)
        await here.pod_gone(name)
    assert (await here.devices(shared)) != []
    await here.client.request("DELETE", f"{groups(here)}/gang")
    await here.gone(shared)


async def claim_of(here: Stage, group: str) -> str:
    """The name of the claim that was generated for the PodGroup."""
    found: list[str] = []

    async def there() -> bool:
        owners = {one.metadata.name: one.metadata.controller for one in await here.claims()}
        found[:] = [name for name, owner in owners.items() if owner is not None and owner.name == group]
        return bool(found)

    await until(lambda: f"no claim has been generated for PodGroup {group}", there)
    return found[0]
