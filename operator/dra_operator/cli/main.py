"""`dra-operator`: the one program. Subcommands are imported only when called, so that the agent starts without Kopf."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping
from typing import Final

import typer
from typer._click.core import Command, Context
from typer.core import TyperGroup

from dra_operator.cli.light import run_light

COMMANDS: Final[Mapping[str, tuple[str, str, str]]] = {
    "run": ("dra_operator.cli.run", "run", "Run the controller: generate claims, give out devices, take them back."),
    "agent": ("dra_operator.cli.agent", "agent", "Publish the devices of one node as ResourceSlices."),
    "simulate": ("dra_operator.cli.simulate", "simulate", "Who would get which devices, from files alone."),
    "explain": ("dra_operator.cli.explain", "explain", "Why a pod waits for its devices, and what would help."),
    "devices": ("dra_operator.cli.inspect", "devices", "Devices: free, in use and by whom, tainted."),
    "claims": ("dra_operator.cli.inspect", "claims", "ResourceClaims: what they were given, and who uses them."),
    "audit": ("dra_operator.cli.inspect", "audit", "Admin accesses, and whether they are still granted."),
    "doctor": ("dra_operator.cli.doctor", "doctor", "What is wrong with a cluster, why it matters, and the cure."),
    "uninstall": ("dra_operator.cli.uninstall", "uninstall", "Take the operator out of a cluster; pods stay well."),
    "sandbox": ("dra_operator.cli.sandbox", "app", "A real control plane on loopback, with simulated GPU nodes."),
}
"""Module, attribute (a function, or a Typer app), one line of help."""


class _Lazy(TyperGroup):
    """Knows the names of the subcommands, and imports the one that is called."""

    def list_commands(self, ctx: Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Context, cmd_name: str) -> Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, attribute, help_ = COMMANDS[cmd_name]
        if cmd_name not in sys.argv:
            return _stub(cmd_name, help_)
        target = getattr(importlib.import_module(module), attribute)
        if isinstance(target, typer.Typer):
            command = typer.main.get_command(target)
        else:
            single = typer.Typer(add_completion=False, rich_markup_mode=None)
            single.command()(target)
            command = typer.main.get_command(single)
        command.name = cmd_name
        return command


def _stub(name: str, help_: str) -> Command:
    """A command that is only listed by `--help`, never called."""
    listed = typer.Typer(add_completion=False, rich_markup_mode=None)
    listed.command(name=name, help=help_)(lambda: None)
    return typer.main.get_command(listed)


app = typer.Typer(
    cls=_Lazy,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # without rich, help is there twice as fast
    help="Attribute-based GPU allocation for Kubernetes.",
)


@app.callback()
def _root() -> None:
    """Attribute-based GPU allocation for Kubernetes."""


def main() -> None:
    if sys.argv[1:2] == ["agent"]:  # the one that has to stay small
        # structlog would load rich wherever it finds it, 4 MB for tracebacks in colour; None means: not to be had.
        sys.modules.setdefault("rich", None)  # type: ignore[arg-type]
        from dra_operator.cli.agent import agent

        run_light(agent, "dra-operator agent", sys.argv[2:])
    app()


if __name__ == "__main__":
    main()
