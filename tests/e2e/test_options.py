"""What an admin may choose about whose pods the operator allocates, and what becomes of those that it cannot help.

Each option on a cluster with a real kube-scheduler, which allocates where the operator leaves it to.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from dra_operator.api.core import Pod
from dra_operator.api.kinds import CLASSES, NAMESPACES, PODS
from dra_operator.api.meta import Condition, ObjectKey
from dra_operator.api.names import ALLOCATE_ANNOTATION, ALLOCATION_LABEL, GATE
from dra_operator.cluster.kubeconfig import find_credentials
from dra_operator.sandbox.state import State
from tests.controlplane import binaries
from tests.e2e.conftest import sandbox
from tests.e2e.nodes import cordoned
from tests.e2e.operators import FLAGS, leading, operator
from tests.e2e.proxy import HoldingProxy
from tests.e2e.stage import Stage, devices_of, make_class, until

pytestmark = pytest.mark.cluster

EVICT = Path(__file__).parents[2] / "manifests" / "components" / "evict" / "rbac.yaml"


@pytest.fixture
async def run(bare: State, there: Stage, tmp_path: Path) -> Any:
    """Start the operator with flags, for the length of a block."""

    @asynccontextmanager
    async def running(*flags: str) -> AsyncIterator[None]:
        async with operator(bare.operator_kubeconfig, tmp_path / "operator.log", (*FLAGS, *flags)) as process:
            await leading(process)
            yield

    return running


async def allocators(stage: Stage, claim: str) -> set[str]:
    """Who wrote the claim's status."""
    answer = await stage.client.request(
        "GET", f"/apis/resource.k8s.io/v1/namespaces/{stage.namespace}/resourceclaims/{claim}"
    )
    metadata = json.loads(answer.body)["metadata"]
    return {
        entry["manager"]
        for entry in metadata["managedFields"]
        if "f:allocation" in entry["fieldsV1"].get("f:status", {})
    }


async def is_left_to_the_scheduler(stage: Stage, name: str) -> None:
    """The pod runs with a device that kube-scheduler chose; its claim, which we generated, goes with it."""
    await stage.running(name)
    pod = await stage.get_pod(name)
    [claim] = await stage.claims_of(pod)
    assert claim.reserved_for(pod.uid)
    assert await allocators(stage, claim.metadata.name) == {"kube-scheduler"}
    await stage.delete_pod(name, force=True)
    await stage.gone(claim.metadata.name)


def gates(pod: Pod) -> list[str]:
    return [gate.name for gate in pod.spec.scheduling_gates or ()]


async def label(stage: Stage, value: str | None) -> None:
    body = {"metadata": {"labels": {ALLOCATION_LABEL: value}}}
    await stage.client.patch(NAMESPACES, ObjectKey("", stage.namespace), body, patch_type="merge")


async def fill(stage: Stage) -> None:
    """Take all four devices."""
    names = ("a", "b", "c", "d")
    for name in names:
        await stage.pod(name, templates=("gpu",))
    await stage.running(*names)


# --- whose pods: gate, namespaces, classes, other gates ---------------------------------------------------------------


async def test_without_the_gate_kube_scheduler_allocates_what_we_generate_and_collect(there: Stage, run: Any) -> None:
    """The policy of manifests/base is in force all the same: pods that it gates are let go."""
    await there.template()
    async with run("--gate=off"):
        assert gates(await there.pod("one", templates=("gpu",))) == [GATE]
        await is_left_to_the_scheduler(there, "one")


async def test_pods_of_a_disabled_namespace_are_never_gated_and_their_claims_are_collected(here: Stage) -> None:
    await here.template()
    await label(here, "disabled")
    await until_not_gated(here)
    assert gates(await here.pod("one", templates=("gpu",))) == []
    await is_left_to_the_scheduler(here, "one")


async def until_not_gated(stage: Stage) -> None:
    """Wait until admission knows the namespace's label."""
    probe = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "probe", "namespace": stage.namespace},
        "spec": {
            "containers": [{"name": "none", "image": "none"}],
            "resourceClaims": [{"name": "none", "resourceClaimName": "none"}],
        },
    }

    async def there() -> bool:
        path = f"/api/v1/namespaces/{stage.namespace}/pods"
        answer = await stage.client.request("POST", path, params={"dryRun": "All"}, body=json.dumps(probe).encode())
        return "schedulingGates" not in json.loads(answer.body)["spec"]

    await until(lambda: f"pods of {stage.namespace} are still gated", there)


async def test_pods_that_wait_when_their_namespace_is_disabled_are_left_to_kube_scheduler(here: Stage) -> None:
    await here.template()
    await fill(here)
    await here.pod("late", templates=("gpu",))
    await here.waits("late", "DevicesInUse")
    await label(here, "disabled")
    assert await here.waits("late", "NotManaged") == "left to kube-scheduler"
    await here.delete_pod("a", force=True)
    await is_left_to_the_scheduler(here, "late")


