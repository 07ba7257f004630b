"""resource.k8s.io by custom resources: what is stored, refused and merged is what the built-in API stores, refuses and
merges.

The built-in API's verdicts are those recorded in tests/corpus, which test_validation.py compares with a living server.
Selectors are checked by the operator's webhook, as an admin gets it from manifests/overlays/crd.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from dra_operator.api.kinds import CLAIMS, CLASSES, SLICES, Kind
from dra_operator.cluster.flavour import Api, find_api
from dra_operator.cluster.http import ApiClient, ApiError
from dra_operator.removal.steps import Agents, Removal
from dra_operator.removal.uninstall import find_plan
from dra_operator.sandbox.controlplane import ControlPlane, Options
from tests.controlplane import new_namespace, running_control_plane
from tests.corpus import Answer, load_answers, load_corpus
from tests.e2e.operators import launch, leading
from tests.e2e.stage import until
from tests.verdicts import bench
from tests.webhook import apply_webhook, free_port

pytestmark = pytest.mark.cluster

ROOT: Final = Path(__file__).parents[2]
CORPUS: Final = load_corpus()
DIFFERENCES: Final = {
    "decode-quantity-fraction": "An amount that is a JSON number with a fraction",
    "decode-duplicate-in-parameters": "The same key twice inside opaque parameters",
    "decode-number-exponent": "A whole number that is written with an exponent",
    "metadata-generation-negative": "`metadata.generation` that a client sends",
    "status-data-long": "`status.devices[].data` of more than 10 KiB",
}
"""Cases of the corpus that get another verdict, and the rule, as docs/crd-flavour.md calls it."""


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """A cluster without the group: the definitions, the policies, and one operator that answers the webhook."""
    log = tmp_path_factory.mktemp("crd") / "operator.log"
    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        running = running_control_plane(Options(crd=True, scheduler=False))
        one = runner.run(running.__aenter__())
        port = free_port()
        flags = ("--no-leader-elect", "--log-format=json", f"--webhook-address=127.0.0.1:{port}")
        operator = launch(one.kubeconfig("operator"), log, flags)
        try:
            apply_webhook(one, port, ("webhook-server", "selectors-crd"))
            runner.run(leading(operator))
            runner.run(_policies_in_force(one))
            yield one
        finally:
            runner.run(operator.stop())
            runner.run(running.__aexit__(None, None, None))


async def _policies_in_force(plane: ControlPlane) -> None:
    """Each takes a moment. What the last of them refuses is refused."""
    attributes = {"a-b": {"bool": True}}
    wrong: tuple[tuple[Kind[Any], dict[str, Any]], ...] = (
        (CLAIMS, claim("admin", {"name": "gpu", "exactly": {"deviceClassName": "gpu", "adminAccess": True}})),
        (SLICES, slice_of("keys", {"name": "gpu-0", "attributes": attributes})),
        (CLASSES, {"metadata": {"name": "selector"}, "spec": {"selectors": [{"cel": {"expression": "1"}}]}}),
        (CLASSES, {"metadata": {"name": "finalizer", "finalizers": ["hold"]}, "spec": {}}),
    )
    async with plane.client() as client:

        async def refused() -> bool:
            answers = [await _refusal(client, kind, body) for kind, body in wrong]
            return all(status in (403, 422) for status in answers)

        await until(lambda: "the policies and the webhook are not in force", refused)


async def _refusal(client: ApiClient, kind: Kind[Any], body: dict[str, Any]) -> int:
    try:
        await client.create(kind, body, namespace="default", dry_run=True)
    except ApiError as error:
        return error.status
    return 0


def claim(name: str, *requests: dict[str, Any]) -> dict[str, Any]:
    return {"metadata": {"name": name}, "spec": {"devices": {"requests": list(requests)}}}


def slice_of(name: str, *devices: dict[str, Any]) -> dict[str, Any]:
    pool = {"name": "node-1", "generation": 1, "resourceSliceCount": 1}
    spec = {"driver": "gpu.example.com", "nodeName": "node-1", "pool": pool, "devices": list(devices)}
    return {"metadata": {"name": name}, "spec": spec}


@pytest.fixture
async def api(plane: ControlPlane) -> AsyncIterator[ApiClient]:
    async with plane.client() as client:
        yield client


@pytest.fixture
async def place(api: ApiClient) -> AsyncIterator[str]:
    async with new_namespace(api, "crd") as name:
        yield name


# --- verdicts --------------------------------------------------------------------------------------------------------


async def test_every_object_gets_the_verdict_of_the_built_in_api_but_for_these(plane: ControlPlane) -> None:
    recorded = load_answers()
    async with bench(plane, CORPUS.values()) as server:
        answers = await server.answers(CORPUS.values())

    def told(answer: Answer) -> str:
        return "accepted" if answer.accepted else f"refused: {answer.message or answer.errors[0]}"

    different = {
        name: (told(recorded[name]), told(answer))
        for name, answer in answers.items()
        if answer.accepted != recorded[name].accepted
    }
    assert {name: both for name, both in different.items() if name not in DIFFERENCES} == {}
    assert different.keys() == DIFFERENCES.keys()


def test_each_difference_has_its_reason_in_the_docs() -> None:
    page = (ROOT / "docs" / "crd-flavour.md").read_text()
    rules = set(DIFFERENCES.values())
    assert len(rules) <= 5
    assert [rule for rule in rules if rule not in page] == []


# --- what is stored --------------------------------------------------------------------------------------------------

SPECS: Final[dict[str, tuple[Kind[Any], dict[str, Any]]]] = {
    "count and mode": (CLAIMS, claim("a", {"name": "gpu", "exactly": {"deviceClassName": "gpu"}})),
    "empty mode and zero count": (
        CLAIMS,
        claim("a", {"name": "gpu", "exactly": {"deviceClassName": "gpu", "allocationMode": "", "count": 0}}),
    ),
    "all": (CLAIMS, claim("a", {"name": "gpu", "exactly": {"deviceClassName": "gpu", "allocationMode": "All"}})),
    "alternatives": (
        CLAIMS,
        claim(
            "a",
            {"name": "x", "exactly": {"deviceClassName": "gpu", "count": 2}},
            {
                "name": "y",
                "firstAvailable": [
                    {"name": "a", "deviceClassName": "gpu", "allocationMode": "All"},
                    {"name": "b", "deviceClassName": "gpu"},
                ],
            },
        ),
    ),
    "toleration": (
        CLAIMS,
        claim("a", {"name": "gpu", "exactly": {"deviceClassName": "gpu", "tolerations": [{"key": "a", "value": "b"}]}}),
    ),
    "slice": (SLICES, slice_of("a", {"name": "gpu-0", "capacity": {"memory": {"value": "40Gi"}, "c": {}}})),
}


@pytest.mark.parametrize("name", SPECS)
async def test_defaults_are_those_of_the_built_in_api(
    api: ApiClient, place: str, admin: ApiClient, namespace: str, name: str
) -> None:
    kind, body = SPECS[name]

    async def stored(client: ApiClient, where: str) -> Any:
        text = json.dumps({"apiVersion": kind.api_version, "kind": kind.kind, **body}).encode()
        path = kind.collection_path(where if kind.namespaced else "")
        return json.loads((await client.request("POST", path, params={"dryRun": "All"}, body=text)).body)["spec"]

    assert await stored(api, place) == await stored(admin, namespace)


async def test_an_old_claim_without_a_count_can_still_be_written(
    api: ApiClient, plane: ControlPlane, place: str
) -> None:
    """It was stored before the policy that writes the count was there."""
    plane.kubectl("delete", "mutatingadmissionpolicybinding", "dra-operator-crd-defaults")

    async def without_count() -> bool:
        body = claim("try", {"name": "gpu", "exactly": {"deviceClassName": "gpu"}})
        answer = await api.request(
            "POST",
            CLAIMS.collection_path(place),
            params={"dryRun": "All"},
            body=json.dumps({"apiVersion": CLAIMS.api_version, "kind": CLAIMS.kind, **body}).encode(),
        )
        return b'"count"' not in answer.body

    try:
        await until(lambda: "the policy is still in force", without_count)
        old = await api.create(
            CLAIMS, claim("old", {"name": "gpu", "exactly": {"deviceClassName": "gpu"}}), namespace=place
        )
    finally:
        plane.kubectl("apply", "--server-side", "-f", str(ROOT / "manifests" / "components" / "crd" / "defaults.yaml"))

    async def with_count() -> bool:
        return not await without_count()

    await until(lambda: "the policy is not in force again", with_count)
    label = {"metadata": {"labels": {"a": "b"}}}
    assert (await api.patch(CLAIMS, old.key, label, patch_type="merge")).metadata.label("a") == "b"
    assert old.spec.devices.requests is not None
    assert [one.exactly.count for one in old.spec.devices.requests if one.exactly is not None] == [1]


# --- how writes of several managers come together --------------------------------------------------------------------


def _status(uid: str, device: str, condition: str) -> dict[str, Any]:
    """What the manager of one device says. No pod, which the operator would look for, and free the claim of."""
    moment = "2026-01-01T00:00:00Z"
    ready = {"type": condition, "status": "True", "reason": "Ready", "message": "", "lastTransitionTime": moment}
    identity = {"driver": "gpu.example.com", "pool": "node-1", "device": device}
    return {
        "reservedFor": [{"apiGroup": "example.com", "resource": "jobs", "name": uid, "uid": uid}],
        "devices": [{**identity, "conditions": [ready]}],
    }


async def _merged(client: ApiClient, where: str) -> tuple[Any, Any, Any]:
    """What comes of: an allocation, two managers that apply a reservation and a device each, and one that comes back
    with another device; and of a second manager's list of requests."""
    first = await client.create(
        CLAIMS, claim("merged", {"name": "gpu", "exactly": {"deviceClassName": "gpu", "count": 2}}), namespace=where
    )
    results = [
        {"request": "gpu", "driver": "gpu.example.com", "pool": "node-1", "device": f"gpu-{i}"} for i in range(2)
    ]
    allocation = {"status": {"allocation": {"devices": {"results": results}}}}
    await client.patch(
        CLAIMS, first.key, allocation, patch_type="merge", subresource="status", field_manager="scheduler"
    )

    async def apply(manager: str, status: dict[str, Any]) -> Any:
        body = {"apiVersion": CLAIMS.api_version, "kind": CLAIMS.kind, "metadata": {"name": "merged"}, "status": status}
        return await client.patch(
            CLAIMS, first.key, body, patch_type="apply", subresource="status", field_manager=manager
        )

    await apply("a", _status("uid-a", "gpu-0", "Ready"))
    await apply("b", _status("uid-b", "gpu-1", "Ready"))
    both = json.loads((await client.request("GET", CLAIMS.path(first.key))).body)["status"]
    await apply("a", _status("uid-c", "gpu-0", "Healthy"))
    changed = json.loads((await client.request("GET", CLAIMS.path(first.key))).body)["status"]
    spec = claim("merged", {"name": "other", "exactly": {"deviceClassName": "gpu"}})
    body = {"apiVersion": CLAIMS.api_version, "kind": CLAIMS.kind, **spec}
    try:
        await client.patch(CLAIMS, first.key, body, patch_type="apply", field_manager="c")
        refused: Any = None
    except ApiError as error:
        refused = (error.status, error.reason)
    return _without_share(both), _without_share(changed), refused


