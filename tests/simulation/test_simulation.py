"""The operator against a cluster that fails in every way we could think of: what must always hold, holds.

Seeds run in a process of their own, with a fixed PYTHONHASHSEED: so they are the same in every run, and a seed that
fails is replayed by the command that it prints. `make simtest SEEDS=2000` runs more of them, `make simtest-bugs` plants
every defect.
"""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace

import pytest

from tests.simulation.bugs import BUGS
from tests.simulation.run import run_scenario
from tests.simulation.scenario import make_scenario
from tests.simulation.shrink import shrink
from tests.simulation.wire import Rates

SEEDS = 80
KNOWN_CATCHES = {
    "users' claims allocated without the finalizer": 0,
    "deleting users' claims": 0,
}
"""Seeds that catch these defects at once; all of them: `make simtest-bugs`."""


def simulate(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.simulation", *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONHASHSEED": "0"}
    )


def test_no_invariant_is_violated() -> None:
    ran = simulate("--seeds", str(SEEDS), "--jobs", "2")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    for fault in ("crash after a write", "5xx after the commit", "answer lost", "410", "429", "pause", "stale list"):
        assert f" {fault} " in ran.stdout


def test_a_seed_replays_exactly() -> None:
    first, second = (simulate("--seed", "7", "--trace").stdout.partition("\n1 seeds")[0] for _ in range(2))
    assert "operator-0" in first
    assert first == second


@pytest.mark.parametrize("bug", sorted(KNOWN_CATCHES))
def test_a_planted_defect_is_caught(bug: str) -> None:
    seed = str(KNOWN_CATCHES[bug])
    assert simulate("--seed", seed, "--bug", bug).returncode == 1
    assert simulate("--seed", seed).returncode == 0


def test_a_scenario_that_fails_is_made_small() -> None:
    bug = BUGS["users' claims allocated without the finalizer"]
    scenario = replace(make_scenario(0), rates=Rates())
    assert run_scenario(scenario, bug).violation is not None
    told = shrink(scenario, bug)
    assert "is allocated without the delete-protection finalizer" in told
    assert sum(" pod " in line and not line.startswith(" ") for line in told.splitlines()) < len(scenario.ops)