async def test_pods_of_classes_that_are_not_ours_are_left_to_kube_scheduler(here: Stage) -> None:
    async with foreign_class(here) as name:
        await here.template("theirs", class_name=name)
        await here.template("ours")
        await here.pod("one", templates=("theirs",))
        await is_left_to_the_scheduler(here, "one")
        await here.pod("both", templates=("theirs", "ours"))
        await here.running("both")
        assert await here.waits("both", "Allocated") == "2 devices in 2 claims"


async def test_a_class_that_is_given_away_lets_go_of_the_pods_that_wait_for_it(here: Stage) -> None:
    async with foreign_class(here, value=None) as name:
        await here.template("gpu", class_name=name)
        await fill(here)
        await here.pod("late", templates=("gpu",))
        await here.waits("late", "DevicesInUse")
        await annotate(here, name, "false")
        assert await here.waits("late", "NotManaged") == "left to kube-scheduler"
        await here.delete_pod("a", force=True)
        await is_left_to_the_scheduler(here, "late")


@asynccontextmanager
async def foreign_class(stage: Stage, value: str | None = "false") -> AsyncIterator[str]:
    """A class of the same devices, which says by annotation whether we allocate them."""
    name = f"theirs.{stage.namespace}"
    await make_class(stage.client, name)
    await annotate(stage, name, value)
    try:
        yield name
    finally:
        await stage.client.delete(CLASSES, ObjectKey("", name))


async def annotate(stage: Stage, name: str, value: str | None) -> None:
    body = {"metadata": {"annotations": {ALLOCATE_ANNOTATION: value}}}
    await stage.client.patch(CLASSES, ObjectKey("", name), body, patch_type="merge")


async def test_a_pod_gets_devices_when_the_last_of_all_other_gates_is_lifted(here: Stage) -> None:
    await here.template()
    others = ["example.com/first", "example.com/second"]
    pod = await here.pod("one", templates=("gpu",), schedulingGates=[{"name": gate} for gate in others])
    assert gates(pod) == [*others, GATE]
    message = await here.waits("one", "WaitingForOtherGates")
    assert all(gate in message for gate in others)
    await lift(here, "one", others[0])
    await fill(here)  # nothing is held for a pod that others gate
    [claim] = await here.claims_of(pod)
    assert (claim.status.allocation, claim.status.reserved_for) == (None, None)
    await lift(here, "one", others[1])
    await here.waits("one", "DevicesInUse")
    await here.delete_pod("a", force=True)
    await here.running("one")
    assert await here.waits("one", "Allocated")


async def lift(stage: Stage, name: str, gate: str) -> None:
    body = {"spec": {"schedulingGates": [{"$patch": "delete", "name": gate}]}}
    await stage.client.patch(PODS, stage.key(name), body, patch_type="strategic")


async def is_unschedulable(stage: Stage, name: str) -> Condition:
    """Wait until kube-scheduler says so; returns what it says."""
    found: list[Condition] = []

    async def seen() -> bool:
        scheduled = (await stage.get_pod(name)).condition("PodScheduled")
        found[:] = [scheduled] if scheduled is not None and scheduled.reason == "Unschedulable" else []
        return bool(found)

    await until(lambda: f"kube-scheduler does not say that {name} is unschedulable", seen)
    assert found[0].status == "False"
    return found[0]


# --- pods that find no devices ----------------------------------------------------------------------------------------


async def test_handover_leaves_pods_for_which_there_are_no_devices_to_kube_scheduler(there: Stage, run: Any) -> None:
    """An autoscaler acts on what kube-scheduler says of a pod; a pod that has a mistake needs no further nodes."""
    await there.template()
    await there.template("mistaken", class_name="no-such-class")
    async with run("--on-no-capacity=handover", "--handover-after=1"):
        await there.pod("mistaken", templates=("mistaken",))
        await there.waits("mistaken", "ClassNotFound")
        await fill(there)
        await there.pod("late", templates=("gpu",))
        message = await there.waits("late", "NotManaged")
        assert message.startswith("left to kube-scheduler: ")
        await is_unschedulable(there, "late")
        assert gates(await there.get_pod("mistaken")) == [GATE]
        await there.waits("mistaken", "ClassNotFound")
        await there.delete_pod("a", force=True)
        await is_left_to_the_scheduler(there, "late")


async def test_a_node_that_is_added_for_a_pod_that_was_handed_over_serves_it(
    bare: State, there: Stage, run: Any, tmp_path: Path
) -> None:
    """What cluster-autoscaler and Karpenter go by is the pod's condition; then they wait for it to be scheduled."""
    inventory = tmp_path / "nodes.yaml"
    inventory.write_text("nodes: [{name: added, profile: l4, gpus: 1}]")
    flags = (f"--kubeconfig={bare.kubeconfig}", f"--inventory={inventory}", "--no-manifests")
    await there.template()
    async with run("--on-no-capacity=handover", "--handover-after=1"):
        await fill(there)
        await there.pod("late", templates=("gpu",))
        scheduled = await is_unschedulable(there, "late")
        assert "cannot allocate all claims" in scheduled.message
        with contextmanager(sandbox)("added", *flags):
            await there.running("late")
            assert (await there.get_pod("late")).spec.node_name == "added"
            await is_left_to_the_scheduler(there, "late")


