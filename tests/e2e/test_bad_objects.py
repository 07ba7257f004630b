"""More bad input on a real cluster: limits, quotas, namespaces, drivers that publish nonsense, names that do not fit.

As in `test_bad_input.py`: that pod waits and says why, others go on, and it recovers when the cause is gone.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
import pytest

from dra_operator.api.kinds import CLAIMS, CLASSES, NAMESPACES, SLICES, TEMPLATES
from dra_operator.api.meta import ObjectKey
from dra_operator.api.names import ADMIN_ACCESS_LABEL
from dra_operator.api.resource import RESERVED_FOR_MAX_SIZE
from dra_operator.cluster.http import ApiError
from dra_operator.sandbox.state import State
from dra_operator.validation.rawjson import PARAMETERS_MAX
from tests.e2e.stage import Stage, make_class, new_stage, stage, until
from tests.e2e.story import Publish, label_admin, others_go_on, published, recovers, stands

# --- claims that are full --------------------------------------------------------------------------------------------


async def test_a_claim_with_256_consumers(here: Stage) -> None:
    await here.claim("popular")
    await here.pod("first", claims=("popular",))
    await here.running("first")
    claim = await here.find_claim("popular")
    assert claim is not None
    [user] = claim.status.reserved_for or ()
    first = {"resource": "pods", "name": user.name, "uid": user.uid}
    # Consumers that are not pods: nobody but their own controller may take them out.
    things = [
        {"apiGroup": "example.com", "resource": "things", "name": f"thing-{n}", "uid": f"thing-{n}"}
        for n in range(RESERVED_FOR_MAX_SIZE - 1)
    ]

    async def reserve(*consumers: dict[str, Any]) -> None:
        status = {"status": {"reservedFor": list(consumers)}}
        await here.client.patch(CLAIMS, here.key("popular"), status, patch_type="merge", subresource="status")

    await reserve(first, *things)
    try:
        pod = await here.pod("one-too-many", claims=("popular",))
        await stands(here, pod, "ClaimFull", f'"{here.namespace}/popular"', "256 consumers", "another claim")
        await reserve(first, *things[1:])
        await recovers(here, pod, "ClaimFull")
    finally:
        users = [{"resource": "pods", "name": one.name, "uid": one.uid} for one in await _pods_of(here, "popular")]
        await reserve(*users)


async def _pods_of(here: Stage, name: str) -> list[Any]:
    claim = await here.find_claim(name)
    assert claim is not None
    return [one for one in claim.status.reserved_for or () if one.resource == "pods"]


# --- claims that may not be created ----------------------------------------------------------------------------------


async def limit_claims(here: Stage, count: int) -> None:
    """A quota for claims in the namespace, in force when this returns."""
    path = f"/api/v1/namespaces/{here.namespace}/resourcequotas"
    hard = {"hard": {"count/resourceclaims.resource.k8s.io": str(count)}}
    body = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "claims"}, "spec": hard}
    try:
        await here.client.request("POST", path, body=json.dumps(body).encode())
    except ApiError as error:
        if error.reason != "AlreadyExists":
            raise
        patch = json.dumps({"spec": hard}).encode()
        await here.client.request("PATCH", f"{path}/claims", body=patch, content_type="application/merge-patch+json")

    async def in_force() -> bool:
        answer = await here.client.request("GET", f"{path}/claims")
        return bool(json.loads(answer.body).get("status", {}).get("hard") == hard["hard"])

    await until(lambda: f"the quota of {count} claims is not in force", in_force)


async def test_a_quota_that_leaves_no_room_for_the_claim(here: Stage, cluster: State) -> None:
    await here.template()
    await limit_claims(here, 0)
    async with stage(cluster) as elsewhere:
        pod = await here.pod("one", templates=("gpu",))
        await stands(here, pod, "ClaimCreationRefused", "exceeded quota", others=elsewhere)
    await limit_claims(here, 10)
    await recovers(here, pod, "ClaimCreationRefused")


@contextmanager
def paused(state: State, name: str) -> Iterator[None]:
    """One of the cluster's programs does nothing for the length of the block."""
    [process] = [one for one in state.children if one.name == name]
    os.kill(process.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(process.pid, signal.SIGCONT)


async def test_a_namespace_that_is_going_away(here: Stage, cluster: State) -> None:
    """The namespace stays as long as the controller manager is paused; the operator meets it as it is going."""
    going = await new_stage(here.client, cluster)
    await going.template()
    key = ObjectKey("", going.namespace)
    with paused(cluster, "kube-controller-manager"):
        with paused(cluster, "operator"):
            await going.pod("one", templates=("gpu",))
            await here.client.delete(NAMESPACES, key)
        message = await going.waits("one", "ClaimCreationRefused")
        assert f"namespace {going.namespace} because it is being terminated" in message
        assert not await going.claims()
        await others_go_on(here)

    async def gone() -> bool:
        try:
            await here.client.get(NAMESPACES, key)
        except ApiError as error:
            return error.status == 404
        return False

    await until(lambda: f"namespace {going.namespace} does not go", gone)


# --- drivers that publish nonsense -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("attributes", "refusal"),
    [
        pytest.param({"firmware": {"version": "one"}}, "must be a string compatible with semver", id="no version"),
        pytest.param({"firmware": {}}, "must specify one of: `int`, `bool`", id="no value"),
        pytest.param({"firmware": {"string": "x", "int": 1}}, "specify exactly one of: `int`, `bool`", id="two values"),
        pytest.param({"firm ware": {"int": 1}}, "a valid C identifier", id="no name"),
        pytest.param({"firmware": {"string": "x" * 65}}, "may not be more than 64", id="too long"),
        pytest.param({f"a{n}": {"int": n} for n in range(33)}, "32", id="too many"),
    ],
)
async def test_attributes_that_the_api_server_refuses_never_reach_a_selector(
    here: Stage, attributes: dict[str, Any], refusal: str
) -> None:
    async with published(here) as publish:
        with pytest.raises(ApiError, match=refusal):
            await publish(f"{here.namespace}.example.com", 0, of=1, device={"attributes": attributes})


