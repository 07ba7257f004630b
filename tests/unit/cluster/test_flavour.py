"""Who serves resource.k8s.io: told apart by one request, waited for while the API server starts, refused in time."""

from __future__ import annotations

import pytest

from dra_operator.cluster.flavour import Api, ApiMissing, expect_api, find_api
from dra_operator.cluster.http import ApiClient, ApiError
from tests.unit.cluster.script import Answer, Reset, Script, Told, failure, play

NATIVE = Answer(200, {"kind": "ResourceClaimList"})
CUSTOM = failure(406, "NotAcceptable")
MISSING = failure(404, "NotFound")


def served(*plurals: str) -> Answer:
    """An `APIResourceList`, with a subresource as it has one."""
    names = (*plurals, "resourceclaims/status")
    return Answer(200, {"kind": "APIResourceList", "resources": [{"name": name} for name in names]})


ALL = served("deviceclasses", "resourceclaims", "resourceclaimtemplates", "resourceslices")


def found(*told: Told, wanted: Api = Api.AUTO, patience: float = 5.0) -> tuple[Api, list[str]]:
    """What is found, and why it was waited for."""
    waits: list[str] = []

    async def scenario(script: Script) -> Api:
        script.tell(*told)
        async with ApiClient(script.url, timeout=2.0) as client:
            return await expect_api(client, wanted, patience=patience, waiting=waits.append)

    return play(scenario), waits


@pytest.mark.parametrize(("told", "api"), [(NATIVE, Api.NATIVE), (CUSTOM, Api.CRD), (MISSING, None)])
def test_custom_resources_have_no_protobuf(told: Told, api: Api | None) -> None:
    async def scenario(script: Script) -> Api | None:
        script.tell(told)
        async with ApiClient(script.url) as client:
            answer = await find_api(client)
        [seen] = script.seen
        assert (seen.method, seen.path) == ("GET", "/apis/resource.k8s.io/v1/resourceclaims")
        assert seen.query == {"limit": "1"}
        return answer

    assert play(scenario) is api


def test_it_is_waited_for_while_nobody_answers() -> None:
    api, waits = found(Reset(), Reset(), Reset(), Reset(), Reset(), Reset(), MISSING, CUSTOM, ALL)

    assert api is Api.CRD
    assert waits
    assert waits[-1] == "resource.k8s.io/v1 is not served"


def test_a_cluster_that_serves_it_never_is_told_what_would() -> None:
    with pytest.raises(ApiMissing, match=r"apply crds/"):
        found(*[MISSING] * 9, patience=3.0)


@pytest.mark.parametrize(
    ("told", "wanted", "words"),
    [
        ((NATIVE,), Api.CRD, "served by the API server itself; use --api=native"),
        ((CUSTOM, ALL), Api.NATIVE, "served by custom resources; use --api=crd"),
    ],
)
def test_another_than_what_was_said_is_refused(told: tuple[Told, ...], wanted: Api, words: str) -> None:
    with pytest.raises(ApiMissing, match=words):
        found(*told, wanted=wanted)


def test_custom_resources_are_waited_for_until_all_kinds_are_served() -> None:
    """Kopf asks once what there is: templates that come a second later it would never see."""
    api, waits = found(CUSTOM, served("resourceclaims", "deviceclasses"), CUSTOM, MISSING, CUSTOM, ALL)

    assert api is Api.CRD
    assert waits == [
        "not served: resourceclaimtemplates, resourceslices",
        "not served: deviceclasses, resourceclaims, resourceclaimtemplates, resourceslices",
    ]


def test_a_kind_that_never_comes_is_named() -> None:
    with pytest.raises(ApiMissing, match="served without resourceslices: apply all of crds/"):
        found(*[CUSTOM, served("deviceclasses", "resourceclaims", "resourceclaimtemplates")] * 9, patience=3.0)


def test_a_right_that_is_missing_is_for_the_mirrors_to_tell() -> None:
    assert found(failure(403, "Forbidden"))[0] is Api.NATIVE
    with pytest.raises(ApiError):
        play(_forbidden)


async def _forbidden(script: Script) -> None:
    script.tell(failure(403, "Forbidden"))
    async with ApiClient(script.url) as client:
        await find_api(client)
