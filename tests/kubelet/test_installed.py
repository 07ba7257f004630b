"""The image and `manifests/` on a real node: as pods, the operator and the agent do what they are there for."""

from __future__ import annotations

import json
from typing import Any

import pytest

from dra_operator.api.meta import ObjectKey
from tests.kubelet.installed import NAMESPACE, rolled_out
from tests.kubelet.node import NAME
from tests.kubelet.scene import EXAMPLE, Scene, example

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("installed")]

_LOOK = """
import os, pathlib, sys
status = dict(line.split(":\\t", 1) for line in pathlib.Path("/proc/self/status").read_text().splitlines())
try:
    pathlib.Path("/written").touch()
    read_only = False
except OSError:
    read_only = True
print(os.getuid(), int(status["CapEff"], 16), status["NoNewPrivs"], status["Seccomp"], read_only, *sys.version_info[:2])
"""
"""Who a program of the container is, and what it may."""


def pods(scene: Scene, component: str) -> list[dict[str, Any]]:
    selector = f"app.kubernetes.io/component={component}"
    answer = scene.cluster.plane.kubectl("get", "pods", f"--namespace={NAMESPACE}", f"--selector={selector}", "-ojson")
    found: list[dict[str, Any]] = json.loads(answer.stdout)["items"]
    return found


def look(scene: Scene, pod: dict[str, Any], container: str) -> list[str]:
    key = ObjectKey(NAMESPACE, pod["metadata"]["name"])
    return scene.run(key, container, "python3", "-c", _LOOK).split()


async def test_every_pod_is_ready_and_none_had_to_be_started_again(scene: Scene) -> None:
    controllers, agents = pods(scene, "controller"), pods(scene, "agent")
    assert (len(controllers), len(agents)) == (2, 1)
    for pod in controllers + agents:
        (status,) = pod["status"]["containerStatuses"]
        assert (status["ready"], status["restartCount"]) == (True, 0)


async def test_the_controller_runs_without_any_right_on_its_node(scene: Scene) -> None:
    for pod in pods(scene, "controller"):
        uid, capabilities, no_new_privileges, seccomp, read_only, *version = look(scene, pod, "controller")
        assert uid == "65532"
        assert (capabilities, no_new_privileges) == ("0", "1")
        assert seccomp == "2", "a filter"
        assert read_only == "True"
        assert tuple(map(int, version)) >= (3, 11)


async def test_the_agent_is_root_on_a_root_that_it_cannot_write(scene: Scene) -> None:
    (pod,) = pods(scene, "agent")
    uid, _, _, _, read_only, *_ = look(scene, pod, "agent")
    assert (uid, read_only) == ("0", "True")


async def test_the_users_pod_sees_its_devices_and_another_replica_takes_over(scene: Scene) -> None:
    scene.apply(*(example(number) for number in ("01", "02", "03", "04", "05")))
    pod = ObjectKey("gpu-claim", "pod1")
    await scene.phase(pod, "Running")

    own, shared, also_shared = (scene.env(pod, f"container{index}") for index in range(3))
    assert len(own) == len(shared) == 2, "of one device each: where it is, and its memory"
    assert shared == also_shared
    assert own.keys().isdisjoint(shared.keys())
    assert any(value.startswith(f"{EXAMPLE}/{NAME}/") for value in own.values())
    assert "10Gi" in own.values()
    assert "20Gi" in shared.values()

    lease = scene.cluster.plane.kubectl("get", "lease", "dra-operator", f"--namespace={NAMESPACE}", "-ojson").stdout
    leader = json.loads(lease)["spec"]["holderIdentity"]
    (name,) = [one["metadata"]["name"] for one in pods(scene, "controller") if one["metadata"]["name"] in leader]
    scene.cluster.plane.kubectl("delete", "pod", name, f"--namespace={NAMESPACE}", "--wait=false")
    scene.delete("--namespace=gpu-claim", "pod/pod1", "--grace-period=0", "--force")
    await scene.gone(pod)
    await scene.unprepared(EXAMPLE)
    scene.apply(example("05"))
    await scene.phase(pod, "Running")
    await rolled_out(scene.cluster, "deployment/dra-operator")

    scene.delete("--namespace=gpu-claim", "pod/pod1", "--grace-period=0", "--force")
    await scene.gone(pod)
    await scene.unprepared(EXAMPLE)