async def test_an_attribute_of_another_type_than_the_selector_expects(here: Stage) -> None:
    driver = f"{here.namespace}.example.com"
    await make_class(here.client, driver, f"device.driver == '{driver}'")
    async with published(here) as publish:
        try:
            await publish(driver, 0, of=1, device={"attributes": {"cores": {"string": "plenty"}}})
            await here.template(class_name=driver, selector=f"device.attributes['{driver}'].cores >= 8")
            pod = await here.pod("one", templates=("gpu",))
            await stands(here, pod, "SelectorFailed", 'request "gpu"', "selector 0", "no such overload", "gpu-0")

            await mend(here, publish, 0, [{"name": "gpu-0", "attributes": {"cores": {"int": 16}}}])
            await recovers(here, pod, "SelectorFailed", runs=False)
        finally:
            await here.client.delete(CLASSES, ObjectKey("", driver))


async def test_a_pool_that_lists_a_device_twice(here: Stage) -> None:
    driver = f"{here.namespace}.example.com"
    await make_class(here.client, driver, f"device.driver == '{driver}'")
    async with published(here) as publish:
        try:
            await publish(driver, 0, of=2)
            await publish(driver, 1, of=2)
            await mend(here, publish, 1, [{"name": "gpu-0"}])
            await here.template(class_name=driver)
            pod = await here.pod("one", templates=("gpu",))
            await stands(here, pod, "PoolInvalid", f'driver "{driver}"', '"pool"', "gpu-0")

            await mend(here, publish, 1, [{"name": "gpu-1"}])
            await recovers(here, pod, "PoolInvalid", runs=False)
        finally:
            await here.client.delete(CLASSES, ObjectKey("", driver))


async def test_a_device_that_consumes_counters_that_its_pool_does_not_have(here: Stage) -> None:
    driver = f"{here.namespace}.example.com"
    await make_class(here.client, driver, f"device.driver == '{driver}'")
    consumes = [{"counterSet": "nowhere", "counters": {"memory": {"value": "1Gi"}}}]
    async with published(here) as publish:
        try:
            await publish(driver, 0, of=1, device={"consumesCounters": consumes})
            await here.template(class_name=driver)
            pod = await here.pod("one", templates=("gpu",))
            await stands(here, pod, "PoolInvalid", f'driver "{driver}"', "nowhere")

            await mend(here, publish, 0, [{"name": "gpu-0"}])
            await recovers(here, pod, "PoolInvalid", runs=False)
        finally:
            await here.client.delete(CLASSES, ObjectKey("", driver))


async def mend(here: Stage, publish: Publish, index: int, devices: list[dict[str, Any]]) -> None:
    """The driver publishes a slice's devices anew."""
    body = {"spec": {"devices": devices}}
    await here.client.patch(SLICES, publish.key(index), body, patch_type="merge")


