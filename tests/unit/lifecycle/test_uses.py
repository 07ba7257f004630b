"""Containers that use a request which their claim does not have are told, before anything is given to their pod."""

from __future__ import annotations

import msgspec
import pytest

from dra_operator.api.core import Container, ContainerClaim, Pod, ResourceRequirements
from dra_operator.api.reasons import Reason
from dra_operator.lifecycle.uses import find_unknown_request
from tests.builders import claim, device_class, request
from tests.unit.lifecycle.scene import gated, gpus, look, view_of

MINE = claim(request("gpu"), request("nic"), name="mine")


def using(*uses: tuple[str, str], init: bool = False) -> Pod:
    """A pod whose only container uses these requests of these entries."""
    claims = tuple(ContainerClaim(name=entry, request=asked) for entry, asked in uses)
    containers = (Container(name="main", resources=ResourceRequirements(claims=claims)),)
    pod = gated(claims=["mine"])
    spec = (
        msgspec.structs.replace(pod.spec, init_containers=containers)
        if init
        else msgspec.structs.replace(pod.spec, containers=containers)
    )
    return msgspec.structs.replace(pod, spec=spec)


@pytest.mark.parametrize("uses", [(), (("mine", ""),), (("mine", "gpu"), ("mine", "nic"))])
def test_requests_that_are_there_are_no_reason_to_wait(uses: tuple[tuple[str, str], ...]) -> None:
    assert find_unknown_request(using(*uses), {"mine": MINE}) is None


@pytest.mark.parametrize("init", [False, True])
def test_a_request_that_is_not_there_is_named_with_those_that_are(init: bool) -> None:
    found = find_unknown_request(using(("mine", "gpu"), ("mine", "gpus"), init=init), {"mine": MINE})
    assert found is not None
    assert found.reason is Reason.REQUEST_INVALID
    for word in ('container "main"', 'request "gpus"', '"default/mine"', '"gpu", "nic"'):
        assert word in found.message


def test_what_is_not_known_of_a_claim_is_not_held_against_the_pod() -> None:
    assert find_unknown_request(using(("mine", "gpus")), {}) is None


def test_such_a_pod_is_given_nothing() -> None:
    user = using(("mine", "gpus"))
    verdict = look(view_of(user, MINE, device_class(), *gpus()), user)
    assert verdict.reason is Reason.REQUEST_INVALID
    assert verdict.placement is None
