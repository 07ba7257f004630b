"""What users do with devices, the same in every flavour: each test is a row of the table at the end of the run."""

from __future__ import annotations

import asyncio

import pytest

from dra_operator.api.kinds import NAMESPACES, PODS
from dra_operator.api.meta import ObjectKey
from dra_operator.api.names import ADMIN_ACCESS_LABEL, DELETE_PROTECTION_FINALIZER
from dra_operator.cluster.http import ApiError
from dra_operator.sandbox.binaries import release
from tests.e2e.stage import Stage, devices_of, until
from tests.e2e.suite.ground import MIG_CLASS, Ground

pytestmark = [pytest.mark.cluster, pytest.mark.asyncio(loop_scope="package")]

ATTRIBUTES = "device.attributes['gpu.dra-operator.io']"
PCI_ROOT = "resource.kubernetes.io/pcieRoot"
FOREIGN_GATE = "example.com/hold"


async def test_each_pod_of_a_template_gets_a_claim_by_selector_that_goes_with_it(here: Stage) -> None:
    await here.template(selector=f"{ATTRIBUTES}.productName == 'NVIDIA L4' && {ATTRIBUTES}.powerLimitWatts < 100")
    pods = [await here.pod(name, templates=("gpu",)) for name in ("a", "b")]
    await here.running("a", "b")
    claims = [claim for pod in pods for claim in await here.claims_of(pod)]
    assert len(claims) == 2
    assert all(len(devices_of(claim)) == 1 for claim in claims)
    assert all(DELETE_PROTECTION_FINALIZER in (claim.metadata.finalizers or ()) for claim in claims)
    for name in ("a", "b"):
        await here.delete_pod(name)
    for claim in claims:
        await here.gone(claim.metadata.name)


async def test_a_shared_claim_outlives_its_pods_and_is_free_then(here: Stage) -> None:
    await here.claim("shared")
    for name in ("a", "b"):
        await here.pod(name, claims=("shared",))
    await here.running("a", "b")
    assert len(await here.devices("shared")) == 1
    for name in ("a", "b"):
        await here.delete_pod(name)
        await here.pod_gone(name)
    await here.free("shared")


async def test_the_first_alternative_that_there_is_is_taken(here: Stage) -> None:
    await here.template(first_available=(f"{ATTRIBUTES}.productName == 'none'", f"{ATTRIBUTES}.type == 'gpu'"))
    pod = await here.pod("one", templates=("gpu",))
    await here.running("one")
    [claim] = await here.claims_of(pod)
    assert claim.status.allocation is not None
    assert [one.request for one in claim.status.allocation.devices.results or ()] == ["gpu/a1"]


async def test_two_devices_share_the_attribute_that_they_have_to(here: Stage) -> None:
    await here.template(count=2, constraint=PCI_ROOT)
    pod = await here.pod("one", templates=("gpu",))
    await here.running("one")
    [claim] = await here.claims_of(pod)
    assert len({device.split("/")[0] for device in devices_of(claim)}) == 1
    assert len(set(devices_of(claim))) == 2


@pytest.mark.skipif(release().minor < 36, reason="the API server drops counters; tests/e2e/releases shows that")
async def test_partitions_share_a_gpu_and_never_overlap(here: Stage) -> None:
    for name, profile in (("small", "1g.10gb"), ("half", "3g.40gb"), ("whole", "7g.80gb")):
        await here.template(name, class_name=MIG_CLASS, selector=f"{ATTRIBUTES}.profile == '{profile}'")
    await here.pod("small", templates=("small",))
    await here.pod("half", templates=("half",))
    await here.running("small", "half")
    await here.pod("whole", templates=("whole",))
    await here.waits("whole", "CountersExhausted")
    for name in ("small", "half"):
        await here.delete_pod(name)
    await here.running("whole")


async def test_admin_access_is_for_labelled_namespaces_and_takes_nothing(here: Stage) -> None:
    with pytest.raises(ApiError) as refused:
        await here.claim("admin", admin=True)
    assert refused.value.status in (403, 422)
    await here.template(count=2)
    await here.pod("a", templates=("gpu",))
    await here.pod("b", templates=("gpu",))
    await here.running("a", "b")
    label = {"metadata": {"labels": {ADMIN_ACCESS_LABEL: "true"}}}
    await here.client.patch(NAMESPACES, ObjectKey("", here.namespace), label, patch_type="merge")

    async def allowed() -> bool:
        try:
            await here.claim("admin", count=2, admin=True)
        except ApiError:
            return False
        return True

    await until(lambda: "the API server does not see the label", allowed)
    await here.pod("monitor", claims=("admin",))
    await here.running("monitor")
    assert len(await here.devices("admin")) == 2
    await here.delete_pod("a")
    await here.pod("c", templates=("gpu",))
    await here.running("c")


async def test_a_pod_that_waits_says_why_and_gets_what_is_freed(here: Stage) -> None:
    await here.template(count=2)
    await here.pod("a", templates=("gpu",))
    await here.pod("b", templates=("gpu",))
    await here.running("a", "b")
    await here.pod("c", templates=("gpu",))
    message = await here.waits("c", "DevicesInUse")
    assert "in use" in message
    await here.delete_pod("a")
    await here.running("c")


async def test_a_pod_that_has_ended_gives_back_what_it_had(here: Stage) -> None:
    await here.template(count=2)
    await here.pod("a", templates=("gpu",), run_for=0.2)
    await here.pod("b", templates=("gpu",))
    await here.succeeded("a")
    await here.pod("c", templates=("gpu",))
    await here.running("b", "c")


async def test_a_selector_that_fails_is_told_and_holds_up_nobody_else(here: Stage) -> None:
    await here.template("bad", selector=f"{ATTRIBUTES}.nosuch == 'none'")
    await here.template()
    await here.pod("bad", templates=("bad",))
    message = await here.waits("bad", "SelectorFailed")
    assert "nosuch" in message
    await here.pod("good", templates=("gpu",))
    await here.running("good")


async def test_a_pod_that_others_gate_gets_devices_only_then(here: Stage) -> None:
    await here.template()
    pod = await here.pod("one", templates=("gpu",), schedulingGates=[{"name": FOREIGN_GATE}])
    await here.waits("one", "WaitingForOtherGates")
    assert all(claim.status.allocation is None for claim in await here.claims_of(pod))
    lifted = {"spec": {"schedulingGates": [{"$patch": "delete", "name": FOREIGN_GATE}]}}
    await here.client.patch(PODS, pod.key, lifted, patch_type="strategic")
    await here.running("one")


async def test_the_leader_is_killed_in_a_burst_and_nothing_is_lost_or_doubled(ground: Ground, here: Stage) -> None:
    await here.template()
    names = [f"p{index:02}" for index in range(24)]
    await asyncio.gather(*(here.pod(name, templates=("gpu",), run_for=0.2) for name in names))
    phases: list[str] = []

    async def some_have_ended() -> bool:
        pods, _ = await here.client.list_objects(PODS, namespace=here.namespace)
        phases[:] = [pod.status.phase for pod in pods]
        return phases.count("Succeeded") >= 2

    await until(lambda: f"pods are {phases}", some_have_ended)
    killed = await ground.leader()
    killed.process.kill()
    assert phases.count("Succeeded") < len(names), "there was nothing left to lose"
    await asyncio.gather(*(here.succeeded(name, 90.0) for name in names))
    assert (await ground.leader()).pod != killed.pod
    await ground.start_controller(killed.pod)

    async def none() -> bool:
        return not await here.claims()

    await until(lambda: "claims are left over", none)
    assert ground.doubles.found == []
