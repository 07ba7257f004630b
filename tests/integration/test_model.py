"""The model of the API server that the simulation stands on answers as the real one does.

Random operations are played on both (`tests/model_twin.py`): uid and resourceVersion preconditions, the patches that
the operator sends, applies with and without force, finalizers, graceful deletions, what validation refuses. At every
step the code, the reason and the object are the same, and in the end the watches have told the same.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import msgspec
import pytest

from dra_operator.api.kinds import NODES
from dra_operator.api.meta import ObjectKey
from dra_operator.cluster.http import ApiClient, ApiError
from dra_operator.controller.takeover import UNBOUND
from tests.controlplane import new_namespace
from tests.model_twin import KINDS, NODE, Outcome, Side, operations, play_on_model, play_on_server, project
from tests.simulation.model.fields import Json
from tests.simulation.model.server import list_body
from tests.simulation.model.store import ModelStore

OPERATIONS = 150
LAST = "the-last"
_CLAIM = {"devices": {"requests": [{"name": "gpu", "exactly": {"deviceClassName": "gpu"}}]}}
LAST_SPECS: dict[str, Json] = {
    "pods": {"containers": [{"name": "main", "image": "none"}]},
    "resourceclaims": _CLAIM,
    "resourceclaimtemplates": {"spec": _CLAIM},
}


@pytest.fixture(autouse=True)
async def _node(admin: ApiClient) -> AsyncIterator[None]:
    await admin.create(NODES, {"metadata": {"name": NODE}})
    yield
    await admin.delete(NODES, ObjectKey("", NODE))


def new_model(namespace: str) -> ModelStore:
    store = ModelStore(lambda: "2026-01-01T00:00:00Z", gate="dra-operator.io/allocation")
    object_ = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}
    store.create("namespaces", object_, manager="test", actor="test")
    return store


@pytest.mark.cluster
@pytest.mark.parametrize("seed", range(3))
async def test_the_model_answers_as_the_api_server_does(admin: ApiClient, seed: int) -> None:
    async with new_namespace(admin, "twin") as namespace:
        store = new_model(namespace)
        real, model = Side(namespace), Side(namespace)
        _, start = await admin.list_raw(KINDS["pods"], namespace=namespace)
        done: list[str] = []
        for op in operations(seed, OPERATIONS):
            expected = await play_on_server(admin, real, op)
            given = play_on_model(store, model, op)
            done.append(f"{op} -> {expected.status} {expected.reason}")
            assert _alike(given, expected), _difference(done, given, expected)
        for selector in ("", UNBOUND):
            metas, _ = await admin.list_metadata(KINDS["pods"], namespace=namespace, field_selector=selector)
            assert _listed(store, namespace, selector) == [meta.name for meta in metas]
        for resource in KINDS:
            told = [(change.type, project(resource, change.object)) for change in store.by_resource.get(resource, ())]
            seen = await _watched(admin, namespace, resource, start)
            assert told == seen


@pytest.mark.cluster
@pytest.mark.parametrize(
    "path", ["/apis/nobody.example.com/v1/namespaces/default/things/one", "/api/v1/namespaces/default/things/one"]
)
async def test_what_is_not_served_is_not_gone(admin: ApiClient, path: str) -> None:
    """A group whose definition is away, and a resource of a group that is there."""
    with pytest.raises(ApiError) as caught:
        await admin.request("GET", path)
    assert (caught.value.status, caught.value.is_gone) == (404, False)


def _listed(store: ModelStore, namespace: str, field_selector: str) -> list[str]:
    body = msgspec.json.decode(list_body(store, "pods", namespace, field_selector))
    return [item["metadata"]["name"] for item in body["items"]]


def _alike(given: Outcome, expected: Outcome) -> bool:
    return given == (expected if expected.status >= 300 else expected._replace(status=200))


def _difference(done: list[str], given: Outcome, expected: Outcome) -> str:
    return "\n".join([*done[-12:], f"the API server: {expected}", f"the model:      {given}"])


async def _watched(client: ApiClient, namespace: str, resource: str, start: str) -> list[tuple[str, Json]]:
    """The events since `start`, up to that of an object made for the purpose: what came before it is all that came."""
    await client.create(
        KINDS[resource], {"metadata": {"name": LAST}, "spec": LAST_SPECS[resource]}, namespace=namespace
    )
    seen: list[tuple[str, Json]] = []
    async for line in client.watch(KINDS[resource], resource_version=start, timeout=60, namespace=namespace):
        event = msgspec.json.decode(line)
        if event["type"] != "BOOKMARK" and event["object"]["metadata"]["name"] == LAST:
            return seen
        if event["type"] != "BOOKMARK":
            seen.append((event["type"], project(resource, event["object"])))
    raise AssertionError(f"the watch of {resource} ended before its last event")
