"""The exact request of each Action, and what each answer comes to."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import msgspec
import pytest

from dra_operator.api.codec import decode, encode, to_plain
from dra_operator.api.core import NodeSelector, Pod, PodResourceClaimStatus
from dra_operator.api.kinds import CLAIMS, PODS
from dra_operator.api.meta import ObjectKey, Uid
from dra_operator.api.names import GATE
from dra_operator.api.resource import (
    AllocationResult,
    DeviceAllocationResult,
    ResourceClaim,
    ResourceClaimConsumerReference,
)
from dra_operator.cluster.http import ApiClient
from dra_operator.cluster.pace import LATER_MAX
from dra_operator.cluster.wire import REQUEST_SECONDS
from dra_operator.cluster.writer import Writer
from dra_operator.lifecycle.actions import (
    Action,
    Conflict,
    CreateClaim,
    DeleteClaim,
    DeletePod,
    Done,
    Later,
    Missing,
    Outcome,
    PodCondition,
    PublishStatus,
    ReadClaim,
    ReadPod,
    Refused,
    SetFinalizers,
    Ungate,
    Unknown,
    WriteClaimStatus,
)
from tests.builders import allocation, claim, need, pod, selector, term
from tests.unit.cluster.apiserver import merged
from tests.unit.cluster.script import Answer, Hang, Reset, Script, Seen, Told, failure, play

KEY = ObjectKey("ns", "training")
UID = Uid("uid-1")
CLAIM_PATH = "/apis/resource.k8s.io/v1/namespaces/ns/resourceclaims/training"
POD_PATH = "/api/v1/namespaces/ns/pods/training"
BARE_CLAIM = {"metadata": {"namespace": "ns", "name": "training", "uid": UID, "resourceVersion": "8"}}
CONSUMER = ResourceClaimConsumerReference(resource="pods", name="a", uid=Uid("pod-uid"))
STATED = {"uid": "uid-1", "resourceVersion": "7"}

RELEASE = WriteClaimStatus(KEY, UID, "7", None, ())
CREATE = CreateClaim(claim(name="training", namespace="ns"))
FINALIZE = SetFinalizers(KEY, UID, "7", ("resource.kubernetes.io/delete-protection",))
DELETE = DeleteClaim(KEY, UID, "7")
EVICT = DeletePod(KEY, UID, "7")
PUBLISH = PublishStatus(KEY, UID, "7", (), None)
UNGATE = Ungate(KEY, UID, "7", None)
WRITES: list[Action] = [RELEASE, CREATE, FINALIZE, DELETE, EVICT, PUBLISH, UNGATE]
READS: list[Action] = [ReadPod(KEY, UID), ReadClaim(KEY)]


def named(action: Action) -> str:
    return type(action).__name__


def perform(
    action: Action,
    *told: Told,
    allow: Callable[[], bool] = lambda: True,
    on_write: Callable[[Action, Outcome, float], None] = lambda action, outcome, seconds: None,
) -> tuple[Outcome, list[Seen]]:
    """Perform it on a server that answers as told. Returns what came of it, and the requests."""

    async def scenario(script: Script) -> tuple[Outcome, list[Seen]]:
        script.tell(*told)
        async with ApiClient(script.url) as client:
            return await Writer(client, allow, on_write).perform(action), script.seen

    return play(scenario)


def only(action: Action, answer: Any = BARE_CLAIM) -> Seen:
    """The one request of an action that goes well."""
    outcome, (seen,) = perform(action, Answer(200, answer))
    assert isinstance(outcome, Done)
    return seen


# --- requests --------------------------------------------------------------------------------------------------------


def test_a_claim_is_created_by_a_post_of_all_of_it() -> None:
    seen = only(CREATE)
    assert (seen.method, seen.path) == ("POST", CLAIM_PATH.rpartition("/")[0])
    assert seen.query == {"fieldManager": "dra-operator"}
    assert seen.body == {"apiVersion": "resource.k8s.io/v1", "kind": "ResourceClaim"} | to_plain(CREATE.claim)


@pytest.mark.parametrize(("finalizers", "stated"), [(("x/a", "x/b"), ["x/a", "x/b"]), ((), None)])
def test_finalizers_are_stated_whole(finalizers: tuple[str, ...], stated: list[str] | None) -> None:
    seen = only(SetFinalizers(KEY, UID, "7", finalizers))
    assert (seen.method, seen.path, seen.content_type) == ("PATCH", CLAIM_PATH, "application/merge-patch+json")
    assert seen.body == {"metadata": STATED | {"finalizers": stated}}


def test_an_allocation_is_written_to_the_status_with_its_consumers() -> None:
    given = allocation("node-a/gpu-0", on="node-a")
    seen = only(WriteClaimStatus(KEY, UID, "7", given, (CONSUMER,)))
    assert (seen.method, seen.path) == ("PATCH", f"{CLAIM_PATH}/status")
    assert seen.content_type == "application/merge-patch+json"
    assert seen.query == {"fieldManager": "dra-operator"}
    assert seen.body["metadata"] == STATED
    assert seen.body["status"]["reservedFor"] == [{"resource": "pods", "name": "a", "uid": "pod-uid"}]
    assert merged({}, seen.body["status"]["allocation"]) == to_plain(given)


def test_a_release_clears_allocation_and_consumers() -> None:
    assert only(RELEASE).body["status"] == {"allocation": None, "reservedFor": None}


def test_what_drivers_said_goes_along_where_the_api_server_does_not_take_it_away() -> None:
    async def scenario(script: Script) -> list[Seen]:
        script.tell(Answer(200, BARE_CLAIM), Answer(200, BARE_CLAIM))
        async with ApiClient(script.url) as client:
            writer = Writer(client)
            writer.clears_devices = True
            await writer.perform(RELEASE)
            await writer.perform(WriteClaimStatus(KEY, UID, "7", allocation("node-a/gpu-0"), ()))
        return script.seen

    release, allocate = play(scenario)
    assert release.body["status"] == {"allocation": None, "reservedFor": None, "devices": None}
    assert "devices" not in allocate.body["status"]


def test_no_member_of_the_allocation_before_is_left_over() -> None:
    """A merge patch merges objects; the server has the old allocation, and gets the new one."""
    names = (*AllocationResult.__struct_fields__, *DeviceAllocationResult.__struct_fields__)
    assert names == ("devices", "node_selector", "allocation_timestamp", "results", "config"), "new members? name them"
    old = {
        "devices": {"results": [{"request": "r", "driver": "d", "pool": "p", "device": "x"}], "config": [{}]},
        "nodeSelector": {"nodeSelectorTerms": [{}]},
        "allocationTimestamp": "2026-01-01T00:00:00Z",
        "fromTheFuture": 1,
    }
    given = allocation("node-a/gpu-0")
    assert given.node_selector is None

    after = merged(old, only(WriteClaimStatus(KEY, UID, "7", given, ())).body["status"]["allocation"])

    assert after == to_plain(given) | {"fromTheFuture": 1}


def test_opaque_parameters_are_written_byte_for_byte() -> None:
    parameters = b'{"big":123456789012345678901234567890,"one":1.0}'
    text = b'{"devices":{"config":[{"source":"FromClaim","opaque":{"driver":"d","parameters":%b}}]}}' % parameters
    given = decode(text, AllocationResult)

    async def scenario(script: Script) -> bytes:
        script.tell(Answer(200, BARE_CLAIM))
        async with ApiClient(script.url) as client:
            await Writer(client).perform(WriteClaimStatus(KEY, UID, "7", given, ()))
        return script.seen[0].content

    assert parameters in play(scenario)


@pytest.mark.parametrize(("action", "path"), [(DELETE, CLAIM_PATH), (EVICT, POD_PATH)], ids=["claim", "pod"])
def test_a_deletion_carries_its_preconditions(action: Action, path: str) -> None:
    seen = only(action, {"kind": "Status", "status": "Success", "metadata": {}})
    assert (seen.method, seen.path) == ("DELETE", path)
    assert seen.body == {"kind": "DeleteOptions", "apiVersion": "v1", "preconditions": STATED}


def test_the_pods_status_is_applied_with_all_that_is_ours_and_not_forced() -> None:
    condition = PodCondition(True, "Allocated", "2 devices on node-a", "2026-01-01T00:00:00Z")
    statuses = (
        PodResourceClaimStatus(name="gpus", resource_claim_name="a-gpus-x"),
        PodResourceClaimStatus(name="none"),
    )
    seen = only(PublishStatus(KEY, UID, "7", statuses, condition))
    assert (seen.method, seen.path) == ("PATCH", f"{POD_PATH}/status")
    assert seen.content_type == "application/apply-patch+yaml"
    assert seen.query == {"fieldManager": "dra-operator"}
    assert seen.body == {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"namespace": "ns", "name": "training"} | STATED,
        "status": {
            "resourceClaimStatuses": [{"name": "gpus", "resourceClaimName": "a-gpus-x"}, {"name": "none"}],
            "conditions": [
                {
                    "type": "dra-operator.io/DevicesAllocated",
                    "status": "True",
                    "reason": "Allocated",
                    "message": "2 devices on node-a",
                    "lastTransitionTime": "2026-01-01T00:00:00Z",
                }
            ],
        },
    }


def test_a_status_is_forced_where_that_was_decided() -> None:
    seen = only(replace(PUBLISH, force=True))
    assert seen.query == {"fieldManager": "dra-operator", "force": "true"}


def test_nothing_of_ours_is_an_empty_status() -> None:
    assert only(PUBLISH).body["status"] == {}


def test_the_gate_alone_is_removed() -> None:
    seen = only(UNGATE)
    assert (seen.method, seen.path) == ("PATCH", POD_PATH)
    assert seen.content_type == "application/strategic-merge-patch+json"
    assert seen.body == {"metadata": STATED, "spec": {"schedulingGates": [{"$patch": "delete", "name": GATE}]}}


def test_the_pin_is_stated_as_the_whole_required_node_affinity() -> None:
    required = selector(term(need("zone", "In", "a"), fields=[need("metadata.name", "In", "node-a")]))
    seen = only(Ungate(KEY, UID, "7", required))
    assert seen.body["spec"]["affinity"] == {
        "nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": {
                "nodeSelectorTerms": [
                    {
                        "matchExpressions": [{"key": "zone", "operator": "In", "values": ["a"]}],
                        "matchFields": [{"key": "metadata.name", "operator": "In", "values": ["node-a"]}],
                    }
                ]
            }
        }
    }
    assert decode(encode(to_plain(required)), NodeSelector) == required


@pytest.mark.parametrize(("action", "path"), [(READS[0], POD_PATH), (READS[1], CLAIM_PATH)], ids=["pod", "claim"])
def test_reads_are_plain(action: Action, path: str) -> None:
    seen = only(action)
    assert (seen.method, seen.path, seen.query, seen.body) == ("GET", path, {}, None)


# --- answers ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("action", WRITES, ids=named)
@pytest.mark.parametrize(
    ("told", "kind"),
    [
        (failure(409, "Conflict"), Conflict),
        (failure(400, "BadRequest"), Refused),
        (failure(401, "Unauthorized"), Refused),
        (failure(403, "Forbidden"), Refused),
        (failure(413, "RequestEntityTooLarge"), Refused),
        (failure(422, "Invalid"), Refused),
        (failure(404, "NotFound", "the server could not find the requested resource"), Unknown),
        (Answer(404, b"404 page not found"), Unknown),
        (failure(408, "Timeout"), Unknown),
        (failure(429, "TooManyRequests"), Later),
        (Answer(429, b"a proxy"), Later),
        (failure(500, "InternalError"), Unknown),
        (failure(503, "ServiceUnavailable"), Unknown),
        (failure(504, "Timeout"), Unknown),
        (Answer(502, b"<html>a proxy</html>"), Unknown),
        (Answer(200, b"<html>a proxy</html>"), Unknown),
        (Answer(302, b"", {"Location": "http://elsewhere/"}), Unknown),
        (Reset(), Unknown),
        (Hang(), Unknown),
    ],
)
def test_answers_to_writes(action: Action, told: Told, kind: type[Outcome]) -> None:
    outcome, seen = perform(action, told)
    assert isinstance(outcome, kind)
    assert len(seen) == 1, "a write is never sent again by itself"


@pytest.mark.parametrize("action", [*WRITES, ReadClaim(KEY)], ids=named)
def test_what_is_not_there(action: Action) -> None:
    outcome, _ = perform(action, failure(404, "NotFound", about=KEY.name))
    assert outcome == Done(None) if isinstance(action, DeleteClaim | DeletePod) else isinstance(outcome, Missing)


@pytest.mark.parametrize("action", WRITES, ids=named)
def test_what_was_turned_away_is_sent_again_after_the_time_named(action: Action) -> None:
    outcome, seen = perform(action, failure(429, "TooManyRequests", retry_after=2), Answer(200, BARE_CLAIM))
    assert isinstance(outcome, Done)
    assert seen[1].at - seen[0].at == pytest.approx(2)
    assert (seen[1].method, seen[1].path, seen[1].body) == (seen[0].method, seen[0].path, seen[0].body)


def test_but_not_for_ever() -> None:
    outcome, seen = perform(RELEASE, *[failure(429, "TooManyRequests", retry_after=3)] * 50)
    assert outcome == Later("429 TooManyRequests: TooManyRequests", 3.0)
    assert len(seen) == 5


def test_a_longer_wait_than_there_is_time_is_the_callers() -> None:
    outcome, seen = perform(RELEASE, *[failure(429, "TooManyRequests", retry_after=365 * 86400)] * 50)
    assert outcome == Later("429 TooManyRequests: TooManyRequests", LATER_MAX)
    assert len(seen) == 1 + REQUEST_SECONDS // LATER_MAX


def test_a_claim_that_exists_is_read_so_that_one_sees_whose_it_is() -> None:
    outcome, seen = perform(CREATE, failure(409, "AlreadyExists"), Answer(200, BARE_CLAIM))
    assert isinstance(outcome, Done)
    assert isinstance(outcome.object, ResourceClaim)
    assert outcome.object.uid == UID
    assert [one.method for one in seen] == ["POST", "GET"]


def test_a_claim_that_existed_and_is_gone_is_a_conflict() -> None:
    outcome, _ = perform(CREATE, failure(409, "AlreadyExists"), failure(404, "NotFound", about=KEY.name))
    assert isinstance(outcome, Conflict)


@pytest.mark.parametrize(
    "told",
    [
        Answer(404, b"404 page not found"),
        failure(404, "NotFound", "the server could not find the requested resource"),
        Answer(404, {"details": {"name": KEY.name}}),
    ],
    ids=["the group is away", "the resource is away", "a proxy"],
)
@pytest.mark.parametrize("action", READS, ids=named)
def test_what_cannot_be_asked_for_is_not_gone(action: Action, told: Told) -> None:
    """The devices of a pod that runs would be another's, had a proxy lost its way for a moment."""
    assert isinstance(perform(action, told)[0], Unknown)


