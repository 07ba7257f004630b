"""Options of a command that must stay small: declared as for typer, parsed by argparse.

typer checks values with pydantic, which costs 12 MB and a quarter of a second, and stays for as long as the process
lives. The node agent runs on every node and may have 64 MB. What is understood of typer: `Annotated[type, Option]`
with a help text, environment variables and a minimum; types are text, numbers, paths, switches and enumerations.
"""

from __future__ import annotations

import argparse
import inspect
import os
import sys
import types
from collections.abc import Callable, Sequence
from enum import Enum
from typing import Annotated, Any, NoReturn, Union, get_args, get_origin, get_type_hints

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
    except typer.BadParameter as error:
        parser.error(error.message)
    except typer.Exit as exit_:
        sys.exit(exit_.exit_code)
    sys.exit(0)


def _add(parser: argparse.ArgumentParser, parameter: inspect.Parameter, hint: Any) -> None:
    type_, option = hint, None
    if get_origin(hint) is Annotated:
        type_, option = get_args(hint)
    required = parameter.default is inspect.Parameter.empty
    variables = _variables(option.envvar if option is not None else None)
    text = option.help if option is not None else None
    if variables:
        text = f"{text or ''} [${', $'.join(variables)}]"
    keywords: dict[str, Any] = {"help": (text or "").replace("%", "%%"), "default": parameter.default}
    reader = _reader(_plain(type_), option.min if option is not None else None)
    flag = "--" + parameter.name.replace("_", "-")
    found = next((os.environ[variable] for variable in variables if os.environ.get(variable)), None)
    if found is not None:
        try:
            keywords["default"] = reader(found)
        except (ValueError, argparse.ArgumentTypeError) as error:
            parser.error(f"environment variable for {flag}: {error}")
    if _plain(type_) is bool:
        parser.add_argument(flag, action=argparse.BooleanOptionalAction, **keywords)
        return
    keywords["required"] = required and found is None
    if required and found is None:
        del keywords["default"]
    plain = _plain(type_)
    choices = f"{{{','.join(each.value for each in plain)}}}" if issubclass(plain, Enum) else plain.__name__.upper()
    parser.add_argument(flag, dest=parameter.name, type=reader, metavar=choices, **keywords)


def _variables(declared: Any) -> list[str]:
    return [declared] if isinstance(declared, str) else list(declared or ())


def _plain(type_: Any) -> type:
    """`X` of `X | None`."""
    if get_origin(type_) in (Union, types.UnionType):
        (type_,) = [each for each in get_args(type_) if each is not types.NoneType]
    plain: type = type_
    return plain


def _reader(type_: type, least: float | None) -> Callable[[str], Any]:
    def read(text: str) -> Any:
        if type_ is bool:
            return _switch(text)
        try:
            value = type_(text)
        except ValueError as error:
            kind = " or ".join(each.value for each in type_) if issubclass(type_, Enum) else f"a {type_.__name__}"
            raise argparse.ArgumentTypeError(f"{text!r} is not {kind}") from error
        if least is not None and value < least:
            raise argparse.ArgumentTypeError(f"{text} is less than {least:g}")
        return value

    return read


def _switch(text: str) -> bool:
    words = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}
    if text.lower() not in words:
        raise argparse.ArgumentTypeError(f"{text!r} is neither true nor false")
    return words[text.lower()]
