"""All checks of one cluster, side by side, told in their order."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from msgspec.structs import replace

from dra_operator.cluster.http import ApiClient, ApiError, NoAnswer
from dra_operator.cluster.kubeconfig import KubeconfigError, find_credentials
from dra_operator.query.doctor import api_server, devices, gating, installation, leftovers, neighbours
from dra_operator.query.doctor.facts import Facts
from dra_operator.query.doctor.findings import CHECKS as CHECKS
from dra_operator.query.doctor.findings import Check, Diagnosis, Examined, Finding, NotChecked, State
from dra_operator.query.documents import InputError

PARTS = (api_server, gating, installation, devices, neighbours, leftovers)
"""Importing them registers their checks, in this order."""

_REACH_SECONDS = 5.0
_UNAUTHORIZED = 401
_FORBIDDEN = 403


def diagnose(kubeconfig: str | None, context: str | None, namespace: str, lease_name: str) -> Diagnosis:
    """Raises `InputError` for a kubeconfig or a server that does not do."""
    try:
        credentials = find_credentials(kubeconfig, context)
        client = credentials.client()
    except KubeconfigError as error:
        raise InputError(str(error)) from None
    except OSError as error:
        raise InputError(f"the kubeconfig cannot be read: {error}") from None
    try:
        return asyncio.run(_diagnose(client, namespace, lease_name))
    except NoAnswer as error:
        raise InputError(f"{credentials.server} does not answer: {error}") from None
    except ApiError as error:
        if error.status == _UNAUTHORIZED:
            raise InputError(f"{credentials.server} does not accept who you are: {credentials.source}") from None
        raise InputError(f"{credentials.server}: {error}") from None


async def _diagnose(client: ApiClient, namespace: str, lease_name: str) -> Diagnosis:
    async with client:
        try:
            await client.request("GET", "/version", timeout=_REACH_SECONDS)
        except ApiError as error:
            if error.status != _FORBIDDEN:
                raise
        return await examine(client, namespace=namespace, lease_name=lease_name)


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
