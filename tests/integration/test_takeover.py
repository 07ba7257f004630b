"""A new leader on a real API server: when it has caught up, and what it learns of pods that its mirror has missed."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

from dra_operator.api.core import Pod
from dra_operator.api.kinds import CLAIMS, PODS
from dra_operator.api.meta import ObjectKey
from dra_operator.api.resource import ResourceClaim
from dra_operator.cluster.http import ApiClient
from dra_operator.cluster.reflector import Reflector
from dra_operator.controller.takeover import Takeover
from dra_operator.lifecycle.view import View

pytestmark = pytest.mark.cluster


class Sink:
    """What the mirror shows: names and UIDs."""

    def __init__(self) -> None:
        self.shown: dict[str, str] = {}

    async def replace(self, objects: Sequence[ResourceClaim], resource_version: str) -> None:
        self.shown = {claim.metadata.name: claim.uid for claim in objects}

    def apply(self, type_: str, object_: ResourceClaim) -> None:
        if type_ == "DELETED":
            self.shown.pop(object_.metadata.name, None)
        else:
            self.shown[object_.metadata.name] = object_.uid


class LateClient(ApiClient):
    """Another, whose watches bring nothing from the moment on at which `late` is set."""

    def __init__(self, client: ApiClient) -> None:
        self.__dict__ |= client.__dict__
        self.late = False

    async def watch(self, *args: Any, **options: Any) -> AsyncGenerator[bytes, None]:
        async for line in super().watch(*args, **options):
            if self.late:
                await asyncio.Event().wait()
            yield line


@asynccontextmanager
async def mirrored(client: ApiClient, namespace: str) -> AsyncIterator[tuple[Reflector[ResourceClaim], Sink]]:
    """The claims of a namespace."""
    sink = Sink()
    reflector = Reflector(client, CLAIMS, sink, rng=random.Random(0), namespace=namespace)
    task = asyncio.create_task(reflector.run())
    try:
        await reflector.synced.wait()
        yield reflector, sink
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def claim(client: ApiClient, namespace: str, name: str) -> str:
    request = {"name": "gpu", "exactly": {"deviceClassName": "gpu"}}
    body = {"metadata": {"name": name}, "spec": {"devices": {"requests": [request]}}}
    return (await client.create(CLAIMS, body, namespace=namespace)).uid


async def pod(client: ApiClient, namespace: str, name: str) -> Pod:
    """It waits for its devices."""
    spec = {
        "containers": [{"name": "main", "image": "example.com/none"}],
        "resourceClaims": [{"name": "gpu", "resourceClaimName": "gpu"}],
        "schedulingGates": [{"name": "example.com/other"}],
    }
    return await client.create(PODS, {"metadata": {"name": name}, "spec": spec}, namespace=namespace)


async def test_a_quiet_mirror_has_caught_up_although_versions_have_moved_on(admin: ApiClient, namespace: str) -> None:
    await claim(admin, namespace, "one")
    async with mirrored(admin, namespace) as (reflector, _):
        await pod(admin, namespace, "another-resource")
        async with asyncio.timeout(60):
            await reflector.catch_up()
        assert reflector.lists == 1


async def test_what_a_watch_has_not_brought_is_known_all_the_same(admin: ApiClient, namespace: str) -> None:
    client = LateClient(admin)
    await claim(admin, namespace, "replaced")
    await claim(admin, namespace, "deleted")
    async with mirrored(client, namespace) as (reflector, sink):
        client.late = True
        await admin.delete(CLAIMS, ObjectKey(namespace, "deleted"))
        await admin.delete(CLAIMS, ObjectKey(namespace, "replaced"))
        there_is = {name: await claim(admin, namespace, name) for name in ("replaced", "new")}
        async with asyncio.timeout(60):
            await reflector.catch_up()
        assert sink.shown == there_is


async def test_pods_that_were_let_go_or_bound_meanwhile_are_known_to_be(admin: ApiClient, namespace: str) -> None:
    view = View()
    for name in ("waits", "let-go", "bound", "gone"):
        view.observe_pod(await pod(admin, namespace, name))
    stale = {found.metadata.name: found for found in view.pods.values()}
    no_gates = {"spec": {"schedulingGates": None}}
    for name in ("let-go", "bound"):
        await admin.patch(PODS, ObjectKey(namespace, name), no_gates, patch_type="merge")
    binding = {"metadata": {"name": "bound"}, "target": {"apiVersion": "v1", "kind": "Node", "name": "somewhere"}}
    path = f"{PODS.path(ObjectKey(namespace, 'bound'))}/binding"
    await admin.request("POST", path, body=msgspec.json.encode({"apiVersion": "v1", "kind": "Binding", **binding}))
    await admin.delete(PODS, ObjectKey(namespace, "gone"), grace_seconds=0)

    async with mirrored(admin, namespace) as (reflector, _):
        takeover = Takeover(admin, view, reflector, mark=lambda refs: None, ready=lambda seconds: None)
        takeover.begin()
        assert takeover.task is not None
        async with asyncio.timeout(60):
            await takeover.task

    known = {name: view.pod(found.uid) for name, found in stale.items()}
    assert known["waits"] == stale["waits"]
    assert known["let-go"] is not None
    assert not known["let-go"].spec.scheduling_gates
    assert known["bound"] is not None
    assert known["bound"].spec.node_name == "somewhere"
    assert known["gone"] == stale["gone"], "the mirror of pods says so, or a census"
