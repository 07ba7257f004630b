"""What `doctor` says of API servers that cannot be had here: before 1.34, or out of order."""

from __future__ import annotations

import pytest
from aiohttp import web

from dra_operator.api.core import Namespace, NamespaceStatus
from dra_operator.api.meta import ObjectMeta
from dra_operator.api.names import ADMIN_ACCESS_LABEL
from dra_operator.query.doctor.examine import CHECKS, run_check
from dra_operator.query.doctor.facts import Facts
from dra_operator.query.doctor.findings import Examined
from tests.unit.cluster.apiserver import ApiServer, play


@pytest.mark.parametrize(
    ("minor", "problems"), [("33", 1), ("33+", 1), ("28", 1), ("34", 0), ("34+", 0), ("37", 0), ("", 0)]
)
def test_the_version_of_the_api_server(minor: str, problems: int) -> None:
    async def scenario(server: ApiServer) -> None:
        server.objects["/version"] = {"major": "1", "minor": minor, "gitVersion": f"v1.{minor}.5"}
        async with server.client() as client:
            _, findings = await run_check(CHECKS["version"], Facts(client, now=lambda: 0.0))
        assert len(findings) == problems
        assert all("1.34" in one.cure and f"v1.{minor}.5" in one.what for one in findings)

    play(scenario)


def refusal(code: int, message: str) -> web.Response:
    return web.json_response({"kind": "Status", "code": code, "message": message}, status=code)


def run_alone(check: str, path: str, code: int, message: str) -> Examined:
    """The check on a server that refuses every request to that path so."""
    examined: list[Examined] = []

    async def scenario(server: ApiServer) -> None:
        async def fault(request: web.Request) -> web.Response | None:
            return refusal(code, message) if request.path == path else None

        server.faults.append(fault)
        active = Namespace(metadata=ObjectMeta(name="default"), status=NamespaceStatus(phase="Active"))
        async with server.client() as client:
            facts = Facts(client, now=lambda: 0.0, known={"namespaces": [active]})
            one, findings = await run_check(CHECKS[check], facts)
        assert findings == []
        assert path in {asked.path for asked in server.asked}
        examined.append(one)

    play(scenario)
    return examined[0]


def test_what_the_api_server_fails_to_answer_is_not_checked_and_ends_no_other_check() -> None:
    path = "/apis/resource.k8s.io/v1/deviceclasses"

    one = run_alone("classes", path, 500, "etcdserver: leader changed")

    assert one.state == "NotChecked"
    assert "leader changed" in one.not_checked


@pytest.mark.parametrize(
    ("message", "state"),
    [
        (f"admin access to devices requires the `{ADMIN_ACCESS_LABEL}: true` label on the containing namespace", "Ok"),
        ("exceeded quota: set-by-admin, requested: count/resourceclaims.resource.k8s.io=1", "NotChecked"),
    ],
)
def test_admin_access_is_well_only_where_it_is_refused_for_the_label(message: str, state: str) -> None:
    path = "/apis/resource.k8s.io/v1/namespaces/default/resourceclaims"

    assert run_alone("admin-access", path, 403, message).state == state
