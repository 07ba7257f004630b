"""An operator that may not do what it has to: it says so once, is not ready, and goes on by itself when it may.

Which right blocks and which only hinders is shown in tests/unit/controller/test_permissions.py.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import aiohttp
import pytest

from dra_operator.api.kinds import CLAIMS, SLICES
from dra_operator.api.names import OPERATOR_NAMESPACE
from dra_operator.api.rights import CONTROLLER, CONTROLLER_OWN
from dra_operator.cluster.http import ApiClient
from dra_operator.cluster.kubeconfig import Credentials, find_credentials
from dra_operator.controller.mirrors import KOPF_KINDS
from dra_operator.sandbox.ports import free_port
from dra_operator.sandbox.processes import Process, start
from dra_operator.sandbox.state import State
from tests.e2e.operators import KOPF_RUN, RUN
from tests.e2e.proxy import Proxy
from tests.e2e.stage import Stage, until

MIRRORED = frozenset(kind.plural for kind in (*KOPF_KINDS, CLAIMS, SLICES))
TRIES = 3
_RBAC = "/apis/rbac.authorization.k8s.io/v1"


class Impersonating(Proxy):
    """An admin's connection, used as somebody who may do nothing yet. Counts what is asked for."""

    def __init__(self, target: Credentials) -> None:
        super().__init__(target)
        self.asked: Counter[str] = Counter()

    async def arrive(self, request: str) -> None:
        self.asked[request.rpartition("/")[2]] += 1

    def write_kubeconfig(self, file: Path) -> Path:
        super().write_kubeconfig(file)
        config = json.loads(file.read_text())
        config["users"][0]["user"]["as"] = f"newcomer-{self.port}"
        file.write_text(json.dumps(config))
        return file

    async def may(self, client: ApiClient) -> None:
        """From now on, all that the operator's own account may."""
        user = {"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": f"newcomer-{self.port}"}
        for role, path in (
            (("ClusterRole", CONTROLLER.name), f"{_RBAC}/clusterrolebindings"),
            (("Role", CONTROLLER_OWN.name), f"{_RBAC}/namespaces/{OPERATOR_NAMESPACE}/rolebindings"),
        ):
            kind, name = role
            binding = {
                "apiVersion": "rbac.authorization.k8s.io/v1",
                "kind": f"{kind}Binding",
                "metadata": {"name": user["name"]},
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name},
                "subjects": [user],
            }
            await client.request("POST", path, body=json.dumps(binding).encode())


@pytest.mark.parametrize("command", [RUN, KOPF_RUN], ids=["run", "kopf run"])
async def test_who_may_nothing_says_what_is_missing_and_goes_on_when_it_may(
    command: Sequence[str], bare: State, there: Stage, tmp_path: Path
) -> None:
    async with Impersonating(find_credentials(bare.kubeconfig)) as proxy:
        port = free_port()
        environment = {
            "DRA_OPERATOR_KUBECONFIG": str(proxy.write_kubeconfig(tmp_path / "kubeconfig")),
            "DRA_OPERATOR_CLAIMS": "generate",
            "DRA_OPERATOR_METRICS_ADDRESS": f"127.0.0.1:{port}",
            "DRA_OPERATOR_RELEASE_HOLD": "0",
        }
        operator = start("operator", command, tmp_path / "log", environment)
        try:
            wanted = {f"not allowed to list {plural}" for plural in MIRRORED}

            async def told() -> bool:
                operator.check()
                status, text = await _ready(port)
                tried = all(proxy.asked[plural] >= TRIES for plural in MIRRORED - {"resourceclaims", "resourceslices"})
                return tried and status == 503 and all(want in text for want in wanted)

            await until(lambda: f"asked for {proxy.asked}\n{_end(operator)}", told, 60.0)
            said = operator.log.read_text()
            assert {plural: said.count(f"not allowed to list {plural}") for plural in MIRRORED} == dict.fromkeys(
                MIRRORED, 1
            )
            assert "ClusterRole dra-operator grants it" in (await _ready(port))[1]
            assert "will retry" not in said, "Kopf does not repeat it"

            await proxy.may(there.client)

            async def ready() -> bool:
                operator.check()
                return (await _ready(port))[0] == 200

            await until(lambda: f"it is not ready:\n{_end(operator)}", ready, 60.0)
            await there.template()
            await there.pod("afterwards", templates=("gpu",))
            await there.running("afterwards")
        finally:
            await operator.stop()


async def _ready(port: int) -> tuple[int, str]:
    try:
        async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}/readyz") as answer:
            return answer.status, await answer.text()
    except aiohttp.ClientError as error:
        return 0, str(error)


def _end(operator: Process) -> str:
    return operator.log.read_text(errors="replace")[-2000:]
