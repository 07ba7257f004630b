"""Prepare and unprepare as the kubelet calls them."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from dra_operator.api.resource import BasicDevice
from tests.agent.bench import DRIVER, NODE, Bench, Workshop, claim_ref, result


async def test_a_prepared_claim_has_its_devices_and_a_spec_that_gives_them(node: Bench) -> None:
    claim = node.claim("one", "gpu-1")

    (device,) = (await node.prepare(claim))["one"].devices

    assert (device.pool_name, device.device_name, list(device.request_names)) == (NODE, "gpu-1", ["gpu"])
    (spec_device,) = node.spec(claim)["devices"]
    assert list(device.cdi_device_ids) == [f"{DRIVER}/claim={spec_device['name']}"]
    env = spec_device["containerEdits"]["env"]
    assert f"DRA_DEVICE_GPU_1={DRIVER}/{NODE}/gpu-1" in env
    assert "DRA_DEVICE_GPU_1_PRODUCT_NAME=NVIDIA L4" in env


async def test_a_container_may_read_the_attributes_of_its_devices(node: Bench) -> None:
    claim = node.claim("one", "gpu-1", "gpu-2", annotations={"resource.kubernetes.io/pod-claim-name": "accelerators"})

    await node.prepare(claim)

    (mount,) = node.spec(claim)["devices"][0]["containerEdits"]["mounts"]
    folder = "/var/run/kubernetes.io/dra-device-attributes/resourceclaimtemplates/accelerators"
    assert mount["containerPath"] == f"{folder}/gpu/{DRIVER}-metadata.json"
    facts = json.loads(Path(mount["hostPath"]).read_text())
    (request,) = facts["requests"]
    assert [device["name"] for device in request["devices"]] == ["gpu-1", "gpu-2"]
    assert request["devices"][0]["attributes"]["productName"] == {"string": "NVIDIA L4"}


async def test_unprepare_leaves_nothing(node: Bench) -> None:
    claim = node.claim("one", "gpu-1", "gpu-2")
    await node.prepare(claim)

    assert await node.unprepare(claim) == {"one": ""}

    assert node.specs() == []
    assert node.prepared() == []
    assert list((node.folder / "metadata").iterdir()) == []


async def test_repeated_calls_give_the_same_answers_also_after_a_restart(node: Bench) -> None:
    claim = node.claim("one", "gpu-1")
    first = await node.prepare(claim)

    assert await node.prepare(claim) == first
    await node.restart()
    assert await node.prepare(claim) == first
    assert await node.unprepare(claim) == await node.unprepare(claim) == {"one": ""}
    await node.restart()
    assert await node.unprepare(claim) == {"one": ""}


async def test_the_same_claim_twice_at_once_is_prepared_once(node: Bench) -> None:
    claim = node.claim("one", "gpu-1")

    first, *others = await asyncio.gather(*(node.prepare(claim) for _ in range(8)))

    assert first["one"].error == ""
    assert all(other == first for other in others)
    assert node.specs() == [node.spec_name(claim)]


async def test_many_claims_at_once(node: Bench) -> None:
    claims = [node.claim(f"claim-{index}", f"gpu-{index}") for index in range(4)]

    answers = await asyncio.gather(*(node.prepare(claim) for claim in claims))
    assert [one.error for answer in answers for one in answer.values()] == [""] * 4
    assert node.prepared() == [f"claim-{index}" for index in range(4)]

    await asyncio.gather(*(node.unprepare(claim) for claim in claims))
    assert node.specs() == []


async def test_every_claim_of_a_call_is_answered_for_itself(node: Bench) -> None:
    good, gone, missing = node.claim("good", "gpu-0"), node.claim("gone", "gpu-9"), node.unknown("missing")

    answers = await node.prepare(good, gone, missing)

    assert answers["good"].error == ""
    assert answers["gone"].error == "device 'gpu-9' is not on this node (any more)"
    assert answers["missing"].error == "there is no such claim"
    assert node.prepared() == ["good"]


async def test_a_claim_that_nobody_knows_is_unprepared_with_success(node: Bench) -> None:
    assert await node.unprepare(node.unknown("never-seen")) == {"never-seen": ""}


async def test_a_claim_that_is_deleted_by_now_is_unprepared(node: Bench) -> None:
    claim = node.claim("one", "gpu-1")
    await node.prepare(claim)
    node.api.objects.clear()

    assert await node.unprepare(claim) == {"one": ""}
    assert node.specs() == []


# --- one device, one claim -------------------------------------------------------------------------------------------


async def test_a_device_that_is_prepared_for_another_claim_is_refused(node: Bench) -> None:
    mine, theirs = node.claim("mine", "gpu-1"), node.claim("theirs", "gpu-1")
    await node.prepare(mine)

    refused = (await node.prepare(theirs))["theirs"].error

    assert "still prepared for another claim" in refused
    assert "mine" not in refused, "the name of another's claim is not theirs to read"
    assert node.prepared() == ["mine"]
    await node.unprepare(mine)
    assert (await node.prepare(theirs))["theirs"].error == ""


async def test_two_claims_of_one_call_do_not_get_one_device(node: Bench) -> None:
    answers = await node.prepare(node.claim("a", "gpu-1"), node.claim("b", "gpu-1"))

    assert sorted(bool(answer.error) for answer in answers.values()) == [False, True]


async def test_admin_access_goes_beside_another_claim(node: Bench) -> None:
    user = node.claim("user", "gpu-1")
    admin = node.claim("admin", result("gpu-1", adminAccess=True))

    for order in ((user, admin), (admin, user)):
        for claim in order:
            assert [one.error for one in (await node.prepare(claim)).values()] == [""]
        await node.unprepare(*order)


async def test_shares_of_a_device_go_side_by_side_but_not_beside_the_whole(node: Bench) -> None:
    shares = [node.claim(f"share-{i}", result("gpu-1", shareID=f"0000-{i}")) for i in range(2)]
    whole = node.claim("whole", "gpu-1")

    for index, share in enumerate(shares):
        (device,) = (await node.prepare(share))[f"share-{index}"].devices
        assert device.share_id == f"0000-{index}"
    assert "still prepared for another claim" in (await node.prepare(whole))["whole"].error


async def test_a_device_of_two_requests_is_one_device_for_both(node: Bench) -> None:
    claim = node.claim(
        "one", result("gpu-1", request="a", adminAccess=True), result("gpu-1", request="b/large", adminAccess=True)
    )

    (device,) = (await node.prepare(claim))["one"].devices

    assert list(device.request_names) == ["a", "b"], "without the subrequest"


async def test_a_claim_that_was_allocated_anew_waits_for_its_unprepare(node: Bench) -> None:
    """A container may still run with the old device: giving it away, or a second one to the claim, would be wrong."""
    claim = node.claim("one", "gpu-1")
    before = await node.prepare(claim)
    node.claim("one", "gpu-2")

    assert "earlier allocation" in (await node.prepare(claim))["one"].error
    assert [device["name"][-5:] for device in node.spec(claim)["devices"]] == ["gpu-1"]

    await node.unprepare(claim)
    after = await node.prepare(claim)
    assert [device.device_name for device in after["one"].devices] == ["gpu-2"]
    assert before["one"].devices[0].cdi_device_ids != after["one"].devices[0].cdi_device_ids


async def test_a_spec_that_somebody_removed_is_back_with_the_next_call(node: Bench) -> None:
    claim = node.claim("one", "gpu-1")
    await node.prepare(claim)
    spec = node.spec(claim)
    (node.cdi / node.spec_name(claim)).unlink()

    await node.prepare(claim)

    assert node.spec(claim) == spec


async def test_a_claim_of_another_uid_is_not_the_one_asked_for(node: Bench) -> None:
    claim = node.claim("one", "gpu-1")
    stale = {"metadata": {**claim["metadata"], "uid": "11111111-2222-3333-4444-555555555555"}}

    assert (await node.prepare(stale))["one"].error == "there is another claim of that name by now"
    assert claim_ref(stale).uid not in str(node.specs())


# --- devices that are made for a claim -------------------------------------------------------------------------------


@pytest.fixture
async def workshop(node: Bench) -> Workshop:
    await node.stop()
    node.injector = made = Workshop()
    node.devices = {"made-0": BasicDevice(name="made-0"), "gpu-0": BasicDevice(name="gpu-0")}
    await node.start()
    return made


async def test_a_device_is_made_for_its_claim_and_undone_with_it(node: Bench, workshop: Workshop) -> None:
    claim, other = node.claim("one", "made-0"), node.claim("other", "gpu-0")
    await node.prepare(claim, other)
    await node.restart()
    assert workshop.there == {"made-0"}
    assert node.plugin is not None
    assert node.plugin.made() == {"made-0"}

    await node.unprepare(claim)

    assert workshop.there == set()
    assert node.plugin.made() == set()


async def test_what_could_not_be_undone_stays_with_its_claim_until_it_is(node: Bench, workshop: Workshop) -> None:
    claim, late = node.claim("one", "made-0"), node.claim("late", "made-0")
    await node.prepare(claim)
    workshop.trouble = "In use by another client"

    assert "In use by another client" in (await node.unprepare(claim))["one"]
    assert "still prepared for another claim" in (await node.prepare(late))["late"].error

    workshop.trouble = ""
    assert await node.unprepare(claim) == {"one": ""}
    assert workshop.there == set()
    assert (await node.prepare(late))["late"].error == ""


async def test_a_device_that_was_made_and_cannot_be_used_is_undone(node: Bench, workshop: Workshop) -> None:
    claim = node.claim("one", "made-0")
    workshop.trouble = "no capability"
    assert (await node.prepare(claim))["one"].error == "device 'made-0' cannot be used: no capability"
    assert workshop.there == {"made-0"}, "undoing it failed, too"

    workshop.trouble = ""
    await node.restart()

    assert workshop.there == set()
    assert node.prepared() == []
    assert node.specs() == []
