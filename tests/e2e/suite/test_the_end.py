"""After everything else, in every flavour: what was asked of the API server, and what an uninstall leaves.

The suite's order puts this module last.
"""

from __future__ import annotations

import asyncio
import json

import pytest

from dra_operator.api.kinds import CLAIMS, PODS, SLICES
from dra_operator.api.names import GATE, OPERATOR_NAMESPACE
from dra_operator.api.rights import AGENT, RESOURCE_GROUP
from dra_operator.sandbox.binaries import release
from tests.e2e.stage import until
from tests.e2e.suite import audit
from tests.e2e.suite.audit import Use
from tests.e2e.suite.ground import Ground

pytestmark = [pytest.mark.cluster, pytest.mark.asyncio(loop_scope="package")]

NOT_USED_HERE = {
    Use("", "pods/eviction", "create"): "nothing is tainted here; tests/integration/test_taint_eviction.py uses it",
    Use("", "pods", "get"): "only where no watch event told of a pod's end",
    Use(RESOURCE_GROUP, "resourceclaims", "get"): "only where the answer to a write was lost",
    Use("events.k8s.io", "events", "patch"): "only where the same is told again within ten minutes",
}
"""Rights that a run may leave unused, and why they are granted all the same."""
if release().minor < 37:
    NOT_USED_HERE[Use(RESOURCE_GROUP, "devicetaintrules", "watch")] = "releases before 1.37 do not serve them as v1"
AGENT_NOT_USED_HERE = {
    **{
        Use(RESOURCE_GROUP, "resourceclaims", verb): "only of a claim that is prepared for longer than pods live here; "
        "tests/integration/test_agent.py uses it"
        for verb in ("list", "watch")
    },
    Use(RESOURCE_GROUP, "resourceslices", "patch"): "only where GPUs change; tests/integration/test_agent.py uses it",
    Use(RESOURCE_GROUP, "resourceslices", "delete"): "only where there are fewer slices than before",
}
PART_OF = "app.kubernetes.io/part-of=dra-operator"


async def test_the_controllers_rights_are_enough_and_no_more(ground: Ground) -> None:
    record = audit.read(ground.folder, "dra-operator")
    tried = ("/secrets: ", "/secrets/any: ")  # by test_tenants.py, in its name; its own request names its Secret
    assert [line for line in record.refused if not any(word in line for word in tried)] == []
    unused = {use for role in ground.flavour.roles for use in audit.unused(role, record)}
    assert unused <= {**NOT_USED_HERE, **ground.flavour.not_used}.keys()


async def test_the_agents_rights_are_enough_and_no_more(ground: Ground) -> None:
    record = audit.read(ground.folder, "dra-operator-agent")
    assert record.refused == []
    assert audit.unused(AGENT, record) <= AGENT_NOT_USED_HERE.keys()


async def test_no_device_was_ever_given_twice(ground: Ground) -> None:
    assert ground.doubles.given > 20
    assert ground.doubles.found == []


async def test_applying_again_changes_nothing(ground: Ground) -> None:
    """Nor does it take away what the operator keeps in objects of the overlay.

    By what grows when a spec changes: kubectl also calls "configured" what it only sent once more.
    """

    def generations() -> dict[str, int]:
        found = json.loads(ground.plane.kubectl("get", "-k", str(ground.overlay), "-o=json").stdout)["items"]
        return {f"{one['kind']}/{one['metadata']['name']}": one["metadata"].get("generation", 0) for one in found}

    before = await asyncio.to_thread(generations)
    assert any(before.values())
    await asyncio.to_thread(ground.plane.kubectl, "apply", "--validate=strict", "-k", str(ground.overlay))
    assert await asyncio.to_thread(generations) == before


async def test_an_uninstall_leaves_nothing(ground: Ground) -> None:
    kinds = {(one["apiVersion"], one["kind"]) for one in ground.objects()}
    replicas = (*ground.controllers.values(), *ground.agents.values())
    await asyncio.gather(*(replica.process.stop() for replica in replicas))
    for replica in replicas:
        assert replica.process.exit_code == 0, replica.process.log.read_text()[-2000:]
    await asyncio.to_thread(
        ground.plane.kubectl, "delete", "--wait=false", "--ignore-not-found", "-k", str(ground.overlay)
    )
    names = ",".join(sorted(f"{kind}.{version.partition('/')[0]}".removesuffix(".v1") for version, kind in kinds))
    left: list[str] = []

    async def nothing() -> bool:
        text = await asyncio.to_thread(ground.plane.kubectl, "get", names, "-A", "-l", PART_OF, "-o=json")
        left[:] = [f"{one['kind']}/{one['metadata']['name']}" for one in json.loads(text.stdout)["items"]]
        return not left

    await until(lambda: f"left over: {left}", nothing, 60.0)
    if not ground.flavour.crd:  # there all claims go with their definition
        claims, _ = await ground.admin.list_objects(CLAIMS)
        assert claims == []
    pods, _ = await ground.admin.list_objects(PODS)
    assert [pod.key for pod in pods if pod.has_gate(GATE) or pod.metadata.namespace == OPERATOR_NAMESPACE] == []
    body = {
        "metadata": {"name": "after"},
        "spec": {
            "containers": [{"name": "none", "image": "none"}],
            "resourceClaims": [{"name": "x", "resourceClaimName": "x"}],
        },
    }

    async def not_gated() -> bool:
        stored = await ground.admin.create(PODS, body, namespace="default", dry_run=True)
        return not stored.has_gate(GATE)

    await until(lambda: "pods are still gated", not_gated)
    if ground.flavour.crd:
        return
    slices, _ = await ground.admin.list_objects(SLICES)
    assert {one.metadata.owner_references[0].kind for one in slices if one.metadata.owner_references} == {"Node"}
