"""`dra-operator sandbox`: names, the real kubectl, and what a sandbox that did not come up leaves behind."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from typer.testing import CliRunner

from dra_operator.cli.sandbox import app
from dra_operator.sandbox.state import ProcessId, State, write_state
from dra_operator.sandbox.supervisor import Plan, SandboxError, serve


@pytest.fixture(autouse=True)
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DRA_OPERATOR_SANDBOX_DIR", str(tmp_path / "run"))
    return tmp_path / "run"


@pytest.mark.parametrize("name", ["a/b", "..", "", "-a", "a" * 64])
def test_a_name_that_cannot_be_one_is_refused_at_once_with_the_rule(name: str, runtime: Path) -> None:
    for command in ("up", "status", "down"):
        result = CliRunner().invoke(app, [command, "--name", name])
        assert (result.exit_code, result.stdout) == (2, "")
        assert "up to 63 letters, digits" in " ".join(result.stderr.replace("│", " ").split())
    assert not runtime.exists()


def test_plugins_of_kubectl_run_against_the_sandbox(tmp_path: Path) -> None:
    kubectl = tmp_path / "kubectl"
    kubectl.write_text('#!/bin/sh\necho "$KUBECONFIG: $*"\n')
    kubectl.chmod(0o700)
    here = ProcessId.of("supervisor", os.getpid())
    write_state(
        State(
            name="a",
            supervisor=here,
            children=(),
            folder=str(tmp_path),
            kubeconfig="/its/admin.kubeconfig",
            kubectl=str(kubectl),
            server="",
            nodes=(),
            ready=True,
        )
    )
    command = [
        sys.executable,
        "-m",
        "dra_operator.cli.main",
        "sandbox",
        "kubectl",
        "--name",
        "a",
        "--",
        "dra",
        "explain",
    ]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    assert ran.stdout == "/its/admin.kubeconfig: dra explain\n"


def test_a_sandbox_that_does_not_come_up_leaves_its_logs_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = tmp_path / "tmp"
    folders.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folders))
    with pytest.raises(SandboxError, match="logs: "):
        asyncio.run(serve(Plan(name="a", nodes=()), tmp_path / "no-binaries", lambda _: None))
    [folder] = folders.iterdir()
    assert [one.name for one in folder.iterdir()] == ["log"]
