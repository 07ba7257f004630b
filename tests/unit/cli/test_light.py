"""Options of small commands: typer's declarations, argparse's parsing, nothing of pydantic."""

from __future__ import annotations

import subprocess
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import pytest
import typer

from dra_operator.cli.light import run_light


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


called: dict[str, Any] = {}


def command(
    name: Annotated[str, typer.Option(envvar=["FIRST_NAME", "NAME"], help="Whose, in 100 %.")],
    colour: Annotated[Colour, typer.Option(envvar="COLOUR")] = Colour.RED,
    count: Annotated[int | None, typer.Option(min=0)] = None,
    pause: Annotated[float, typer.Option(min=0.1)] = 1.0,
    file: Annotated[Path | None, typer.Option(envvar="FILE")] = None,
    loud: Annotated[bool, typer.Option(envvar="LOUD")] = False,
) -> None:
    """Does something."""
    if name == "nobody":
        raise typer.BadParameter("there is nobody")
    called.update(name=name, colour=colour, count=count, pause=pause, file=file, loud=loud)


def call(*arguments: str) -> int:
    called.clear()
    with pytest.raises(SystemExit) as end:
        run_light(command, "x command", arguments)
    assert isinstance(end.value.code, int)
    return end.value.code


def test_values_come_from_options_then_from_the_environment_then_from_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable, value in (("NAME", "b"), ("COLOUR", "blue"), ("FILE", "/x"), ("LOUD", "true")):
        monkeypatch.setenv(variable, value)
    assert call("--count", "3", "--no-loud") == 0
    assert called == {
        "name": "b",
        "colour": Colour.BLUE,
        "count": 3,
        "pause": 1.0,
        "file": Path("/x"),
        "loud": False,
    }

    monkeypatch.setenv("FIRST_NAME", "a")
    assert call("--colour=red") == 0
    assert (called["name"], called["colour"], called["loud"]) == ("a", Colour.RED, True)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], "the following arguments are required: --name"),
        (["--name", "a", "--colour", "green"], "'green' is not red or blue"),
        (["--name", "a", "--count", "x"], "'x' is not a int"),
        (["--name", "a", "--count", "-1"], "-1 is less than 0"),
        (["--name", "a", "--pause", "0"], "0 is less than 0.1"),
        (["--name", "a", "--colours", "red"], "unrecognized arguments: --colours"),
        (["--name", "nobody"], "there is nobody"),
    ],
)
def test_a_mistake_ends_with_two_and_says_what_is_wrong(
    arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(*arguments) == 2
    assert complaint in capsys.readouterr().err


def test_a_mistake_in_the_environment_is_one_of_its_option(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LOUD", "very")
    assert call("--name", "a") == 2
    assert "environment variable for --loud: 'very' is neither true nor false" in capsys.readouterr().err


def test_help_names_options_and_variables(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("--help") == 0
    printed = capsys.readouterr().out
    assert "Does something." in printed
    assert "Whose, in 100 %. [$FIRST_NAME, $NAME]" in printed


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