async def test_a_class_without_selectors_offers_the_devices_of_every_driver(here: Stage) -> None:
    driver = f"{here.namespace}.example.com"
    body = {"apiVersion": "resource.k8s.io/v1", "kind": "DeviceClass", "metadata": {"name": driver}, "spec": {}}
    await here.client.create(CLASSES, body)
    async with published(here) as publish:
        try:
            await here.template(class_name=driver, selector=f"device.attributes['{driver}'].model == 'x1'")
            pod = await here.pod("one", templates=("gpu",))
            await stands(here, pod, "SelectorFailed", "selector 0", "no such key: model", "gpu.dra-operator.io/gpu-")

            spec = {"spec": {"selectors": [{"cel": {"expression": f"device.driver == '{driver}'"}}]}}
            await here.client.patch(CLASSES, ObjectKey("", driver), spec, patch_type="merge")
            await here.waits("one", "NoMatchingDevice")
            await publish(driver, 0, of=1, device={"attributes": {"model": {"string": "x1"}}})
            await recovers(here, pod, "SelectorFailed", runs=False)
        finally:
            await here.client.delete(CLASSES, ObjectKey("", driver))


# --- names that do not fit -------------------------------------------------------------------------------------------


async def test_a_container_that_uses_a_request_which_the_claim_does_not_have(here: Stage) -> None:
    await here.claim("mine")
    main = {"name": "main", "image": "none", "resources": {"claims": [{"name": "c0", "request": "accelerator"}]}}
    pod = await here.pod("one", claims=("mine",), containers=[main])
    await stands(
        here, pod, "RequestInvalid", 'container "main"', 'request "accelerator"', f'"{here.namespace}/mine"', '"gpu"'
    )

    await here.delete_claim("mine")
    await here.gone("mine")
    request = {"name": "accelerator", "exactly": {"deviceClassName": "gpu.e2e"}}
    body = {"metadata": {"name": "mine"}, "spec": {"devices": {"requests": [request]}}}
    await here.client.create(CLAIMS, body, namespace=here.namespace)
    await recovers(here, pod, "RequestInvalid")


@pytest.mark.parametrize(
    "part",
    [
        pytest.param({"constraints": [{"requests": ["nope"], "matchAttribute": "example.com/a"}]}, id="constraint"),
        pytest.param(
            {"config": [{"requests": ["nope"], "opaque": {"driver": "example.com", "parameters": {}}}]}, id="config"
        ),
    ],
)
async def test_other_names_of_requests_are_checked_by_the_api_server(here: Stage, part: dict[str, Any]) -> None:
    request = {"name": "gpu", "exactly": {"deviceClassName": "gpu.e2e"}}
    body = {"metadata": {"name": "mine"}, "spec": {"devices": {"requests": [request], **part}}}
    with pytest.raises(ApiError, match="must be the name of a request in the claim"):
        await here.client.create(CLAIMS, body, namespace=here.namespace)


async def test_parameters_nested_as_deep_as_the_api_server_stores_them_stop_nobody(here: Stage) -> None:
    """Claims are read by our own mirror, templates by Kopf."""
    levels = PARAMETERS_MAX // 2 - 10
    parameters = msgspec.Raw(b'{"a":' + b"[" * levels + b"]" * levels + b"}")
    request = {"name": "gpu", "exactly": {"deviceClassName": "gpu.e2e"}}
    spec = {
        "devices": {"requests": [request], "config": [{"opaque": {"driver": "a.example", "parameters": parameters}}]}
    }
    await here.client.create(CLAIMS, {"metadata": {"name": "deep"}, "spec": spec}, namespace=here.namespace)
    await here.client.create(
        TEMPLATES, {"metadata": {"name": "deep"}, "spec": {"spec": spec}}, namespace=here.namespace
    )

    await here.pod("one", templates=("deep",), claims=("deep",))

    await here.running("one")
    await others_go_on(here)


# --- a label that comes and goes -------------------------------------------------------------------------------------


async def test_a_users_own_admin_claim_whose_label_was_removed_before_it_is_used(here: Stage) -> None:
    await label_admin(here, "true")
    request = {"name": "all", "exactly": {"deviceClassName": "gpu.e2e", "allocationMode": "All", "adminAccess": True}}
    body = {"metadata": {"name": "watch"}, "spec": {"devices": {"requests": [request]}}}
    await here.client.create(CLAIMS, body, namespace=here.namespace)
    await label_admin(here, None)

    pod = await here.pod("one", claims=("watch",))
    label = f'{ADMIN_ACCESS_LABEL}: "true"'
    await stands(here, pod, "AdminAccessDenied", f'"{here.namespace}/watch"', label)
    assert not await here.devices("watch")

    await label_admin(here, "true")
    await recovers(here, pod, "AdminAccessDenied")
    assert await here.devices("watch")
    await label_admin(here, None)
    assert (await here.get_pod("one")).status.phase == "Running"
