"""Claims over the life of their pods, on a real cluster with four GPUs (two nodes of two)."""

from __future__ import annotations

import asyncio

import pytest

from dra_operator.api.kinds import NAMESPACES, TEMPLATES
from dra_operator.api.meta import ObjectKey
from dra_operator.api.names import DELETE_PROTECTION_FINALIZER
from dra_operator.cluster.http import ApiError
from tests.e2e.stage import Stage, devices_of, until

FIRST_L4 = "device.attributes['gpu.dra-operator.io'].productName == 'NVIDIA L4'"
NO_SUCH = "device.attributes['gpu.dra-operator.io'].productName == 'none'"


@pytest.mark.parametrize("end", ["deleted", "completed", "force-deleted"])
async def test_a_template_claim_is_generated_once_and_goes_with_its_pod(here: Stage, end: str) -> None:
    await here.template()
    pod = await here.pod("one", templates=("gpu",), run_for=0.2 if end == "completed" else None)
    if end != "completed":
        await here.running("one")
        assert len(await here.claims_of(pod)) == 1
        await here.delete_pod("one", force=end == "force-deleted")
    else:
        await here.succeeded("one")

    async def none() -> bool:
        return not await here.claims_of(pod)

    await until(lambda: f"the claim of the {end} pod is still there", none)
    if end == "completed":
        assert (await here.get_pod("one")).status.phase == "Succeeded"


async def test_a_running_pod_in_its_grace_period_keeps_its_device(here: Stage) -> None:
    await here.template(count=2)
    await here.template("four", count=2)
    stubborn = await here.pod("stubborn", templates=("gpu",), ignore_term=True, grace=3)
    other = await here.pod("other", templates=("four",))
    await here.running("stubborn", "other")
    await here.pod("next", templates=("gpu",))
    await here.waits("next", "DevicesInUse")
    await here.delete_pod("stubborn")

    async def kept_until_gone() -> bool:
        claims = await here.claims_of(stubborn)
        try:
            await here.get_pod("stubborn")
        except ApiError as error:
            return error.status == 404
        assert claims
        assert claims[0].reserved_for(stubborn.uid)
        return False

    await until(lambda: "the pod does not end", kept_until_gone)
    await here.running("next")
    assert (await here.claims_of(other))[0].status.allocation is not None


async def test_a_shared_claim_survives_its_users_and_the_last_frees_the_device(here: Stage) -> None:
    await here.claim("shared")
    await here.pod("a", claims=("shared",))
    await here.pod("b", claims=("shared",))
    await here.running("a", "b")
    [device] = await here.devices("shared")
    nodes = {(await here.get_pod(name)).spec.node_name for name in ("a", "b")}
    assert nodes == {device.split("/")[0]}

    await here.delete_pod("a")
    await here.pod_gone("a")
    assert await here.devices("shared") == [device]
    await here.delete_pod("b")
    await here.free("shared")


async def test_deleting_a_users_claim_in_use_does_not_free_it(here: Stage) -> None:
    await here.claim("mine")
    await here.pod("one", claims=("mine",))
    await here.running("one")
    await here.delete_claim("mine")
    claim = await here.find_claim("mine")
    assert claim is not None
    assert claim.metadata.deletion_timestamp is not None
    assert DELETE_PROTECTION_FINALIZER in (claim.metadata.finalizers or ())
    assert devices_of(claim)

    await here.pod("late", claims=("mine",))
    await here.waits("late", "ClaimDeleting")
    assert await here.devices("mine")
    await here.delete_pod("one")
    await here.gone("mine")
    await here.claim("mine")
    await here.running("late")


async def test_first_available_takes_the_first_alternative_that_there_is(here: Stage) -> None:
    await here.template(first_available=(NO_SUCH, FIRST_L4, "true"))
    pod = await here.pod("one", templates=("gpu",))
    await here.running("one")
    [claim] = await here.claims_of(pod)
    assert claim.status.allocation is not None
    [result] = claim.status.allocation.devices.results or ()
    assert result.request == "gpu/a1"