def test_a_deleted_claim_that_stays_for_its_finalizers_is_returned() -> None:
    metadata = BARE_CLAIM["metadata"] | {"deletionTimestamp": "2026-01-01T00:00:00Z"}
    outcome, _ = perform(DELETE, Answer(200, {"metadata": metadata | {"finalizers": ["x/y"]}}))
    assert isinstance(outcome, Done)
    assert outcome.object is not None
    assert outcome.object.metadata.finalizers == ("x/y",)
    assert perform(DELETE, Answer(200, {"metadata": metadata}))[0] == Done(None)


def test_a_live_pod_is_returned_and_another_of_its_name_is_not_it() -> None:
    live = to_plain(pod("training", namespace="ns"))
    found, _ = perform(ReadPod(KEY, live["metadata"]["uid"]), Answer(200, live))
    assert isinstance(found, Done)
    assert isinstance(found.object, Pod)
    assert perform(ReadPod(KEY, UID), Answer(200, live))[0] == Done(None)
    assert perform(ReadPod(KEY, UID), failure(404, "NotFound", about=KEY.name))[0] == Done(None)
    assert isinstance(perform(ReadPod(KEY, UID), failure(403, "Forbidden"))[0], Refused)


@pytest.mark.parametrize("action", READS, ids=named)
def test_reads_are_repeated_until_they_are_answered(action: Action) -> None:
    told: list[Told] = [Reset(), failure(500, "InternalError"), failure(429, "TooManyRequests")]
    outcome, _ = perform(action, *told, Answer(200, BARE_CLAIM))
    assert isinstance(outcome, Done)


