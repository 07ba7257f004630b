"""`dra-operator doctor` on a cluster that is well: nothing is found, whoever asks in whatever form."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys

import pytest
import yaml

from dra_operator.query.doctor.examine import CHECKS
from dra_operator.sandbox.state import State
from tests.e2e.stage import Stage

pytestmark = pytest.mark.cluster


async def doctor(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "dra_operator.cli.main", "doctor", *arguments]
    return await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=False)


async def test_a_cluster_that_is_well(here: Stage, cluster: State) -> None:
    await here.template()
    await here.pod("one", templates=("gpu",))
    await here.running("one")

    done = await doctor(f"--kubeconfig={cluster.kubeconfig}", "-o", "json")
    diagnosis = json.loads(done.stdout)
    assert diagnosis["findings"] == []
    assert {one["state"] for one in diagnosis["checks"]} == {"Ok"}
    assert (done.returncode, done.stderr) == (0, "")

    form = await doctor(f"--kubeconfig={cluster.kubeconfig}", "-o", "yaml")
    assert set(yaml.safe_load(form.stdout)) == {"apiVersion", "kind", "server", "checks", "findings"}
    table = await doctor(f"--kubeconfig={cluster.kubeconfig}")
    lines = table.stdout.splitlines()
    assert lines[0].split() == ["CHECK", "RESULT", "WHAT"]
    assert sorted(line.split()[:2] for line in lines[1:]) == sorted([name, "ok"] for name in CHECKS)
    assert lines[1].startswith("version")


async def test_a_problem_is_told_with_why_and_cure(cluster: State) -> None:
    done = await doctor(f"--kubeconfig={cluster.kubeconfig}", "--lease-name=nobody")
    assert done.returncode == 1
    assert "PROBLEM: Lease dra-operator/nobody: nobody has ever had it, and pods are gated" in done.stdout
    assert "\n  why:   they wait for an operator for ever\n" in done.stdout
    assert "\n  cure:  see that a replica runs" in done.stdout


async def test_a_cluster_that_is_not_there(tmp_path: object) -> None:
    done = await doctor(f"--kubeconfig={tmp_path}/none")
    assert done.returncode == 2
    assert done.stderr.startswith("error: no kubeconfig")