async def test_two_claims_of_a_pod_are_allocated_together_or_not_at_all(here: Stage) -> None:
    await here.template("two", count=2)
    await here.template("one", count=1)
    pod = await here.pod("greedy", templates=("two", "one"))
    await here.waits("greedy", "NoMatchingDevice")
    for claim in await here.claims_of(pod):
        assert claim.status.allocation is None
        assert not claim.status.reserved_for
    small = await here.pod("small", templates=("two",))
    await here.running("small")
    assert (await here.claims_of(small))[0].status.allocation is not None


async def test_a_pod_replaced_under_its_name_gets_claims_of_its_own(here: Stage) -> None:
    await here.template()
    first = await here.pod("same", templates=("gpu",))
    await here.running("same")
    [old] = await here.claims_of(first)
    await here.delete_pod("same", force=True)
    second = await here.pod("same", templates=("gpu",))
    await here.running("same")
    [new] = await here.claims_of(second)
    assert new.uid != old.uid
    assert new.reserved_for(second.uid)
    assert not new.reserved_for(first.uid)
    await here.gone(old.metadata.name)


async def test_a_template_edited_after_generation_changes_nothing_for_its_pods(here: Stage) -> None:
    await here.template()
    pod = await here.pod("early", templates=("gpu",))
    await here.running("early")
    [before] = await here.claims_of(pod)
    await here.client.delete(TEMPLATES, here.key("gpu"))  # the spec is immutable: an edit is a new one of the name
    await here.template(count=2)
    late = await here.pod("late", templates=("gpu",))
    await here.running("late")
    [after] = await here.claims_of(pod)
    assert (after.uid, after.spec, after.status.allocation) == (before.uid, before.spec, before.status.allocation)
    assert len(devices_of((await here.claims_of(late))[0])) == 2


async def test_a_pod_for_which_there_is_no_room_on_the_node_does_not_hold_its_devices(here: Stage) -> None:
    await here.template()
    pod = await here.pod("huge", templates=("gpu",), nodeSelector={"zone": "nowhere"})
    message = await here.waits("huge", "NodeUnsuitable")
    assert "nodeSelector" in message
    assert all(claim.status.allocation is None for claim in await here.claims_of(pod))
    await here.pod("small", templates=("gpu",))
    await here.running("small")


async def test_an_admin_sees_devices_in_use_and_takes_none(here: Stage) -> None:
    await here.client.patch(
        NAMESPACES,
        ObjectKey("", here.namespace),
        {"metadata": {"labels": {"resource.kubernetes.io/admin-access": "true"}}},
        patch_type="merge",
    )
    await here.template(count=2)
    await here.pod("a", templates=("gpu",))
    await here.pod("b", templates=("gpu",))
    await here.running("a", "b")
    spec = {
        "spec": {
            "devices": {
                "requests": [
                    {
                        "name": "all",
                        "exactly": {"deviceClassName": "gpu.e2e", "allocationMode": "All", "adminAccess": True},
                    }
                ]
            }
        }
    }
    body = {"apiVersion": "resource.k8s.io/v1", "kind": "ResourceClaimTemplate", "metadata": {"name": "admin"}}
    await here.client.create(TEMPLATES, {**body, "spec": spec}, namespace=here.namespace)
    admin = await here.pod("admin", templates=("admin",))
    await here.running("admin")
    [claim] = await here.claims_of(admin)
    assert len(devices_of(claim)) == 2
    await here.delete_pod("a")
    await here.pod("c", templates=("gpu",))
    await here.running("c")

    await here.client.patch(
        NAMESPACES,
        ObjectKey("", here.namespace),
        {"metadata": {"labels": {"resource.kubernetes.io/admin-access": None}}},
        patch_type="merge",
    )

    async def told() -> bool:
        return [one["reason"] for one in await here.events(claim)] == ["AdminAccessDenied"]

    await until(lambda: "the claim is not told that its namespace grants it no more", told)


async def test_many_waiting_pods_each_get_a_device_in_turn(here: Stage) -> None:
    await here.template()
    names = [f"p{i}" for i in range(12)]
    await asyncio.gather(*(here.pod(name, templates=("gpu",), run_for=0.2) for name in names))
    await asyncio.gather(*(here.succeeded(name, 60.0) for name in names))
