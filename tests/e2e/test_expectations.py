"""What users of DRA may expect of any allocator, as far as no other test here shows it.

Upstream: what test/e2e/dra of k8s.io/kubernetes tries of kube-scheduler, in our own words. Devices of other drivers are
here, too: shared by nodes, by amounts, or attached before a pod may be bound.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from dra_operator.api.kinds import CLAIMS, CLASSES, PODS, SLICES
from dra_operator.api.meta import ObjectKey
from tests.e2e.stage import Stage, claim_object, devices_of, make_class, until

GPUS = "device.driver == 'gpu.dra-operator.io'"
FOREIGN = "net.example.com"


@asynccontextmanager
async def foreign(here: Stage, **device: Any) -> AsyncIterator[str]:
    """One device that every node reaches, for the length of the block; yields the name of its pool and class."""
    name = here.namespace
    pool = {"name": name, "generation": 1, "resourceSliceCount": 1}
    spec = {"driver": FOREIGN, "pool": pool, "allNodes": True, "devices": [{"name": "one", **device}]}
    await make_class(here.client, name, f"device.driver == '{FOREIGN}'")
    await here.client.create(SLICES, {"metadata": {"name": name}, "spec": spec})
    try:
        yield name
    finally:
        await here.client.delete(SLICES, ObjectKey("", name))
        await here.client.delete(CLASSES, ObjectKey("", name))


@asynccontextmanager
async def class_for(here: Stage, resource: str | None) -> AsyncIterator[str]:
    """A class of all GPUs that stands for an extended resource; yields the resource's name."""
    name = here.namespace
    spec: dict[str, Any] = {"selectors": [{"cel": {"expression": GPUS}}]}
    if resource is not None:
        spec["extendedResourceName"] = resource
    await here.client.create(CLASSES, {"metadata": {"name": name}, "spec": spec})
    try:
        yield resource or f"deviceclass.resource.kubernetes.io/{name}"
    finally:
        await here.client.delete(CLASSES, ObjectKey("", name))


def asking(resource: str, **more: Any) -> list[dict[str, Any]]:
    amounts = {resource: "1"}
    return [{"name": "main", "image": "none", "resources": {"requests": amounts, "limits": amounts, **more}}]


async def no_claims(here: Stage) -> None:
    async def none() -> bool:
        return not await here.claims()

    await until(lambda: "claims are left over", none)


@pytest.mark.parametrize(
    "resource", ["example.com/l4", None], ids=["of the name it is given", "called after its class"]
)
async def test_a_pod_has_claims_and_devices_that_kube_scheduler_allocates(here: Stage, resource: str | None) -> None:
    async with class_for(here, resource) as name:
        await here.template()
        await here.pod("a", templates=("gpu",), containers=asking(name, claims=[{"name": "t0"}]))

        await here.running("a")
        devices = [device for claim in await here.claims() for device in devices_of(claim)]
        assert len(set(devices)) == len(devices) == 2
        await here.delete_pod("a", force=True)
        await no_claims(here)


async def test_where_there_is_no_device_for_the_rest_kube_scheduler_takes_the_pod_to_another_node(here: Stage) -> None:
    """By best fit the claim is allocated where the other pod left one."""
    async with class_for(here, "example.com/l4") as name:
        await here.template()
        await here.pod("other", templates=("gpu",))
        await here.running("other")
        await here.pod("a", templates=("gpu",), containers=asking(name, claims=[{"name": "t0"}]))

        await here.running("a")
        assert (await here.get_pod("a")).spec.node_name != (await here.get_pod("other")).spec.node_name
        await release(here, "other", "a")


@pytest.mark.parametrize("ends", [True, False], ids=["ends", "is deleted"])
async def test_what_kube_scheduler_allocated_is_free_when_its_pod_is_done(here: Stage, ends: bool) -> None:
    async with class_for(here, "example.com/l4") as name:
        await here.pod("a", resourceClaims=None, containers=asking(name), run_for=0.2 if ends else None)
        if ends:
            await here.succeeded("a")
        else:
            await here.running("a")
            assert [len(devices_of(claim)) for claim in await here.claims()] == [1]
            await here.delete_pod("a")

        await no_claims(here)


async def test_a_class_that_is_changed_serves_who_waits_for_it(here: Stage) -> None:
    async with class_for(here, None) as resource:
        key = ObjectKey("", resource.rpartition("/")[2])
        nothing, gpus = ({"spec": {"selectors": [{"cel": {"expression": one}}]}} for one in ("false", GPUS))
        await here.client.patch(CLASSES, key, nothing, patch_type="merge")
        await here.template(class_name=key.name)
        await here.pod("a", templates=("gpu",))
        await here.waits("a", "NoMatchingDevice")

        await here.client.patch(CLASSES, key, gpus, patch_type="merge")
        await here.running("a")