# --- pods that are not scheduled with their devices -------------------------------------------------------------------


def replica_set(stage: Stage, name: str, template: str = "gpu", **spec: Any) -> dict[str, Any]:
    """One pod with one claim."""
    container = {"name": "main", "image": "none", "resources": {"claims": [{"name": "gpu"}]}}
    claims = [{"name": "gpu", "resourceClaimTemplateName": template}]
    pod = {"containers": [container], "resourceClaims": claims, "terminationGracePeriodSeconds": 0, **spec}
    return {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {"name": name, "namespace": stage.namespace},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}}, "spec": pod},
        },
    }


async def kubectl(bare: State, *arguments: str) -> None:
    command = [str(binaries() / "kubectl"), f"--kubeconfig={bare.kubeconfig}", *arguments]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.DEVNULL)
    assert await process.wait() == 0


@asynccontextmanager
async def replicas_of_one(stage: Stage, body: dict[str, Any]) -> AsyncIterator[None]:
    path = f"/apis/apps/v1/namespaces/{stage.namespace}/replicasets"
    await stage.client.request("POST", path, body=json.dumps(body).encode())
    try:
        yield
    finally:
        await stage.client.request("DELETE", f"{path}/{body['metadata']['name']}")


async def pods_of(stage: Stage, name: str) -> list[Pod]:
    return [
        pod
        for pod in (await stage.client.list_objects(PODS, namespace=stage.namespace))[0]
        if (pod.metadata.labels or {}).get("app") == name
    ]


@pytest.fixture
async def may_evict(bare: State) -> AsyncIterator[None]:
    """`manifests/components/evict` for the length of a test."""
    await kubectl(bare, "apply", f"--filename={EVICT}")
    yield
    await kubectl(bare, "delete", f"--filename={EVICT}")


@pytest.mark.usefixtures("may_evict")
async def test_evict_lets_a_controller_replace_a_pod_that_is_not_scheduled(
    bare: State, there: Stage, tmp_path: Path
) -> None:
    """Its node is cordoned between decision and binding; the replacement finds another."""
    await there.template()
    target = find_credentials(bare.operator_kubeconfig)
    ungating = f"PATCH /api/v1/namespaces/{there.namespace}/pods/"
    async with HoldingProxy(
        target, lambda write: write.startswith(ungating) and not write.endswith("/status")
    ) as proxy:
        kubeconfig = proxy.write_kubeconfig(tmp_path / "held.kubeconfig")
        flags = (*FLAGS, "--repack=evict", "--repack-after=1", "--placement=first")
        async with (
            operator(kubeconfig, tmp_path / "held.log", flags) as process,
            replicas_of_one(there, replica_set(there, "web")),
        ):
            await leading(process)
            await proxy.held.wait()
            [pod] = await pods_of(there, "web")
            [claim] = await there.claims_of(pod)
            node = devices_of(claim)[0].split("/")[0]
            try:
                async with cordoned(there, node):
                    proxy.release.set()
                    await there.pod_gone(pod.metadata.name)

                    async def replaced() -> bool:
                        return [one.status.phase for one in await pods_of(there, "web")] == ["Running"]

                    await until(lambda: "there is no running replacement", replaced)
            finally:
                proxy.release.set()
            [after] = await pods_of(there, "web")
            [used] = await there.claims_of(after)
            assert after.spec.node_name != node
            assert devices_of(used)[0].split("/")[0] == after.spec.node_name
            assert "UnschedulableAfterPin" in {one["reason"] for one in await there.events(pod)}
            await there.gone(claim.metadata.name)


async def test_evict_leaves_pods_that_nobody_would_replace_and_what_it_may_not_delete(there: Stage, run: Any) -> None:
    """Both want a volume that does not exist. The right to delete pods is in components/evict alone."""
    volumes = [{"name": "data", "persistentVolumeClaim": {"claimName": "none"}}]
    await there.template()
    async with (
        run("--repack=evict", "--repack-after=1"),
        replicas_of_one(there, replica_set(there, "web", volumes=volumes)),
    ):
        bare_pod = await there.pod("bare", templates=("gpu",), volumes=volumes)
        await there.waits("bare", "UnschedulableAfterPin")

        async def told() -> bool:
            return [await reason(one) for one in await pods_of(there, "web")] == ["UnschedulableAfterPin"]

        async def reason(pod: Pod) -> str | None:
            said = await there.condition(pod.metadata.name)
            return None if said is None else said.reason

        await until(lambda: "the replica is not told why it waits", told)
        assert (await there.get_pod("bare")).uid == bare_pod.uid
        for name in ("bare", (await pods_of(there, "web"))[0].metadata.name):
            [claim] = await there.claims_of(await there.get_pod(name))
            assert devices_of(claim)
