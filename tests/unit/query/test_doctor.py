"""What `doctor` says of API servers that cannot be had here: those before 1.34."""

from __future__ import annotations

import pytest

from dra_operator.query.doctor.examine import CHECKS, run_check
from dra_operator.query.doctor.facts import Facts
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