async def test_a_pod_whose_claim_is_said_not_to_be_needed_runs_without(here: Stage) -> None:
    pod = await here.pod("a", templates=("missing",))
    await here.waits("a", "TemplateNotFound")

    status = {"status": {"resourceClaimStatuses": [{"name": "t0"}]}}
    await here.client.patch(PODS, pod.key, status, patch_type="strategic", subresource="status")
    await here.bound("a")


async def test_a_claim_in_use_and_a_new_one_are_had_on_one_node(here: Stage) -> None:
    for name in ("used", "new"):
        await here.claim(name)
    await here.pod("a", claims=("used",))
    await here.running("a")

    await here.pod("b", claims=("used", "new"))
    await here.running("b")
    [used], [new] = [await here.devices(name) for name in ("used", "new")]
    assert used != new
    assert used.split("/")[0] == new.split("/")[0] == (await here.get_pod("a")).spec.node_name


async def test_a_claim_is_for_init_containers_and_for_several_containers(here: Stage) -> None:
    await here.template()
    whole, part = {"claims": [{"name": "t0"}]}, {"claims": [{"name": "t0", "request": "gpu"}]}
    init = [
        {"name": "first", "image": "none", "resources": part},
        {"name": "beside", "image": "none", "restartPolicy": "Always", "resources": whole},
    ]
    containers = [{"name": name, "image": "none", "resources": part} for name in ("one", "two")]

    pod = await here.pod("a", templates=("gpu",), initContainers=init, containers=containers)
    await here.running("a")
    assert [len(devices_of(claim)) for claim in await here.claims_of(pod)] == [1]


async def test_a_pod_that_is_deleted_while_it_waits_leaves_nothing(here: Stage) -> None:
    await here.template(count=3)
    pod = await here.pod("a", templates=("gpu",))
    await here.waits("a", "NoMatchingDevice")
    assert len(await here.claims_of(pod)) == 1

    await here.delete_pod("a")
    await no_claims(here)


async def test_a_device_that_all_nodes_reach_serves_pods_on_all_of_them(here: Stage) -> None:
    async with foreign(here) as name:
        await here.claim("net", class_name=name)
        await here.template()
        pods = ("p", "q", "r", "s")
        for pod in pods:
            await here.pod(pod, claims=("net",), templates=("gpu",))

        await here.bound(*pods)
        assert len({(await here.get_pod(pod)).spec.node_name for pod in pods}) == 2
        assert await here.devices("net") == [f"{name}/one"]
        await release(here, *pods)


async def test_a_device_is_shared_by_amounts_until_nothing_is_left(here: Stage) -> None:
    policy = {"default": "1", "validRange": {"min": "1", "step": "1"}}
    lanes = {"lanes": {"value": "10", "requestPolicy": policy}}
    async with foreign(here, allowMultipleAllocations=True, capacity=lanes) as name:
        for pod, amount in (("four", "4"), ("five", "5"), ("two", "2"), ("default", None)):
            exactly: dict[str, Any] = {"deviceClassName": name}
            if amount is not None:
                exactly["capacity"] = {"requests": {"lanes": amount}}
            claim = claim_object("ResourceClaim", pod, {"devices": {"requests": [{"name": "net", "exactly": exactly}]}})
            await here.client.create(CLAIMS, claim, namespace=here.namespace)
        for pod in ("four", "five"):
            await here.pod(pod, claims=(pod,))
            await here.bound(pod)
        await here.pod("two", claims=("two",))
        await here.waits("two", "CapacityExhausted")
        await here.pod("default", claims=("default",))
        await here.bound("default")

        await here.delete_pod("four", force=True)
        await here.bound("two")
        await release(here, "five", "default", "two")


async def test_a_pod_is_bound_when_its_device_is_attached(here: Stage) -> None:
    conditions = {"bindingConditions": ["example.com/ready"], "bindingFailureConditions": ["example.com/failed"]}
    async with foreign(here, bindsToNode=True, **conditions) as name:
        await here.claim("net", class_name=name)
        await here.pod("a", claims=("net",))

        async def ungated() -> bool:
            return not (await here.get_pod("a")).spec.scheduling_gates

        await until(lambda: "it is gated still", ungated)
        assert not (await here.get_pod("a")).spec.node_name
        ready = {"type": "example.com/ready", "status": "True", "reason": "Attached", "message": ""}
        ready["lastTransitionTime"] = "2026-01-01T00:00:00Z"
        device = {"driver": FOREIGN, "pool": name, "device": "one", "conditions": [ready]}
        body = {"status": {"devices": [device]}}
        await here.client.patch(CLAIMS, here.key("net"), body, patch_type="merge", subresource="status")
        await here.bound("a")
        await release(here, "a")


async def release(here: Stage, *pods: str) -> None:
    """End the pods: what they have of others' drivers is free before those devices vanish."""
    for pod in pods:
        await here.delete_pod(pod, force=True)

    async def unused() -> bool:
        return not any(devices_of(claim) for claim in await here.claims())

    await until(lambda: "devices are in use still", unused)
