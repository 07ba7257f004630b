"""A ResourceQuota for devices of a class: the pod that would exceed it is told so, and runs when there is room."""

from __future__ import annotations

import json

from tests.e2e.stage import CLASS, Stage, until


async def test_a_quota_that_is_used_up_is_named_and_the_pod_runs_when_there_is_room(here: Stage) -> None:
    hard = {f"{CLASS}.deviceclass.resource.k8s.io/devices": "1"}
    path = f"/api/v1/namespaces/{here.namespace}/resourcequotas"
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "gpus"}, "spec": {"hard": hard}}
    await here.client.request("POST", path, body=json.dumps(quota).encode())

    async def counted() -> bool:
        status = json.loads((await here.client.request("GET", f"{path}/gpus")).body).get("status", {})
        return bool(status.get("used"))

    await until(lambda: "the quota is not in force", counted)
    await here.template()
    await here.pod("first", templates=("gpu",))
    await here.running("first")

    second = await here.pod("second", templates=("gpu",))
    sentence = await here.waits("second", "ClaimCreationRefused")
    assert "exceeded quota: gpus" in sentence
    assert f"limited: {CLASS}.deviceclass.resource.k8s.io/devices=1" in sentence
    assert not await here.claims_of(second)

    await here.delete_pod("first", force=True)
    await here.running("second", seconds=90.0)