# --- barrier and hook ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("action", WRITES, ids=named)
def test_who_does_not_lead_sends_nothing(action: Action) -> None:
    written: list[Action] = []
    outcome, seen = perform(
        action, allow=lambda: False, on_write=lambda action, outcome, seconds: written.append(action)
    )
    assert isinstance(outcome, Unknown)
    assert not seen
    assert not written


@pytest.mark.parametrize("action", READS, ids=named)
def test_reading_is_free(action: Action) -> None:
    assert isinstance(perform(action, Answer(200, BARE_CLAIM), allow=lambda: False)[0], Done)


def test_who_loses_the_lease_while_waiting_does_not_send_again() -> None:
    def leads_for_a_second() -> bool:
        return asyncio.get_running_loop().time() < 1

    outcome, seen = perform(RELEASE, failure(429, "TooManyRequests", retry_after=2), allow=leads_for_a_second)
    assert isinstance(outcome, Unknown)
    assert len(seen) == 1


def test_the_hook_hears_of_every_write_and_its_time() -> None:
    heard: list[tuple[Action, Outcome, float]] = []
    outcome, _ = perform(RELEASE, Hang(), on_write=lambda *one: heard.append(one))
    assert [(action, said) for action, said, _ in heard] == [(RELEASE, outcome)]
    assert heard[0][2] == pytest.approx(REQUEST_SECONDS)
    perform(READS[0], Answer(200, BARE_CLAIM), on_write=lambda *one: heard.append(one))
    assert len(heard) == 1


def test_every_action_is_tried_here() -> None:
    assert {type(action) for action in WRITES + READS} == set(Action.__args__)
    assert (CLAIMS.path(KEY), PODS.path(KEY)) == (CLAIM_PATH, POD_PATH)
    assert msgspec.json.decode(encode(CREATE.claim))
