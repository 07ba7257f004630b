"""The agent runs on every GPU node: it must start light."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize("module", ["kopf", "kubernetes_asyncio", "prometheus_client", "celpy"])
def test_the_agent_does_not_load(module: str) -> None:
    code = f"import sys, dra_operator.cli.agent, dra_operator.agent.node; sys.exit({module!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
