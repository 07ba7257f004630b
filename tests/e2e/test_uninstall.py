"""Uninstalling what manifests/ installed: running pods run on, waiting ones are the stock programs'."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys

import pytest

from dra_operator.api.kinds import CLAIMS, PODS, SLICES
from dra_operator.api.names import DEVICES_ALLOCATED, GATE
from tests.e2e.stage import new_stage, until
from tests.e2e.suite.flavours import Flavour
from tests.e2e.suite.ground import Ground, installed

pytestmark = pytest.mark.cluster

STOCK = Flavour("uninstall", flags=("--claims=adopt",), stock_generator=True)
"""With upstream's resourceclaim-controller: it has to carry on alone."""
PART_OF = "app.kubernetes.io/part-of=dra-operator"


async def run(ground: Ground, *arguments: str) -> subprocess.CompletedProcess[str]:
    kubeconfig = ground.plane.kubeconfig()
    command = [sys.executable, "-m", "dra_operator.cli.main", "uninstall", f"--kubeconfig={kubeconfig}", *arguments]
    done = await asyncio.to_thread(
        subprocess.run, command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
    )
    assert "Traceback" not in done.stderr
    return done


async def left(ground: Ground) -> list[str]:
    """Objects of any kind that carry our label, but for those that go with another one of them."""
    names = (await asyncio.to_thread(ground.plane.kubectl, "api-resources", "--verbs=list,delete", "-o=name")).stdout
    kinds = ",".join(names.split())
    answer = await asyncio.to_thread(ground.plane.kubectl, "get", kinds, "-A", "-l", PART_OF, "-o", "json")
    items = json.loads(answer.stdout)["items"]
    return [f"{one['kind']}/{one['metadata']['name']}" for one in items if "ownerReferences" not in one["metadata"]]


async def test_running_pods_keep_their_devices_and_waiting_ones_are_scheduled_by_stock() -> None:
    async with installed(STOCK) as ground:
        nodes = asyncio.create_task(kubelets(ground))
        here = await new_stage(ground.admin)

        async def has_account() -> bool:
            return bool(await asyncio.to_thread(_account, ground, here.namespace))

        await until(lambda: "the namespace has no account", has_account)
        await here.template()
        running, waiting = [f"runs-{i}" for i in range(4)], ["waits-0", "waits-1"]
        for name in running:
            await here.pod(name, templates=("gpu",))
        await here.running(*running)
        for name in waiting:
            await here.pod(name, templates=("gpu",))
            await here.waits(name, "DevicesInUse")
        before = {one.metadata.name: one for one in await here.claims() if one.status.allocation is not None}

        asked = await run(ground)
        assert (asked.returncode, asked.stdout) == (2, "")
        dry = await run(ground, "--dry-run")
        assert dry.returncode == 0
        assert f"take our gate off Pod {here.namespace}/waits-0" in dry.stdout
        assert (await here.get_pod("waits-0")).has_gate(GATE)

        done = await run(ground, "--yes")
        assert done.returncode == 0, done.stderr
        assert "note: the node agents stay (claims that hold devices of theirs: 4," in done.stderr
        assert all("agent" in one or one == "Namespace/dra-operator" for one in await left(ground))

        for name in running:
            pod = await here.get_pod(name)
            assert pod.status.phase == "Running"
            assert pod.condition(DEVICES_ALLOCATED) is None
        after = {one.metadata.name: one for one in await here.claims()}
        for name, claim in before.items():
            assert after[name].status.allocation == claim.status.allocation
            assert after[name].status.reserved_for == claim.status.reserved_for

        for name in running[:2]:
            await here.delete_pod(name, force=True)
        await here.running(*waiting)

        for name in (*running[2:], *waiting):
            await here.delete_pod(name, force=True)

        async def freed() -> bool:
            return not await here.claims()

        await until(lambda: "claims are left", freed)
        again = await run(ground, "--yes")
        nodes.cancel()
        assert (again.returncode, again.stderr) == (0, ""), again.stderr
        assert await left(ground) == []
        assert (await ground.admin.list_objects(SLICES))[0] == []
        assert (await ground.admin.list_objects(CLAIMS))[0] == []
        assert not [one for one in (await ground.admin.list_objects(PODS))[0] if one.has_gate(GATE)]
        nothing = await run(ground, "--yes")
        assert nothing.stdout.startswith("nothing of the operator is left in https://127.0.0.1:")


async def kubelets(ground: Ground) -> None:
    """What kubelets do: a program is told to end when its pod is deleted."""
    while True:
        for component, replicas in (("controller", ground.controllers), ("agent", ground.agents)):
            there = await ground.pods_of(component)
            for one in replicas.values():
                if one.pod not in there and one.process.alive:
                    await one.process.stop()
        await asyncio.sleep(0.05)


def _account(ground: Ground, namespace: str) -> str:
    answer = ground.plane.kubectl("get", "serviceaccounts", f"--namespace={namespace}", "-o=name")
    return answer.stdout.strip()
