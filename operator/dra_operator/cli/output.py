"""How commands print: tables on a terminal, plain columns when piped, JSON and YAML on request; errors in one line.

Exit codes are those of all commands: 0 it is well, 1 something waits or is wrong, 2 the input cannot be used.
"""

from __future__ import annotations

import functools
import gc
import sys
from collections.abc import Callable, Iterable, Sequence
from enum import StrEnum
from typing import Any, NoReturn, TypeVar

import msgspec
import typer

from dra_operator.cli.printable import printable, printable_lines
from dra_operator.query.documents import InputError
from dra_operator.query.objects import Refused

R = TypeVar("R")

PROBLEM = 1
USAGE = 2


class Format(StrEnum):
    """`-o`."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"


def emit(value: Any, form: Format) -> None:
    """A struct as JSON or YAML."""
    if form is Format.JSON:
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(value, enc_hook=str), indent=2).decode() + "\n")
    else:
        import yaml  # late: only -o yaml pays for it

        sys.stdout.write(yaml.safe_dump(msgspec.to_builtins(value, enc_hook=str), sort_keys=False, allow_unicode=True))


def is_terminal() -> bool:
    return sys.stdout.isatty()


def print_table(headers: Sequence[str], rows: Iterable[Sequence[str]], styles: dict[int, Callable[[str], str]]) -> None:
    """Columns; on a terminal with rules and colours. `styles`: by column, the style of a cell."""
    lines = [[printable(cell) for cell in row] for row in rows]
    if is_terminal():
        sys.stdout.write(render_table(headers, lines, styles))
        return
    table = [list(headers), *lines]
    widths = [max(len(row[column]) for row in table) for column in range(len(headers))]
    for row in table:
        padded = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        sys.stdout.write("  ".join(padded).rstrip() + "\n")


def render_table(headers: Sequence[str], rows: Iterable[Sequence[str]], styles: dict[int, Callable[[str], str]]) -> str:
    """The table as a terminal shows it."""
    from rich.console import Console  # late: piped output does without
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for header in headers:
        table.add_column(header, overflow="fold")
    for row in rows:
        table.add_row(
            *(Text(cell, style=styles[index](cell) if index in styles else "") for index, cell in enumerate(row))
        )
    console = Console(highlight=False)
    with console.capture() as capture:
        console.print(table)
    return capture.get()


def style_of_state(cell: str) -> str:
    return {"Allocated": "green", "Waiting": "yellow", "Rejected": "red"}.get(cell, "")


def note(text: str) -> None:
    """Something to know about the output, beside it."""
    typer.echo(f"note: {printable_lines(text)}", err=True)


def note_refused(refused: Iterable[Refused]) -> None:
    """What of the files the API server would not take."""
    for one in refused:
        note(f"{one.place}: the API server would refuse this: {one.message}")


def fail(text: str) -> NoReturn:
    """The input cannot be used."""
    typer.echo(f"error: {printable_lines(text)}", err=True)
    raise typer.Exit(USAGE)


def refuses_bad_input(command: Callable[..., R]) -> Callable[..., R]:
    """Errors that the caller can put right become one line and exit code 2."""

    @functools.wraps(command)
    def wrapped(*args: Any, **kwargs: Any) -> R:
        collects = gc.isenabled()
        gc.disable()  # a command soon ends; looking for cycles among 100,000 frozen objects took a fifth of its time
        try:
            return command(*args, **kwargs)
        except InputError as error:
            fail(str(error))
        except RuntimeError as error:
            from dra_operator.world.simulation import NotAtRest  # late: it is imported already where it is raised

            if not isinstance(error, NotAtRest):
                raise
            fail(f"{error}; this is a mistake of the program: please report it with the input")
        finally:
            if collects:
                gc.enable()

    return wrapped
