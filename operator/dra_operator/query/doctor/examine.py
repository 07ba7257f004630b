"""All checks of one cluster, side by side, told in their order."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from msgspec.structs import replace

from dra_operator.cluster.http import ApiClient, ApiError
from dra_operator.cluster.kubeconfig import Credentials
from dra_operator.query.doctor import api_server, devices, gating, installation, leftovers, neighbours
from dra_operator.query.doctor.facts import Facts
from dra_operator.query.doctor.findings import CHECKS as CHECKS
from dra_operator.query.doctor.findings import Check, Diagnosis, Examined, Finding, NotChecked, State
from dra_operator.query.reach import ask_cluster

PARTS = (api_server, gating, installation, devices, neighbours, leftovers)
"""Importing them registers their checks, in this order."""

_UNAUTHORIZED = 401


def diagnose(kubeconfig: str | None, context: str | None, namespace: str, lease_name: str) -> Diagnosis:
    """Raises `InputError` for a kubeconfig or a server that does not do."""

    async def question(client: ApiClient, _: Credentials) -> Diagnosis:
        return await examine(client, namespace=namespace, lease_name=lease_name)

    return ask_cluster(kubeconfig, context, question)


async def examine(
    client: ApiClient,
    *,
    namespace: str,
    lease_name: str,
    now: Callable[[], float] = time.time,
) -> Diagnosis:
    """Run every check."""
    facts = Facts(client, now=now, namespace=namespace, lease_name=lease_name)
    examined = await asyncio.gather(*(run_check(one, facts) for one in CHECKS.values()))
    return Diagnosis(
        server=client.server,
        checks=tuple(one for one, _ in examined),
        findings=tuple(finding for _, findings in examined for finding in findings),
    )


async def run_check(one: Check, facts: Facts) -> tuple[Examined, list[Finding]]:
    try:
        findings = [replace(finding, check=one.name) for finding in await one.examine(facts)]
    except (NotChecked, ApiError) as error:
        if isinstance(error, ApiError) and error.status == _UNAUTHORIZED:
            raise  # then it is so for all of them
        return Examined(check=one.name, title=one.title, state="NotChecked", not_checked=str(error)), []
    severities = {finding.severity for finding in findings}
    state: State = "Problem" if "Problem" in severities else "Note" if "Note" in severities else "Ok"
    return Examined(check=one.name, title=one.title, state=state), findings
