"""Whether the operator knows what gates pods, and says so where nothing does, with and without policies."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator

import pytest
from structlog.testing import capture_logs

from dra_operator.cluster.http import ApiClient
from dra_operator.controller.admission.gatewatch import GateWatch
from dra_operator.controller.settings import Gate
from dra_operator.sandbox.controlplane import ControlPlane
from tests.webhook import apply_webhook, free_port

pytestmark = pytest.mark.cluster

DELETE_WEBHOOK = ("delete", "mutatingwebhookconfiguration", "dra-operator-gate", "--ignore-not-found")


@pytest.fixture
async def bare(without_policies: ControlPlane) -> AsyncIterator[ApiClient]:
    """An API server that has neither policies nor the webhook's configuration."""
    without_policies.kubectl(*DELETE_WEBHOOK)
    async with without_policies.client() as client:
        yield client


async def look(client: ApiClient, gate: Gate, *, serves: bool = True) -> GateWatch:
    watch = GateWatch(client, gate, lambda: serves, rng=random.Random(0))
    await watch.look()
    return watch


@pytest.mark.parametrize("gate", [Gate.AUTO, Gate.POLICY])
async def test_a_policy_that_is_there_is_found(admin: ApiClient, gate: Gate) -> None:
    watch = await look(admin, gate, serves=False)

    assert (watch.by, watch.remark) == (Gate.POLICY, None)


async def test_who_insists_on_the_webhook_is_told_that_it_is_missing(admin: ApiClient) -> None:
    watch = await look(admin, Gate.WEBHOOK)

    assert watch.remark is not None
    assert "apply manifests/overlays/webhook (mutatingwebhookconfigurations/dra-operator-gate: 404" in watch.remark


async def test_who_insists_on_the_policy_is_told_that_it_is_missing(bare: ApiClient) -> None:
    watch = await look(bare, Gate.POLICY)

    assert watch.remark is not None
    assert "apply manifests/base (mutatingadmissionpolicies/dra-operator-gate: 404" in watch.remark


async def test_an_operator_that_serves_no_webhook_says_how_it_would(
    bare: ApiClient, without_policies: ControlPlane
) -> None:
    apply_webhook(without_policies, free_port())

    watch = await look(bare, Gate.WEBHOOK, serves=False)

    assert watch.remark is not None
    assert "--webhook-address" in watch.remark


async def test_what_is_missing_is_warned_of_once_and_forgotten_when_it_is_there(
    bare: ApiClient, without_policies: ControlPlane
) -> None:
    watch = GateWatch(bare, Gate.AUTO, lambda: True, rng=random.Random(0))
    with capture_logs() as lines:
        await watch.look()
        await watch.look()
        missing = watch.remark
        apply_webhook(without_policies, free_port())
        await watch.look()
        await watch.look()

    assert missing is not None
    assert (watch.by, watch.remark) == (Gate.WEBHOOK, None)
    assert [line["event"] for line in lines] == ["no gate", "pods are gated"]
