"""The client: what it sends, what it repeats and for how long, and how it makes itself known."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest

from dra_operator.api.kinds import CLAIMS, NODES, PODS
from dra_operator.api.meta import ObjectKey, ObjectMeta
from dra_operator.api.resource import ResourceClaim
from dra_operator.cluster.http import ApiClient, ApiError, NoAnswer, NotSent
from dra_operator.cluster.pace import LATER_MAX
from dra_operator.cluster.sign import Sign
from tests.unit.cluster.script import Answer, Hang, Reset, Script, Seen, Slow, Told, eventually, failure, listing, play

T = TypeVar("T")
KEY = ObjectKey("ns", "a")
POD = {"metadata": {"namespace": "ns", "name": "a", "uid": "u", "resourceVersion": "1"}}


def talk(
    say: Callable[[ApiClient], Awaitable[T]], *told: Told, otherwise: Told | None = None, **options: Any
) -> tuple[T, Script]:
    """Let a client say something to a server that answers as told."""

    async def scenario(script: Script) -> tuple[T, Script]:
        script.tell(*told)
        async with ApiClient(script.url, **options) as client:
            return await say(client), script

    return play(scenario, otherwise=otherwise)


async def get(client: ApiClient) -> Any:
    return await client.get(PODS, KEY)


# --- what is repeated ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "trouble",
    [Reset(), failure(500, "InternalError"), failure(503, "Unavailable"), failure(429, "TooManyRequests")],
)
def test_a_read_is_repeated_with_growing_pauses(trouble: Told) -> None:
    pod, script = talk(get, *[trouble] * 4, Answer(200, POD))
    assert pod.uid == "u"
    pauses = [after.at - before.at for before, after in zip(script.seen, script.seen[1:], strict=False)]
    assert pauses == pytest.approx([0.2, 0.4, 0.8, 1.6])


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize("trouble", [Reset(), failure(500, "InternalError"), failure(503, "Unavailable")])
def test_a_write_that_may_have_taken_effect_is_not(method: str, trouble: Told) -> None:
    async def write(client: ApiClient) -> None:
        await client.request("GET", "/api")  # so that the write goes over a connection that is kept alive
        with pytest.raises((ApiError, NoAnswer)):
            await client.request(method, "/api/v1/pods", body=b"{}")

    _, script = talk(write, Answer(200, {}), trouble, Answer(200, {}))
    assert [one.method for one in script.seen] == ["GET", method]


@pytest.mark.parametrize("code", [400, 403, 404, 409, 410, 422])
def test_a_refusal_is_not_asked_about_again(code: int) -> None:
    async def ask(client: ApiClient) -> ApiError:
        with pytest.raises(ApiError) as caught:
            await get(client)
        return caught.value

    error, script = talk(ask, failure(code, "Reason", "why"))
    assert (error.status, error.reason, error.message) == (code, "Reason", "why")
    assert len(script.seen) == 1


def test_a_server_that_is_down_is_given_up_on() -> None:
    async def ask(client: ApiClient) -> float:
        with pytest.raises(NoAnswer):
            await get(client)
        return asyncio.get_running_loop().time()

    seconds, script = talk(ask, otherwise=Reset())
    assert len(script.seen) == 5
    assert seconds < 5


def test_the_time_limit_is_that_of_all_repetitions() -> None:
    async def ask(client: ApiClient) -> float:
        with pytest.raises(NoAnswer):
            await get(client)
        return asyncio.get_running_loop().time()

    seconds, script = talk(ask, failure(500, "InternalError"), Hang(), timeout=4.0)
    assert seconds == pytest.approx(4.0)
    assert len(script.seen) == 2


def test_retry_after_may_stand_in_the_status() -> None:
    busy = failure(429, "TooManyRequests")
    busy.body["details"] = {"retryAfterSeconds": 3}
    _, script = talk(get, busy, Answer(200, POD))
    assert script.seen[1].at - script.seen[0].at == pytest.approx(3)


def test_however_long_it_is_there() -> None:
    busy = failure(429, "TooManyRequests")
    busy.body["details"] = {"retryAfterSeconds": 10**400}
    _, script = talk(get, busy, Answer(200, POD))
    assert script.seen[1].at - script.seen[0].at <= LATER_MAX + 0.1


def test_the_barrier_is_asked_before_each_attempt() -> None:
    async def ask(client: ApiClient) -> int:
        answers = [True, True, False]
        with pytest.raises(NotSent):
            await client.guarded(lambda: answers.pop(0)).get(PODS, KEY)
        await client.get(PODS, KEY)  # the client itself is not guarded
        return len(answers)

    left, script = talk(ask, *[failure(500, "InternalError")] * 2, Answer(200, POD))
    assert left == 0
    assert len(script.seen) == 3


# --- answers ---------------------------------------------------------------------------------------------------------


def test_an_error_that_is_no_status_is_quoted_in_part() -> None:
    async def ask(client: ApiClient) -> ApiError:
        with pytest.raises(ApiError) as caught:
            await client.create(PODS, POD)
        return caught.value

    error, _ = talk(ask, Answer(502, b"<html>" + b"x" * 1000))
    assert (error.status, error.reason) == (502, "")
    assert error.message.startswith("<html>xxx")
    assert len(error.message) == 200


def test_an_answer_that_is_not_understood_is_none() -> None:
    async def ask(client: ApiClient) -> None:
        with pytest.raises(NoAnswer, match="the answer is no Pod"):
            await get(client)
        with pytest.raises(NoAnswer, match="the answer is no List"):
            await client.list_objects(PODS)

    talk(ask, otherwise=Answer(200, b"<html>"))


def test_redirects_are_not_followed() -> None:
    async def ask(client: ApiClient) -> int:
        with pytest.raises(ApiError) as caught:
            await get(client)
        return caught.value.status

    code, script = talk(ask, Answer(307, b"", {"Location": "/elsewhere"}))
    assert code == 307
    assert len(script.seen) == 1


# --- lists -----------------------------------------------------------------------------------------------------------


def test_a_list_is_read_in_chunks() -> None:
    pages = (listing("10", POD, more="next"), listing("10", POD))
    (pods, version), script = talk(lambda client: client.list_objects(PODS, label_selector="a=b", limit=1), *pages)
    assert (len(pods), version) == (2, "10")
    assert [one.query for one in script.seen] == [
        {"labelSelector": "a=b", "limit": "1"},
        {"labelSelector": "a=b", "limit": "1", "continue": "next"},
    ]


def test_a_list_that_expires_half_way_starts_over_in_one_piece() -> None:
    pages = (listing("10", POD, more="next"), failure(410, "Expired"), listing("20", POD))
    (pods, version), script = talk(lambda client: client.list_objects(PODS), *pages)
    assert (len(pods), version) == (1, "20")
    assert [one.query.get("continue") for one in script.seen] == [None, "next", None]
    assert "limit" not in script.seen[-1].query


def test_a_list_may_be_of_one_namespace_or_of_metadata_only() -> None:
    async def ask(client: ApiClient) -> ObjectMeta:
        await client.list_objects(PODS, namespace="ns", field_selector="spec.nodeName=n")
        (meta,), _ = await client.list_metadata(NODES)
        return meta

    meta, script = talk(ask, listing("10"), listing("10", POD))
    assert meta.uid == "u"
    assert (script.seen[0].path, script.seen[1].path) == ("/api/v1/namespaces/ns/pods", "/api/v1/nodes")
    assert script.seen[0].query["fieldSelector"] == "spec.nodeName=n"
    assert "as=PartialObjectMetadataList" in script.seen[1].headers["Accept"]


# --- writes ----------------------------------------------------------------------------------------------------------


def test_what_is_created_says_its_kind_and_goes_to_its_namespace() -> None:
    async def ask(client: ApiClient) -> None:
        await client.create(CLAIMS, ResourceClaim(metadata=ObjectMeta(name="a", namespace="ns")))
        await client.create(PODS, {"metadata": {"name": "a", "namespace": "ns"}}, dry_run=True)
        await client.create(PODS, {"metadata": {"name": "a"}}, namespace="other")

    _, script = talk(ask, otherwise=Answer(201, POD))
    assert [one.path for one in script.seen] == [
        "/apis/resource.k8s.io/v1/namespaces/ns/resourceclaims",
        "/api/v1/namespaces/ns/pods",
        "/api/v1/namespaces/other/pods",
    ]
    assert (script.seen[0].body["apiVersion"], script.seen[0].body["kind"]) == ("resource.k8s.io/v1", "ResourceClaim")
    assert script.seen[1].query == {"fieldManager": "dra-operator", "dryRun": "All"}


def test_patches_and_updates() -> None:
    async def ask(client: ApiClient) -> None:
        await client.patch(
            PODS, KEY, [], patch_type="json", subresource="status", field_manager="me", force=True, dry_run=True
        )
        await client.update(PODS, await client.get(PODS, KEY), subresource="status")

    _, script = talk(ask, otherwise=Answer(200, POD))
    patch, _, put = script.seen
    assert (patch.method, patch.path) == ("PATCH", "/api/v1/namespaces/ns/pods/a/status")
    assert patch.content_type == "application/json-patch+json"
    assert patch.query == {"fieldManager": "me", "force": "true", "dryRun": "All"}
    assert (put.method, put.path) == ("PUT", "/api/v1/namespaces/ns/pods/a/status")
    assert put.body["kind"] == "Pod"


def test_a_deletion_may_name_its_grace() -> None:
    async def ask(client: ApiClient) -> object:
        return await client.delete(PODS, KEY, grace_seconds=0)

    left, script = talk(ask, Answer(200, {"kind": "Status", "status": "Success"}))
    assert left is None
    assert script.seen[0].body == {"kind": "DeleteOptions", "apiVersion": "v1", "gracePeriodSeconds": 0}


# --- who we are ------------------------------------------------------------------------------------------------------


def test_every_request_says_who_and_for_whom() -> None:
    headers = [("Impersonate-User", "eve"), ("Impersonate-Group", "devs")]
    _, script = talk(get, Answer(200, POD), token="t0", headers=headers, user_agent="me/1")
    seen = script.seen[0].headers
    assert seen["Authorization"] == "Bearer t0"
    assert seen["User-Agent"] == "me/1"
    assert (seen["Impersonate-User"], seen["Impersonate-Group"]) == ("eve", "devs")


def test_a_rotated_token_is_used_at_once_and_a_file_without_one_keeps_the_last(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("first\n")

    async def ask(client: ApiClient) -> None:
        await get(client)
        file.write_text("second, longer\n")
        await get(client)
        file.write_text("of several\nlines\n")
        await get(client)
        file.unlink()
        await get(client)

    _, script = talk(ask, otherwise=Answer(200, POD), token_file=file)
    assert [one.headers["Authorization"] for one in script.seen] == [
        "Bearer first",
        *["Bearer second, longer"] * 3,
    ]


@pytest.mark.parametrize("text", [None, "", "of several\nlines", "a\x00b"])
def test_without_a_token_in_its_file_nothing_is_asked(text: str | None, tmp_path: Path) -> None:
    file = tmp_path / "token"
    if text is not None:
        file.write_text(text)

    async def ask(client: ApiClient) -> None:
        with pytest.raises(NoAnswer, match="token file"):
            await client.create(PODS, POD)

    _, script = talk(ask, token_file=file)
    assert not script.seen


class Renewing:
    """Credentials that are renewed when they are refused."""

    def __init__(self) -> None:
        self.number = 1

    async def authorization(self, *, refused: bool) -> Sign:
        self.number += refused
        return Sign(f"Bearer t{self.number}")


def observed(client: ApiClient) -> list[int | None]:
    """What is told of the answers: the status of each that was a failure."""
    told: list[int | None] = []
    client.observe(lambda *_: None, lambda endpoint, path, error: told.append(None if error is None else error.status))
    return told


def test_it_is_told_that_credentials_are_refused_only_where_there_are_no_others() -> None:
    refusal = failure(401, "Unauthorized")

    async def scenario(script: Script) -> None:
        async with ApiClient(script.url, authenticator=Renewing()) as client:
            told = observed(client)
            script.tell(refusal, Answer(201, POD))
            await client.create(PODS, POD)
            assert told == [None]
            script.tell(refusal, refusal)
            with pytest.raises(ApiError):
                await client.create(PODS, POD)
            assert told == [None, 401]
            script.tell_watches(refusal)
            with pytest.raises(ApiError):
                await anext(client.watch(PODS, resource_version="1", timeout=60))
            assert told == [None, 401]
        async with ApiClient(script.url, token="t") as client:
            told = observed(client)
            script.tell(refusal)
            script.tell_watches(refusal)
            with pytest.raises(ApiError):
                await client.create(PODS, POD)
            with pytest.raises(ApiError):
                await anext(client.watch(PODS, resource_version="1", timeout=60))
            assert told == [401, 401]

    play(scenario)


def test_refused_credentials_are_renewed_once() -> None:
    refusal = failure(401, "Unauthorized")

    async def ask(client: ApiClient) -> None:
        await client.create(PODS, POD)
        with pytest.raises(ApiError):
            await client.create(PODS, POD)

    told = (refusal, Answer(201, POD), refusal, refusal)
    _, script = talk(ask, *told, authenticator=Renewing())
    assert [one.headers["Authorization"] for one in script.seen] == [f"Bearer t{number}" for number in (1, 2, 2, 3)]


def test_refused_credentials_that_stay_the_same_are_not_tried_again() -> None:
    async def ask(client: ApiClient) -> None:
        with pytest.raises(ApiError):
            await get(client)

    _, script = talk(ask, failure(401, "Unauthorized"), token="t")
    assert len(script.seen) == 1


@pytest.mark.parametrize("authenticator", [None, Renewing()], ids=["nobody", "a token"])
def test_writes_that_are_refused_for_their_credentials_cut_off_no_other(authenticator: Renewing | None) -> None:
    """Its answer would be lost, although the server may have taken it."""

    async def scenario(script: Script) -> None:
        script.tell(Slow(Answer(201, POD), 5.0))
        script.otherwise = failure(401, "Unauthorized")
        async with ApiClient(script.url, authenticator=authenticator) as client:
            under_way = asyncio.ensure_future(client.create(PODS, POD))
            await eventually(lambda: script.seen)
            refused = await asyncio.gather(*(client.create(PODS, POD) for _ in range(32)), return_exceptions=True)
            assert [getattr(one, "status", one) for one in refused] == [401] * 32
            assert (await under_way).uid == "u"

    play(scenario)


class Rotating:
    """A client certificate that is another one as soon as the first is refused."""

    replaced = 0

    async def authorization(self, *, refused: bool) -> Sign:
        self.replaced |= refused
        return Sign(None, self.replaced)


def test_writes_that_are_refused_with_an_old_certificate_are_sent_over_new_connections_and_cut_off_no_other() -> None:
    async def scenario(script: Script) -> None:
        known = 0

        def answer(seen: Seen) -> Answer:
            nonlocal known
            known += 1
            return failure(401, "Unauthorized") if known <= 32 else Answer(201, POD)

        script.tell(Slow(Answer(201, POD), 5.0))
        script.otherwise = answer
        async with ApiClient(script.url, authenticator=Rotating()) as client:
            under_way = asyncio.ensure_future(client.create(PODS, POD))
            await eventually(lambda: script.seen)
            created = await asyncio.gather(*(client.create(PODS, POD) for _ in range(32)))
            assert [one.uid for one in created] == ["u"] * 32
            assert not under_way.done()
            assert (await under_way).uid == "u"
        assert len(script.seen) == 1 + 32 + 32

    play(scenario)


def test_a_watch_that_is_refused_for_its_credentials_renews_them() -> None:
    async def scenario(script: Script) -> None:
        script.tell_watches(failure(401, "Unauthorized"))
        async with ApiClient(script.url, authenticator=Renewing()) as client:
            with pytest.raises(ApiError):
                await anext(client.watch(PODS, resource_version="1", timeout=60))
            line = asyncio.ensure_future(anext(client.watch(PODS, resource_version="1", timeout=60)))
            await eventually(lambda: script.watches)
            script.watches[0].raw(b"{}\n")
            assert await line == b"{}"
        assert [one.headers["Authorization"] for one in script.seen] == ["Bearer t1", "Bearer t2"]

    play(scenario)
