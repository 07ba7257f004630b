"""What somebody with the rights of a namespace's editor cannot do, and what our own accounts cannot.

Rights are real: an impersonated user with Kubernetes' own role `edit` in one namespace.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from dra_operator.api.codec import to_plain
from dra_operator.api.kinds import CLAIMS, NAMESPACES, PODS, SLICES
from dra_operator.api.meta import ObjectKey
from dra_operator.api.names import ADMIN_ACCESS_LABEL, GATE, OPERATOR_NAMESPACE
from dra_operator.api.rights import CONTROLLER_ACCOUNT
from dra_operator.cluster.http import ApiError
from dra_operator.cluster.kubeconfig import connect
from tests.e2e.stage import Stage, until
from tests.e2e.suite.conftest import namespace
from tests.e2e.suite.ground import Ground

pytestmark = [pytest.mark.cluster, pytest.mark.asyncio(loop_scope="package")]

RBAC = "rbac.authorization.k8s.io"


@asynccontextmanager
async def tenant(ground: Ground, here: Stage) -> AsyncIterator[Stage]:
    """The same namespace, as its editor sees it."""
    name = f"tenant-{here.namespace}"
    binding = {
        "metadata": {"name": name},
        "roleRef": {"apiGroup": RBAC, "kind": "ClusterRole", "name": "edit"},
        "subjects": [{"apiGroup": RBAC, "kind": "User", "name": name}],
    }
    path = f"/apis/{RBAC}/v1/namespaces/{here.namespace}/rolebindings"
    await here.client.request("POST", path, body=json.dumps(binding).encode())
    config = json.loads(ground.plane.kubeconfig().read_text())
    for user in config["users"]:
        user["user"]["as"] = name
    file = ground.folder / f"{name}.kubeconfig"
    file.write_text(json.dumps(config))
    async with connect(file) as client:

        async def bound() -> bool:
            try:
                await client.list_objects(PODS, namespace=here.namespace)
            except ApiError:
                return False
            return True

        await until(lambda: "the tenant has no rights", bound)
        yield Stage(client, here.namespace)


async def refused(request: Any, *statuses: int) -> None:
    with pytest.raises(ApiError) as error:
        await request
    assert error.value.status in (statuses or (403,)), error.value


async def test_a_tenant_gets_no_device_that_is_in_use(ground: Ground, here: Stage) -> None:
    await here.template(count=2)
    await here.pod("a", templates=("gpu",))
    await here.pod("b", templates=("gpu",))
    await here.running("a", "b")
    [theirs] = await here.claims_of(await here.get_pod("a"))
    assert theirs.status.allocation is not None
    other = await namespace(ground)
    try:
        async with tenant(ground, other) as they:
            mine = await they.claim("mine")
            stolen = {"status": {"allocation": to_plain(theirs.status.allocation)}}
            await refused(they.client.patch(CLAIMS, mine.key, stolen, patch_type="merge", subresource="status"))
            await they.pod("waits", claims=("mine",))
            await other.waits("waits", "DevicesInUse")
            [node] = {device.split("/")[0] for device in await here.devices(theirs.metadata.name)}
            await they.pod("bound", claims=("mine",), nodeName=node)
            await they.pod("ungated", claims=("mine",))
            ungate = {"spec": {"schedulingGates": [{"$patch": "delete", "name": GATE}]}}
            await they.client.patch(PODS, they.key("ungated"), ungate, patch_type="strategic")
            await here.pod("last", templates=("gpu",))
            await here.waits("last", "DevicesInUse")
            assert await other.devices("mine") == []
        assert await here.devices(theirs.metadata.name)
        assert ground.doubles.found == []
    finally:
        await other.clear()


async def test_a_tenant_leaves_the_claims_of_other_namespaces_alone(ground: Ground, here: Stage) -> None:
    await here.template()
    await here.claim("theirs")
    await here.pod("a", claims=("theirs",), templates=("gpu",))
    await here.running("a")
    other = await namespace(ground)
    try:
        async with tenant(ground, other) as they:
            for claim in await here.claims():
                await refused(they.client.get(CLAIMS, claim.key))
                await refused(they.client.delete(CLAIMS, claim.key))
                await refused(
                    they.client.patch(CLAIMS, claim.key, {"metadata": {"finalizers": []}}, patch_type="merge")
                )
            await they.pod("uses", claims=("theirs",))  # a name means one's own namespace
            await other.waits("uses", "ClaimNotFound")
        assert len(await here.claims()) == 2
    finally:
        await other.clear()


async def test_a_tenant_gets_no_admin_access_and_cannot_give_it_to_the_namespace(ground: Ground, here: Stage) -> None:
    async with tenant(ground, here) as they:
        await refused(they.claim("admin", admin=True), 403, 422)
        await refused(they.template("admin", admin=True), 403, 422)
        label = {"metadata": {"labels": {ADMIN_ACCESS_LABEL: "true"}}}
        await refused(they.client.patch(NAMESPACES, ObjectKey("", here.namespace), label, patch_type="merge"))


async def test_a_tenant_publishes_no_slices(ground: Ground, here: Stage) -> None:
    numbers = {"name": "mine", "generation": 1, "resourceSliceCount": 1}
    body = {"metadata": {"name": "mine"}, "spec": {"driver": "gpu.dra-operator.io", "allNodes": True, "pool": numbers}}
    async with tenant(ground, here) as they:
        await refused(they.client.create(SLICES, body))
        slices, _ = await here.client.list_objects(SLICES)
        await refused(they.client.delete(SLICES, slices[0].key))


async def test_an_agent_touches_no_other_nodes_slices(ground: Ground) -> None:
    agents = await ground.pods_of("agent")
    pod, node = min(agents.items())
    slices, _ = await ground.admin.list_objects(SLICES)
    other = next(one.key for one in slices if one.spec.node_name != node)
    async with connect(ground.plane.bound_kubeconfig("dra-operator-agent", "Pod", pod)) as agent:
        await refused(agent.delete(SLICES, other), 422)
        await refused(agent.patch(SLICES, other, {"metadata": {"labels": {"x": "y"}}}, patch_type="merge"), 422)
        numbers = {"generation": 1, "resourceSliceCount": 1}
        own: dict[str, Any] = {"driver": "gpu.dra-operator.io", "nodeName": node, "pool": {"name": node, **numbers}}
        elsewhere = ({"nodeName": "elsewhere"}, {"pool": {"name": "elsewhere", **numbers}})
        for change in elsewhere:
            await refused(agent.create(SLICES, {"metadata": {"name": "mine"}, "spec": {**own, **change}}), 422)


async def test_the_controller_reads_no_secret(ground: Ground, here: Stage) -> None:
    pod = min(await ground.pods_of("controller"))
    async with connect(ground.plane.bound_kubeconfig(CONTROLLER_ACCOUNT, "Pod", pod)) as controller:
        for where in (here.namespace, "kube-system", OPERATOR_NAMESPACE):
            await refused(controller.request("GET", f"/api/v1/namespaces/{where}/secrets"))
            await refused(controller.request("GET", f"/api/v1/namespaces/{where}/secrets/any"))
