"""`dra-operator doctor`: what is wrong with a cluster, why it matters, and the cure."""

from __future__ import annotations

from typing import Annotated

import typer

from dra_operator.api.names import LEASE_NAME, OPERATOR_NAMESPACE
from dra_operator.cli.output import PROBLEM, Format, emit, print_table, refuses_bad_input
from dra_operator.query.doctor.examine import diagnose
from dra_operator.query.doctor.findings import Diagnosis

_WORDS = {"Ok": "ok", "Problem": "PROBLEM", "Note": "note", "NotChecked": "not checked"}
_STYLES = {"ok": "green", "PROBLEM": "bold red", "note": "yellow", "not checked": "dim"}


@refuses_bad_input
def doctor(
    namespace: Annotated[
        str, typer.Option("--namespace", "-n", help="Namespace of the operator.")
    ] = OPERATOR_NAMESPACE,
    lease_name: Annotated[str, typer.Option(help="Name of its Lease.")] = LEASE_NAME,
    kubeconfig: Annotated[str | None, typer.Option(help="Otherwise as kubectl finds it.", show_default=False)] = None,
    context: Annotated[str | None, typer.Option(help="Of the kubeconfig.", show_default=False)] = None,
    output: Annotated[Format, typer.Option("--output", "-o", help="Form of the answer.")] = Format.TABLE,
) -> None:
    """Check a cluster and the operator in it; changes nothing. What you may not read is not checked, and said.

    Exit code 0: no problem found; 1: there is one; 2: the input cannot be used.
    """
    found = diagnose(kubeconfig, context, namespace, lease_name)
    if output is Format.TABLE:
        _show(found)
    else:
        emit(found, output)
    if not found.well:
        raise typer.Exit(PROBLEM)


def _show(found: Diagnosis) -> None:
    rows = [
        (one.check, _WORDS[one.state], f"{one.title}{f' ({one.not_checked})' if one.not_checked else ''}")
        for one in found.checks
    ]
    print_table(["CHECK", "RESULT", "WHAT"], rows, {1: lambda cell: _STYLES.get(cell, "")})
    for severity in ("Note", "Problem"):
        for one in found.findings:
            if one.severity == severity:
                word = _WORDS[severity]
                typer.echo(
                    f"\n{word}: {one.object}: {one.what}\n  check: {one.check}\n  why:   {one.why}\n  cure:  {one.cure}"
                )
