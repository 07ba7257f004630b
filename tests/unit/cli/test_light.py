"""Options of small commands: typer's declarations, argparse's parsing, nothing of pydantic."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any

import pytest
import typer

from dra_operator.cli.light import run_light

called: dict[str, Any] = {}


def command(
    name: Annotated[str | None, typer.Option(help="Whose, in 100 %.", metavar="WHO")] = None,
    file: Annotated[Path | None, typer.Option(help="Which.")] = None,
    is_loud: Annotated[bool | None, typer.Option(help="How.")] = None,
    shows: Annotated[bool, typer.Option("--show", help="Only show.")] = False,
    output: Annotated[str, typer.Option("--output", "-o", help="Form.")] = "table",
) -> None:
    """Does something."""
    if name == "nobody":
        raise typer.Exit(3)
    called.update(name=name, file=file, is_loud=is_loud, shows=shows, output=output)


def call(*arguments: str) -> int:
    called.clear()
    with pytest.raises(SystemExit) as end:
        run_light(command, "x command", arguments)
    assert isinstance(end.value.code, int)
    return end.value.code


def test_options_are_as_typer_has_them() -> None:
    assert call() == 0
    assert called == {"name": None, "file": None, "is_loud": None, "shows": False, "output": "table"}
    assert call("--name", "a", "--file=/x", "--no-is-loud", "--show", "-o", "json") == 0
    assert called == {"name": "a", "file": Path("/x"), "is_loud": False, "shows": True, "output": "json"}
    assert call("--is-loud", "--output=yaml") == 0
    assert (called["is_loud"], called["output"]) == (True, "yaml")


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--names", "a"], "unrecognized arguments: --names a"),
        (["--nam", "a"], "unrecognized arguments: --nam a"),
        (["--name"], "argument --name: expected one argument"),
        (["--no-show"], "unrecognized arguments: --no-show"),
    ],
)
def test_a_mistake_ends_with_two_and_says_what_is_wrong(
    arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(*arguments) == 2
    assert complaint in capsys.readouterr().err


def test_the_command_decides_how_it_ends() -> None:
    assert call("--name", "nobody") == 3


def test_help_names_options(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("--help") == 0
    printed = capsys.readouterr().out
    assert "Does something." in printed
    assert "--name WHO" in printed
    assert "Whose, in 100 %." in printed


def test_the_agent_parses_its_options_without_pydantic() -> None:
    code = (
        "import sys; sys.argv = ['dra-operator', 'agent', '--node-name', 'x', '--profile', 'none'];"
        "from dra_operator.cli.main import main\n"
        "try: main()\n"
        "except SystemExit as end: sys.exit(0 if end.code == 2 and 'pydantic' not in sys.modules else 1)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "no profile 'none'" in done.stderr
