"""The main job where resource.k8s.io is served by custom resources, with the stock kube-scheduler: its plugin
DynamicResources on, and off.

The scenarios of every flavour run in this one, too (tests/e2e/suite, flavour crd). Here is what only it has to show.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from typing import Any, Final

import pytest

from dra_operator.api.kinds import CLAIMS, NAMESPACES
from dra_operator.api.meta import ObjectKey
from dra_operator.api.names import ADMIN_ACCESS_LABEL
from dra_operator.cluster.http import ApiError
from dra_operator.sandbox.controlplane import ControlPlane, Options
from dra_operator.sandbox.state import State
from tests.controlplane import running_control_plane
from tests.e2e.conftest import OPERATOR, sandbox
from tests.e2e.stage import Stage, devices_of, stage, until

pytestmark = pytest.mark.cluster

TYPE: Final = "device.attributes['gpu.dra-operator.io'].type"


@pytest.fixture(scope="module")
def plane() -> Iterator[ControlPlane]:
    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        running = running_control_plane(Options(crd=True))
        one = runner.run(running.__aenter__())
        try:
            yield one
        finally:
            runner.run(running.__aexit__(None, None, None))


@pytest.fixture(scope="module")
def cluster(plane: ControlPlane) -> Iterator[State]:
    """Two nodes of two GPUs and the operator in that cluster."""
    config = f"--kubeconfig={plane.kubeconfig()}"
    yield from sandbox("crd", config, "--nodes=2", "--gpus=2", "--profile=l4", *OPERATOR, "--no-manifests")


@pytest.fixture(scope="module", params=["plugin on", "plugin off"])
def scheduler(request: pytest.FixtureRequest, plane: ControlPlane, cluster: State) -> str:
    """kube-scheduler as it is, then without the plugin that knows claims."""
    if request.param == "plugin off":
        config = plane.data / "scheduler.yaml"
        config.write_text(json.dumps(_without_plugin(plane)))
        plane.options = replace(plane.options, scheduler_flags=(f"--config={config}",))
        asyncio.run(plane.restart("kube-scheduler"))
    return str(request.param)


def _without_plugin(plane: ControlPlane) -> dict[str, Any]:
    profile = {
        "schedulerName": "default-scheduler",
        "plugins": {"multiPoint": {"disabled": [{"name": "DynamicResources"}]}},
    }
    return {
        "apiVersion": "kubescheduler.config.k8s.io/v1",
        "kind": "KubeSchedulerConfiguration",
        "clientConnection": {"kubeconfig": str(plane.kubeconfig("kube-scheduler"))},
        "leaderElection": {"leaderElect": False},
        "profiles": [profile],
    }


@pytest.fixture
async def here(cluster: State) -> AsyncIterator[Stage]:
    async with stage(cluster) as one:
        yield one


async def test_pods_get_gpus_and_give_them_back(here: Stage, scheduler: str) -> None:
    await here.template()
    await here.template("either", first_available=(f"{TYPE} == 'none'", f"{TYPE} == 'gpu'"))
    await here.claim("shared")
    one = await here.pod("one", templates=("gpu",))
    other = await here.pod("other", templates=("either",))
    for name in ("a", "b"):
        await here.pod(name, claims=("shared",))
    await here.running("one", "other", "a", "b")
    [generated], [alternative] = await here.claims_of(one), await here.claims_of(other)
    given = [*devices_of(generated), *devices_of(alternative), *await here.devices("shared")]
    assert len(set(given)) == len(given) == 3
    assert alternative.status.allocation is not None
    assert [result.request for result in alternative.status.allocation.devices.results or ()] == ["gpu/a1"]
    assert (await here.get_pod("one")).spec.node_name == devices_of(generated)[0].split("/")[0]
    for name in ("one", "other", "a", "b"):
        await here.delete_pod(name)
    await here.gone(generated.metadata.name)
    await here.gone(alternative.metadata.name)
    await here.free("shared")


async def test_admin_access_is_for_labelled_namespaces(here: Stage, scheduler: str) -> None:
    await here.template(count=2)
    for name in ("a", "b"):
        await here.pod(name, templates=("gpu",))
    await here.running("a", "b")
    with pytest.raises(ApiError, match="admin access to devices requires"):
        await here.claim("watch", admin=True)
    label = {"metadata": {"labels": {ADMIN_ACCESS_LABEL: "true"}}}
    await here.client.patch(NAMESPACES, ObjectKey("", here.namespace), label, patch_type="merge")

    async def admitted() -> bool:
        try:
            await here.claim("watch", admin=True)
        except ApiError:
            return False
        return True

    await until(lambda: "the label is not seen", admitted)
    await here.pod("watcher", claims=("watch",))
    await here.running("watcher")
    assert len(await here.devices("watch")) == 1


async def test_explain_says_why_a_pod_waits(here: Stage, scheduler: str, cluster: State) -> None:
    await here.template(count=2)
    for name in ("a", "b"):
        await here.pod(name, templates=("gpu",))
    await here.running("a", "b")
    await here.pod("waits", templates=("gpu",))
    await here.waits("waits", "DevicesInUse")
    command = [sys.executable, "-m", "dra_operator.cli.main", "explain", "pod/waits", "-n", here.namespace]
    process = await asyncio.create_subprocess_exec(
        *command, f"--kubeconfig={cluster.kubeconfig}", stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    output, _ = await process.communicate()
    assert process.returncode == 1, output.decode()
    assert "too few free devices" in output.decode()
    assert f"held by pod {here.namespace}/" in output.decode()


async def test_what_a_driver_said_about_a_device_goes_with_the_allocation(here: Stage, scheduler: str) -> None:
    claim = await here.claim("shared")
    await here.pod("one", claims=("shared",))
    await here.running("one")
    pool, device = (await here.devices("shared"))[0].split("/")
    said = {"driver": "gpu.dra-operator.io", "pool": pool, "device": device, "conditions": []}
    body = {"apiVersion": CLAIMS.api_version, "kind": CLAIMS.kind, "status": {"devices": [said]}}
    body["metadata"] = {"name": claim.metadata.name}
    await here.client.patch(
        CLAIMS, claim.key, body, patch_type="apply", subresource="status", field_manager="some-driver"
    )
    await here.delete_pod("one")
    await here.free("shared")
    left = await here.find_claim("shared")
    assert left is not None
    assert not left.status.devices
