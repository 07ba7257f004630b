"""`run` and `agent` as they are called: values from everywhere, printed with their source; mistakes end with 2."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

Commands = pytest.mark.parametrize("command", [("run",), ("agent", "--node-name=n")], ids=["run", "agent"])


def call(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    env = {name: value for name, value in os.environ.items() if not name.startswith("DRA_OPERATOR_")} | environment
    command = [sys.executable, "-m", "dra_operator.cli.main", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=env)


@Commands
def test_the_settings_in_force_are_printed_with_their_source(command: tuple[str, ...], tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text("log-format: json\nlog-level: debug\n")
    arguments = (*command, f"--config={file}", "--metrics-address=:1", "--print-config")
    environment = {"DRA_OPERATOR_LOG_FORMAT": "console"}

    printed = call(*arguments, "-o", "json", **environment)
    assert (printed.returncode, printed.stderr) == (0, "")
    found = json.loads(printed.stdout)
    assert (found["apiVersion"], found["kind"]) == ("dra-operator.io/v1", "Configuration")
    settings = found["settings"]
    assert settings["metrics-address"] == {"value": ":1", "from": "flag", "source": "--metrics-address"}
    assert settings["log-format"] == {"value": "console", "from": "environment", "source": "DRA_OPERATOR_LOG_FORMAT"}
    assert settings["log-level"] == {"value": "debug", "from": "file", "source": f"{file}, line 2"}
    assert settings["context"] == {"value": "", "from": "default"}

    assert yaml.safe_load(call(*arguments, "--output=yaml", **environment).stdout) == found
    rows = [line.split(maxsplit=2) for line in call(*arguments, **environment).stdout.splitlines()]
    assert ["log-format", "console", "environment DRA_OPERATOR_LOG_FORMAT"] in rows
    assert ["context", "-", "default"] in rows


@Commands
def test_a_mistake_ends_with_two_and_a_line(command: tuple[str, ...]) -> None:
    done = call(*command, "--log-level=loud", DRA_OPERATOR_CONTEXTS="x")
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        f"dra-operator {command[0]}: DRA_OPERATOR_CONTEXTS='x' in the environment is no setting; "
        'did you mean "DRA_OPERATOR_CONTEXT"?',
        f"dra-operator {command[0]}: log-level: 'loud' (flag --log-level) is not one of debug, info, warning, error",
    ]


@Commands
def test_an_option_that_there_is_not(command: tuple[str, ...]) -> None:
    done = call(*command, "--log-levels=info")
    assert done.returncode == 2
    assert "--log-levels" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_profile_that_there_is_not() -> None:
    done = call("agent", "--node-name=n", "--profile=none")
    assert done.returncode == 2
    assert done.stderr.startswith("dra-operator agent: profile: no profile 'none'")


def test_kopf_run_refuses_in_the_same_words() -> None:
    command = [
        sys.executable,
        "-m",
        "kopf",
        "run",
        "--module=dra_operator.handlers",
        "--all-namespaces",
        "--standalone",
    ]
    environment = {**os.environ, "DRA_OPERATOR_GATE": "polcy"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=60)
    assert done.returncode != 0
    assert "gate: 'polcy' (environment DRA_OPERATOR_GATE) is not one of" in done.stderr
