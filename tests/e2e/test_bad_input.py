"""Bad input on a real cluster: that pod waits and says why, others go on, and it recovers when the cause is gone.

Every test tells one story: the pod stands (`stands`: condition, one Event, a pod created meanwhile runs), the cause is
removed, the pod runs by itself (`recovers`). What the API server itself refuses never reaches the operator; that it
does is tested here, too.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from dra_operator.agent.profiles import load_profile
from dra_operator.api.codec import to_plain
from dra_operator.api.core import Pod
from dra_operator.api.kinds import CLAIMS, CLASSES, PODS, TEMPLATES
from dra_operator.api.meta import ObjectKey
from dra_operator.api.names import ADMIN_ACCESS_LABEL
from dra_operator.api.resource import ResourceClaim
from dra_operator.cluster.http import ApiError
from dra_operator.sandbox.state import State
from tests.e2e.stage import Stage, devices_of, make_class, stage, until
from tests.e2e.story import label_admin, others_go_on, published, recovers, stands
from tests.integration.test_examples import BAD, EXAMPLES, WAITS, promise

NO_SUCH_ATTRIBUTE = "device.attributes['gpu.dra-operator.io'].colour == 'green'"

# --- what is missing -------------------------------------------------------------------------------------------------


async def test_a_class_that_is_missing(here: Stage) -> None:
    missing = f"class-of-{here.namespace}"
    await here.template(class_name=missing)
    pod = await here.pod("one", templates=("gpu",))
    await stands(here, pod, "ClassNotFound", f'"{missing}"', "does not exist", "create it")

    await make_class(here.client, missing)
    try:
        await recovers(here, pod, "ClassNotFound")
    finally:
        await here.client.delete(CLASSES, ObjectKey("", missing))


async def test_a_template_that_is_missing(here: Stage) -> None:
    pod = await here.pod("one", templates=("late",))
    await stands(here, pod, "TemplateNotFound", f'"{here.namespace}/late"', "does not exist", "create it")
    await here.template("late")
    await recovers(here, pod, "TemplateNotFound")


async def test_a_template_of_another_namespace(here: Stage, cluster: State) -> None:
    async with stage(cluster) as elsewhere:
        await elsewhere.template("theirs")
        pod = await here.pod("one", templates=("theirs",))
        await stands(here, pod, "TemplateNotFound", f'"{here.namespace}/theirs"', "in the namespace of the pod")
        await here.template("theirs")
        await recovers(here, pod, "TemplateNotFound")
        assert not await elsewhere.claims()


async def test_one_template_of_two_that_is_missing(here: Stage) -> None:
    await here.template()
    pod = await here.pod("one", templates=("gpu", "late"))
    await stands(here, pod, "TemplateNotFound", f'"{here.namespace}/late"')
    assert all(claim.status.allocation is None for claim in await here.claims_of(pod))
    await here.template("late")
    await recovers(here, pod, "TemplateNotFound")


async def test_a_claim_that_is_missing(here: Stage) -> None:
    pod = await here.pod("one", claims=("late",))
    await stands(here, pod, "ClaimNotFound", f'"{here.namespace}/late"', "create it")
    await here.claim("late")
    await recovers(here, pod, "ClaimNotFound")


# --- claims that are not there for the pod ---------------------------------------------------------------------------


async def test_a_claim_of_another_pod(here: Stage) -> None:
    await here.template()
    owner = await here.pod("owner", templates=("gpu",))
    await here.running("owner")
    [claim] = await here.claims_of(owner)
    name = claim.metadata.name
    pod = await here.pod("thief", claims=(name,))
    await stands(here, pod, "ClaimNotOwned", f'"{here.namespace}/{name}"', 'pod "owner"', "name its template")
    assert await here.devices(name) == devices_of(claim)

    await here.delete_pod("owner")
    await here.waits("thief", "ClaimNotFound")
    await here.claim(name)
    await recovers(here, pod, "ClaimNotOwned", "ClaimNotFound")


async def test_a_claim_that_is_being_deleted(here: Stage) -> None:
    body = {
        "apiVersion": "resource.k8s.io/v1",
        "kind": "ResourceClaim",
        "metadata": {"name": "old", "finalizers": ["e2e.example.com/hold"]},
        "spec": {"devices": {"requests": [{"name": "gpu", "exactly": {"deviceClassName": "gpu.e2e"}}]}},
    }
    await here.client.create(CLAIMS, body, namespace=here.namespace)
    await here.delete_claim("old")
    try:
        pod = await here.pod("one", claims=("old",))
        await stands(here, pod, "ClaimDeleting", f'"{here.namespace}/old"', "created anew")
    finally:
        await here.client.patch(CLAIMS, here.key("old"), {"metadata": {"finalizers": None}}, patch_type="merge")
    await here.gone("old")
    await here.claim("old")
    await recovers(here, pod, "ClaimDeleting")


async def test_a_generated_claim_deleted_under_a_waiting_pod_is_generated_anew(here: Stage) -> None:
    await here.template(count=2)
    await here.pod("two", templates=("gpu",))
    await here.running("two")
    await others_go_on(here)
    pod = await here.pod("late", templates=("gpu",))
    await stands(here, pod, "DevicesInUse", "in use")
    [old] = await here.claims_of(pod)

    await here.delete_claim(old.metadata.name)
    new = await another_claim(here, pod, old)
    await here.delete_pod("two")
    await recovers(here, pod, "ClaimDeleting")  # DevicesInUse was told before and after that
    [used] = await here.claims_of(pod)
    assert used.uid == new.uid
    [published] = (await here.get_pod("late")).status.resource_claim_statuses or ()
    assert published.resource_claim_name == used.metadata.name


async def another_claim(here: Stage, pod: Pod, old: ResourceClaim) -> ResourceClaim:
    found: list[ResourceClaim] = []

    async def there() -> bool:
        found[:] = await here.claims_of(pod)
        return len(found) == 1 and found[0].uid != old.uid

    await until(lambda: f"claim {old.metadata.name} was not generated anew: {found}", there)
    return found[0]


async def test_a_generated_claim_deleted_under_a_running_pod_keeps_its_device_until_the_pod_ends(here: Stage) -> None:
    await here.template(count=2)
    pod = await here.pod("one", templates=("gpu",))
    await here.running("one")
    [before] = await here.claims_of(pod)
    await here.delete_claim(before.metadata.name)

    await others_go_on(here)
    rival = await here.pod("rival", templates=("gpu",))
    await stands(here, rival, "DevicesInUse")
    [kept] = await here.claims_of(pod)
    assert kept.metadata.deletion_timestamp is not None
    assert (kept.uid, devices_of(kept)) == (before.uid, devices_of(before))
    assert kept.reserved_for(pod.uid)
    assert (await here.get_pod("one")).status.phase == "Running"

    await here.delete_pod("one")
    await here.gone(before.metadata.name)
    await recovers(here, rival, "DevicesInUse")


# --- selectors -------------------------------------------------------------------------------------------------------


async def test_a_selector_that_fails_on_a_device(here: Stage) -> None:
    await here.claim("coloured", selector=NO_SUCH_ATTRIBUTE)
    pod = await here.pod("one", claims=("coloured",))
    await stands(here, pod, "SelectorFailed", 'request "gpu"', "selector 0", "no such key: colour", "guard it")

    await here.delete_claim("coloured")
    await here.gone("coloured")
    await here.claim("coloured")
    await recovers(here, pod, "SelectorFailed")


async def test_a_selector_of_a_class_that_fails_on_a_device(here: Stage) -> None:
    name = f"class-of-{here.namespace}"
    await make_class(here.client, name, NO_SUCH_ATTRIBUTE)
    try:
        await here.template(class_name=name)
        pod = await here.pod("one", templates=("gpu",))
        await stands(here, pod, "SelectorFailed", f'DeviceClass "{name}"', "no such key: colour", "guard it")

        right = {"spec": {"selectors": [{"cel": {"expression": "device.driver == 'gpu.dra-operator.io'"}}]}}
        await here.client.patch(CLASSES, ObjectKey("", name), right, patch_type="merge")
        await recovers(here, pod, "SelectorFailed")
    finally:
        await here.client.delete(CLASSES, ObjectKey("", name))


async def test_a_selector_that_does_not_compile_is_refused_by_the_api_server(here: Stage) -> None:
    with pytest.raises(ApiError, match="compilation failed"):
        await here.claim("broken", selector="device.driver == ")


# --- pools -----------------------------------------------------------------------------------------------------------


async def test_a_pool_that_is_incomplete(here: Stage) -> None:
    driver = f"{here.namespace}.example.com"
    await make_class(here.client, driver, f"device.driver == '{driver}'")
    async with published(here) as publish:
        try:
            await publish(driver, 0, of=2)
            await here.template(class_name=driver, count=2)
            pod = await here.pod("one", templates=("gpu",))
            await stands(here, pod, "PoolIncomplete", "pool", "being published")

            await publish(driver, 1, of=2)
            await recovers(here, pod, "PoolIncomplete", runs=False)
            [claim] = await here.claims_of(pod)
            assert sorted(devices_of(claim)) == ["pool/gpu-0", "pool/gpu-1"]
        finally:
            await here.client.delete(CLASSES, ObjectKey("", driver))


# --- admin access ----------------------------------------------------------------------------------------------------


async def admin_template(here: Stage) -> None:
    exactly = {"deviceClassName": "gpu.e2e", "allocationMode": "All", "adminAccess": True}
    body = {
        "apiVersion": "resource.k8s.io/v1",
        "kind": "ResourceClaimTemplate",
        "metadata": {"name": "admin"},
        "spec": {"spec": {"devices": {"requests": [{"name": "all", "exactly": exactly}]}}},
    }
    await here.client.create(TEMPLATES, body, namespace=here.namespace)


@pytest.mark.parametrize("value", [None, "false", "True"])
async def test_admin_access_without_the_label_is_refused_by_the_api_server(here: Stage, value: str | None) -> None:
    await label_admin(here, value)
    with pytest.raises(ApiError, match=ADMIN_ACCESS_LABEL):
        await admin_template(here)


async def test_admin_access_whose_label_was_removed_later(here: Stage) -> None:
    await label_admin(here, "true")
    await admin_template(here)
    early = await here.pod("early", templates=("admin",))
    await here.running("early")
    await label_admin(here, None)

    late = await here.pod("late", templates=("admin",))
    label = f'{ADMIN_ACCESS_LABEL}: "true"'
    await stands(here, late, "AdminAccessDenied", f'"{here.namespace}/admin"', f'namespace "{here.namespace}"', label)
    assert not await here.claims_of(late)
    assert (await here.get_pod("early")).status.phase == "Running"
    [kept] = await here.claims_of(early)
    assert devices_of(kept)

    await label_admin(here, "true")
    await recovers(here, late, "AdminAccessDenied")


# --- examples/invalid ------------------------------------------------------------------------------------------------


ACCEPTED = [file for file in BAD if promise(file)[0] == WAITS]
"""Those that the API server takes, so that the operator has to answer."""


@pytest.mark.parametrize("file", ACCEPTED, ids=lambda file: file.stem)
async def test_an_invalid_example_gets_what_its_comment_promises(here: Stage, cluster: State, file: Path) -> None:
    reason, _, words = promise(file)[1].partition(": ")
    documents = list(yaml.safe_load_all(file.read_text()))
    [class_] = yaml.safe_load_all((EXAMPLES / "01-device-class.yaml").read_text())
    [template] = yaml.safe_load_all((EXAMPLES / "03-resource-claim-template.yaml").read_text())
    example = load_profile("driver-example")
    async with stage(cluster) as elsewhere, published(here) as publish:
        # Each namespace of the examples is one of the test's own; the template is in gpu-claim, as there.
        home = template["metadata"]["namespace"]
        of_pod = documents[-1]["metadata"]["namespace"]
        stages = {of_pod: here} if of_pod == home else {of_pod: here, home: elsewhere}
        await make_class(here.client, class_["metadata"]["name"], class_["spec"]["selectors"][0]["cel"]["expression"])
        for index, device in enumerate(example.devices_of("node", 2).devices):
            await publish(example.driver, index, of=2, device=to_plain(device))
        await create(stages[home], template)
        for document in documents:
            await create(stages[document["metadata"]["namespace"]], document)

        pod = await here.get_pod(documents[-1]["metadata"]["name"])
        await stands(here, pod, reason, words.replace(of_pod, here.namespace))


async def create(where: Stage, document: dict[str, Any]) -> None:
    kinds = {kind.kind: kind for kind in (CLAIMS, TEMPLATES, PODS)}
    body = {**document, "metadata": {**document["metadata"], "namespace": where.namespace}}
    await where.client.create(kinds[document["kind"]], body, namespace=where.namespace)