def _without_share(status: Any) -> Any:
    """A custom resource's key of a list is always written out."""
    for device in status["devices"]:
        if device.get("shareID") == "":
            del device["shareID"]
    return status


async def test_applies_of_several_managers_come_together_as_in_the_built_in_api(
    api: ApiClient, place: str, admin: ApiClient, namespace: str
) -> None:
    ours, theirs = await _merged(api, place), await _merged(admin, namespace)
    assert ours == theirs
    assert [one["uid"] for one in ours[1]["reservedFor"]] == ["uid-b", "uid-c"]


# --- the rest --------------------------------------------------------------------------------------------------------


async def test_both_are_told_apart(api: ApiClient, admin: ApiClient) -> None:
    assert (await find_api(api), await find_api(admin)) == (Api.CRD, Api.NATIVE)


async def test_the_overlay_is_accepted_and_changes_nothing_the_second_time(plane: ControlPlane) -> None:
    folder = str(ROOT / "manifests" / "overlays" / "crd")
    rendered = plane.kubectl("kustomize", folder).stdout
    kept = "validatingwebhookconfiguration"  # its url is this module's
    command = ("apply", "--server-side", "--force-conflicts", "--dry-run=server", "--validate=strict", "-k", folder)
    lines = plane.kubectl(*command).stdout.splitlines()
    assert len(lines) == len(re.findall("^kind: ", rendered, re.MULTILINE))
    assert any(line.startswith(kept) for line in lines)


