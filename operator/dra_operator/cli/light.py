"""Options of a command that must stay small: declared as for typer, parsed by argparse.

typer checks values with pydantic, which costs 12 MB and a quarter of a second, and stays for as long as the process
lives. The node agent runs on every node and may have 64 MB. What is understood of typer: `Annotated[type, Option]` with
names, a help text and a metavar, where the type is text, a path, a switch, or each of them or None. Values are not
looked at: that is done by whoever takes them (`options.py`).
"""

from __future__ import annotations

import argparse
import inspect
import sys
import types
from collections.abc import Callable, Sequence
from typing import Any, NoReturn, Union, get_args, get_origin, get_type_hints

import typer


def run_light(command: Callable[..., None], name: str, arguments: Sequence[str]) -> NoReturn:
    """Parse `arguments` and call `command`; ends the process as typer does."""
    parser = argparse.ArgumentParser(prog=name, description=command.__doc__, allow_abbrev=False)
    hints = get_type_hints(command, include_extras=True)
    for parameter in inspect.signature(command).parameters.values():
        _add(parser, parameter, hints[parameter.name])
    given = vars(parser.parse_args(arguments))
    try:
        command(**given)
    except typer.Exit as exit_:
        sys.exit(exit_.exit_code)
    sys.exit(0)


def _add(parser: argparse.ArgumentParser, parameter: inspect.Parameter, hint: Any) -> None:
    type_, option = get_args(hint)
    # typer takes the first name that it is given for a default until it reads the annotation
    declared = (*([option.default] if isinstance(option.default, str) else []), *(option.param_decls or ()))
    names = declared or (f"--{parameter.name.replace('_', '-')}",)
    keywords: dict[str, Any] = {"dest": parameter.name, "default": parameter.default}
    keywords["help"] = (option.help or "").replace("%", "%%")
    plain = _plain(type_)
    if plain is not bool:
        parser.add_argument(*names, type=plain, metavar=option.metavar, **keywords)
    elif declared:
        parser.add_argument(*names, action="store_true", **keywords)
    else:
        parser.add_argument(*names, action=argparse.BooleanOptionalAction, **keywords)


def _plain(type_: Any) -> type:
    """`X` of `X | None`."""
    if get_origin(type_) in (Union, types.UnionType):
        (type_,) = [each for each in get_args(type_) if each is not types.NoneType]
    plain: type = type_
    return plain
