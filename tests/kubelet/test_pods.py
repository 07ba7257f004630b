"""The user's pods on a real kubelet, from `kubectl apply` to what a program sees in its container, and back.

The operator and the agents run beside the node, as processes: some of these tests kill them.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from dra_operator.api.kinds import PODS
from dra_operator.api.meta import ObjectKey
from tests.kubelet.node import NAME
from tests.kubelet.scene import EXAMPLE, GPU, Scene, example
from tests.kubelet.world import World

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("world")]

_METADATA = "/var/run/kubernetes.io/dra-device-attributes"


@asynccontextmanager
async def running_gpu_pod(scene: Scene, name: str = "runner", command: str = "sleep 3600") -> AsyncIterator[ObjectKey]:
    """A pod with one GPU that runs at the start of the block; gone and unprepared at its end."""
    scene.apply(example("10"), example("11"))
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 0,
            "resourceClaims": [{"name": "gpu", "resourceClaimTemplateName": name}],
            "containers": [
                {
                    "name": "main",
                    "image": "busybox:1.37",
                    "command": ["sh", "-c", command],
                    "resources": {"claims": [{"name": "gpu"}]},
                }
            ],
        },
    }
    template = {
        "apiVersion": "resource.k8s.io/v1",
        "kind": "ResourceClaimTemplate",
        "metadata": {"name": name},
        "spec": {"spec": {"devices": {"requests": [{"name": "gpu", "exactly": {"deviceClassName": GPU}}]}}},
    }
    path = "/apis/resource.k8s.io/v1/namespaces/gpu-examples/resourceclaimtemplates"
    await scene.client.request("POST", path, body=json.dumps(template).encode())
    await scene.client.create(PODS, pod, namespace="gpu-examples")
    key = ObjectKey("gpu-examples", name)
    await scene.phase(key, "Running")
    try:
        yield key
    finally:
        scene.delete("--namespace=gpu-examples", f"pod/{name}", f"resourceclaimtemplate/{name}", "--grace-period=0")
        await scene.gone(key)
        await scene.unprepared(GPU)


async def test_the_users_pod_sees_its_devices_and_gives_them_back(scene: Scene) -> None:
    scene.apply(*(example(number) for number in ("01", "02", "03", "04", "05")))
    pod = ObjectKey("gpu-claim", "pod1")
    await scene.phase(pod, "Running")

    own, shared, also_shared = (scene.env(pod, f"container{index}") for index in range(3))

    assert len(own) == len(shared) == 3, "of one device each: where it is, its UUID, its memory"
    assert shared == also_shared
    assert own.keys().isdisjoint(shared.keys())
    assert "10Gi" in own.values()
    assert "20Gi" in shared.values()
    assert all(any(value.startswith(f"{EXAMPLE}/{NAME}/") for value in env.values()) for env in (own, shared))
    for container, folder, profile in (
        ("container0", "resourceclaimtemplates/gpu-claim-template", "2g.10gb"),
        ("container1", "resourceclaims/gpu-devices", "3g.20gb"),
    ):
        text = scene.run(pod, container, "cat", f"{_METADATA}/{folder}/req-0/{EXAMPLE}-metadata.json")
        (device,) = json.loads(text)["requests"][0]["devices"]
        assert device["attributes"]["profile"] == {"string": profile}
    assert len(scene.specs(EXAMPLE)) == 2

    scene.delete("--namespace=gpu-claim", "pod/pod1", "--grace-period=0", "--force")
    await scene.gone(pod)
    await scene.unprepared(EXAMPLE)


async def test_two_pods_that_share_a_claim_see_the_same_device_until_the_last_has_ended(scene: Scene) -> None:
    scene.apply(example("10"), example("11"), example("19"))
    first, second = (ObjectKey("gpu-examples", f"sharing-{index}") for index in (1, 2))
    await scene.phase(first, "Running")
    await scene.phase(second, "Running")

    assert scene.env(first, "main") == scene.env(second, "main") != {}

    scene.delete("--namespace=gpu-examples", "pod/sharing-1", "--grace-period=0")
    await scene.gone(first)
    assert len(scene.specs(GPU)) == 1
    scene.delete("--namespace=gpu-examples", "pod/sharing-2", "--grace-period=0")
    await scene.gone(second)
    await scene.unprepared(GPU)


async def test_a_pod_that_has_ended_gives_its_device_back(scene: Scene) -> None:
    async with running_gpu_pod(scene, "short", command="sleep 1") as pod:
        await scene.phase(pod, "Succeeded")
        await scene.unprepared(GPU)


async def test_pods_go_on_while_the_agent_is_killed_and_comes_back(scene: Scene, world: World) -> None:
    async with running_gpu_pod(scene) as pod:
        before, env, specs = await scene.container_id(pod), scene.env(pod, "main"), scene.specs(GPU)
        world.agents[GPU].kill()

        await world.start_agent(GPU)

        assert (await scene.container_id(pod), scene.env(pod, "main"), scene.specs(GPU)) == (before, env, specs)
        async with running_gpu_pod_beside(scene) as beside:
            assert scene.env(beside, "main").keys().isdisjoint(env.keys())


@asynccontextmanager
async def running_gpu_pod_beside(scene: Scene) -> AsyncIterator[ObjectKey]:
    """A second pod with a GPU; its end does not wait for the first one's."""
    name = "beside"
    scene.cluster.plane.kubectl(
        "run",
        name,
        "--namespace=gpu-examples",
        "--image=busybox:1.37",
        "--restart=Never",
        "--overrides="
        + json.dumps(
            {
                "spec": {
                    "terminationGracePeriodSeconds": 0,
                    "resourceClaims": [{"name": "gpu", "resourceClaimTemplateName": "runner"}],
                    "containers": [
                        {
                            "name": "main",
                            "image": "busybox:1.37",
                            "command": ["sleep", "3600"],
                            "resources": {"claims": [{"name": "gpu"}]},
                        }
                    ],
                }
            }
        ),
    )
    key = ObjectKey("gpu-examples", name)
    await scene.phase(key, "Running")
    try:
        yield key
    finally:
        scene.delete("--namespace=gpu-examples", f"pod/{name}", "--grace-period=0")
        await scene.gone(key)


async def test_a_kubelet_that_starts_anew_finds_the_plugins_and_their_slices_are_back(
    scene: Scene, world: World
) -> None:
    async with running_gpu_pod(scene) as pod:
        before = await scene.container_id(pod)
        counts = {driver: world.registrations(driver) for driver in (EXAMPLE, GPU)}

        await world.node.restart_kubelet()

        for driver, count in counts.items():
            await world.registered(driver, count + 1)
        assert await scene.container_id(pod) == before
        async with running_gpu_pod_beside(scene):
            pass


async def test_the_health_of_its_device_is_in_the_pods_status(scene: Scene, world: World) -> None:
    async with running_gpu_pod(scene) as pod:
        await scene.says_health(pod, ("Healthy", ""))
        (device,) = [value for name, value in scene.env(pod, "main").items() if value.startswith(GPU)]
        world.control.write_text(f"devices: {{{device.rpartition('/')[2]}: {{eccUncorrectable: 2}}}}")
        try:
            message = "2 uncorrectable ECC errors since the driver was loaded"
            await scene.says_health(pod, ("Unhealthy", message))
        finally:
            world.control.unlink()
