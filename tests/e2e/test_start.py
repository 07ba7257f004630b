"""An operator that cannot start says why in one line and ends, whichever way it was started."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.e2e.operators import KOPF_RUN, RUN

NOWHERE = """
clusters: [{name: a, cluster: {server: "http://127.0.0.1:1"}}]
users: [{name: a, user: {token: t}}]
contexts: [{name: a, context: {cluster: a, user: a}}]
current-context: a
"""


@pytest.mark.parametrize("command", [RUN, KOPF_RUN], ids=["run", "kopf run"])
@pytest.mark.parametrize("wrong", ["no kubeconfig", "a port that is taken"])
def test_it_says_what_is_wrong_and_ends(wrong: str, command: Sequence[str], tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        variables = {"DRA_OPERATOR_KUBECONFIG": str(tmp_path / "config")}
        said = f"{tmp_path / 'config'} does not exist; name one with --kubeconfig or KUBECONFIG"
        if wrong == "a port that is taken":
            (tmp_path / "config").write_text(NOWHERE)
            variables["DRA_OPERATOR_METRICS_ADDRESS"] = address
            said = f"metrics-address '{address}' cannot be served: "
        ended = subprocess.run(command, env=os.environ | variables, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 1
    assert said in ended.stderr + ended.stdout
    assert "Traceback" not in ended.stderr + ended.stdout