def test_definitions_say_that_they_are_not_approved_and_are_served_all_the_same(plane: ControlPlane) -> None:
    found = json.loads(plane.kubectl("get", "customresourcedefinitions", "-o", "json").stdout)["items"]
    assert len(found) == 5
    for one in found:
        assert one["metadata"]["annotations"]["api-approved.kubernetes.io"].startswith("unapproved, ")
        conditions = {each["type"]: each["status"] for each in one["status"]["conditions"]}
        assert (conditions["Established"], conditions["NamesAccepted"]) == ("True", "True")
        assert "NonStructuralSchema" not in conditions


def test_no_policy_has_an_expression_that_does_not_fit_the_types(plane: ControlPlane) -> None:
    found = json.loads(plane.kubectl("get", "validatingadmissionpolicies", "-o", "json").stdout)["items"]
    ours = [one for one in found if one["metadata"]["name"].startswith("dra-operator-crd-")]
    assert len(ours) == 5
    assert [one["status"] for one in ours if one["status"].get("typeChecking", {}).get("expressionWarnings")] == []


async def test_kubectl_shows_devices_and_who_has_them(plane: ControlPlane, api: ApiClient, place: str) -> None:
    made = await api.create(
        CLAIMS, claim("shown", {"name": "gpu", "exactly": {"deviceClassName": "gpu"}}), namespace=place
    )
    result = {"request": "gpu", "driver": "gpu.example.com", "pool": "node-1", "device": "gpu-0"}
    status = {
        "allocation": {"devices": {"results": [result]}},
        "reservedFor": [{"apiGroup": "example.com", "resource": "jobs", "name": "job-1", "uid": "u"}],
    }
    await api.patch(
        CLAIMS, made.key, {"status": status}, patch_type="merge", subresource="status", field_manager="scheduler"
    )
    head, row = plane.kubectl("get", "resourceclaims", "-n", place).stdout.splitlines()
    assert re.split(r"\s{2,}", head) == ["NAME", "DEVICES", "RESERVED FOR", "AGE"]
    assert row.split()[:3] == ["shown", "gpu-0", "job-1"]


async def test_an_uninstall_leaves_the_rules_of_the_objects_that_stay(api: ApiClient) -> None:
    """Without its policies any tenant could ask for admin access, and kube-scheduler would read counts of 0."""
    removal = Removal(api, "dra-operator", "dra-operator", Agents.AUTO, time.time)
    planned = [task for _, tasks in await find_plan(removal) for task in tasks]
    assert "delete ClusterRole dra-operator" in planned
    assert [task for task in planned if "dra-operator-crd-" in task] == []


async def test_slices_are_found_by_node_and_driver(api: ApiClient) -> None:
    made = await api.create(SLICES, slice_of("selected"))
    try:
        for selector in ("spec.nodeName=node-1", "spec.driver=gpu.example.com"):
            found, _ = await api.list_objects(SLICES, field_selector=selector)
            assert [one.key for one in found] == [made.key]
        assert (await api.list_objects(SLICES, field_selector="spec.nodeName=node-2"))[0] == []
    finally:
        await api.delete(SLICES, made.key)
