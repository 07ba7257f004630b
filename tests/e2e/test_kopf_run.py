"""`kopf run -m dra_operator.handlers` is the same operator as the installed command."""

from __future__ import annotations

from pathlib import Path

from dra_operator.sandbox.processes import start
from dra_operator.sandbox.state import State
from tests.e2e.operators import KOPF_RUN
from tests.e2e.stage import Stage


async def test_kopf_run_does_the_whole_job(bare: State, there: Stage, tmp_path: Path) -> None:
    environment = {"DRA_OPERATOR_KUBECONFIG": bare.operator_kubeconfig, "DRA_OPERATOR_CLAIMS": "generate"}
    process = start("kopf", KOPF_RUN, tmp_path / "kopf.log", environment)
    try:
        await there.template()
        await there.claim("shared")
        pod = await there.pod("one", templates=("gpu",), claims=("shared",))
        await there.running("one")
        [claim] = await there.claims_of(pod)
        await there.delete_pod("one")
        await there.gone(claim.metadata.name)
        await there.free("shared")
        process.check()
    finally:
        await process.stop()
