"""Who generates claims from templates: kube-controller-manager's resourceclaim-controller beside us, or we alone.

Whatever the mode, a pod ends up with one claim, and nobody undoes what the other did: the writes that one pod costs are
counted at the API server, whoever sends them, and something that rests is not written to.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from datetime import datetime
from pathlib import Path

import pytest

from dra_operator.api.kinds import PODS
from dra_operator.api.meta import Object
from dra_operator.api.resource import ResourceClaim
from dra_operator.cluster.http import ApiClient
from dra_operator.lifecycle.turns import MISSES, SILENCE
from dra_operator.sandbox.state import State
from tests.e2e.conftest import sandbox
from tests.e2e.operators import leading, operator
from tests.e2e.stage import Stage, stage, until

QUIET = ("--no-leader-elect", "--log-format=json")
PODS_IN_TURN = 3
WRITES_A_POD = 25
"""To claims, by everybody. Measured 8 to 10, and 12 to 15 where both generate; a fight would have no bound."""


@pytest.fixture(scope="module")
def stock() -> Iterator[State]:
    """A cluster whose kube-controller-manager generates and collects claims."""
    yield from sandbox("stock", "--nodes=2", "--gpus=2", "--profile=l4", "--resourceclaim-controller")


@pytest.fixture
async def beside(stock: State) -> AsyncIterator[Stage]:
    """A namespace of the test's own there. Its generator works: without an operator, a pod has got its claim."""
    async with stage(stock) as one:
        await one.template()
        pod = await one.pod("first", templates=("gpu",))

        async def generated() -> bool:
            return bool(await one.claims_of(pod))

        await until(lambda: "kube-controller-manager does not generate", generated)
        yield one


async def claim_writes(client: ApiClient) -> int:
    """How many writes to claims the API server has answered so far, whatever the answer was."""
    text = (await client.request("GET", "/metrics")).body.decode()
    counts = re.findall(r"^apiserver_request_total\{(.*)\} (\d+)$", text, re.MULTILINE)
    return sum(
        int(count)
        for labels, count in counts
        if 'resource="resourceclaims"' in labels and re.search('verb="(POST|PUT|PATCH|DELETE|APPLY)"', labels)
    )


async def only_claim(here: Stage, name: str) -> ResourceClaim:
    [claim] = await here.claims_of(await here.get_pod(name))
    return claim


async def life(here: Stage, name: str) -> ResourceClaim:
    """A pod runs with one claim, ends, and the claim goes."""
    await here.pod(name, templates=("gpu",))
    await here.running(name)
    claim = await only_claim(here, name)
    assert claim.status.allocation is not None
    await here.delete_pod(name)
    await here.gone(claim.metadata.name)
    return claim


def made_by_stock(claim: ResourceClaim) -> bool:
    """It lets the API server invent the end of the name; we do not."""
    return bool(claim.metadata.generate_name)


def seconds_between(earlier: Object, later: Object) -> float:
    """By the API server's clock, in whole seconds."""
    first, second = (datetime.fromisoformat(one.metadata.creation_timestamp or "") for one in (earlier, later))
    return (second - first).total_seconds()


@pytest.mark.parametrize("mode", ["adopt", "generate", "auto"])
async def test_beside_kube_controller_manager_nobody_fights(
    stock: State, beside: Stage, tmp_path: Path, mode: str
) -> None:
    async with operator(stock.operator_kubeconfig, tmp_path / "log", (*QUIET, f"--claims={mode}")) as process:
        await leading(process)
        await beside.running("first")
        resting = await only_claim(beside, "first")
        pod = await beside.get_pod("first")

        before = await claim_writes(beside.client)
        lives = [await life(beside, f"pod-{number}") for number in range(PODS_IN_TURN)]

        assert await claim_writes(beside.client) - before <= PODS_IN_TURN * WRITES_A_POD
        if mode == "adopt":
            assert all(made_by_stock(claim) for claim in lives)
        if mode == "auto":  # on a busy machine one may come late; from one that came in time on, there is patience
            assert sum(not made_by_stock(claim) for claim in lives) <= 1
        assert (await only_claim(beside, "first")).metadata.resource_version == resting.metadata.resource_version
        assert (await beside.get_pod("first")).metadata.resource_version == pod.metadata.resource_version


async def test_many_pods_at_once_get_one_claim_each_though_two_generate(
    stock: State, beside: Stage, tmp_path: Path
) -> None:
    names = [f"pod-{number:02}" for number in range(12)]
    async with operator(stock.operator_kubeconfig, tmp_path / "log", (*QUIET, "--claims=generate")) as process:
        await leading(process)
        await beside.delete_pod("first")
        await asyncio.gather(*(beside.pod(name, templates=("gpu",), run_for=0.2) for name in names))
        await asyncio.gather(*(beside.succeeded(name, 60.0) for name in names))

        async def none() -> bool:
            return not await beside.claims()

        await until(lambda: "claims are left over", none)


async def test_auto_finds_out_that_nobody_else_generates(bare: State, there: Stage, tmp_path: Path) -> None:
    await there.template()
    names = [f"early-{number}" for number in range(MISSES)]
    async with operator(bare.operator_kubeconfig, tmp_path / "log", (*QUIET, "--claims=auto")) as process:
        await leading(process)
        await asyncio.gather(*(there.pod(name, templates=("gpu",)) for name in names))
        await there.running(*names)
        late = await there.pod("late", templates=("gpu",))
        await there.running("late")

        pods, _ = await there.client.list_objects(PODS, namespace=there.namespace)
        waits = {pod.metadata.name: seconds_between(pod, await only_claim(there, pod.metadata.name)) for pod in pods}
        assert min(waits[name] for name in names) >= SILENCE - 1
        assert waits["late"] < SILENCE - 1, late
