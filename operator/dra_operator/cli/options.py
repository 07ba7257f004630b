"""The options of a command whose settings are one struct: declared from its fields, and `--config`, `--print-config`.

Values are parsed by `settings/resolve.py`, not here, so that a wrong one is refused in the same words wherever it
stands. Exit code 2 if it is.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Annotated, Any, Final, TypeVar

import msgspec
import typer

from dra_operator.settings.model import Model, Setting, SettingError, settings_of, text_of
from dra_operator.settings.resolve import CONFIG_VARIABLE, Resolved, resolve

M = TypeVar("M", bound=Model)

USAGE: Final = 2
_FORMS: Final = ("table", "json", "yaml")


class _Value(msgspec.Struct, frozen=True, omit_defaults=True):
    value: Any
    origin: str = msgspec.field(name="from")
    place: str = msgspec.field(name="source", default="")


class _Configuration(msgspec.Struct, frozen=True, rename="camel"):
    settings: dict[str, _Value]
    api_version: str = "dra-operator.io/v1"
    kind: str = "Configuration"


def takes_settings(
    model: type[M], name: str, *, others: Callable[[], Collection[str]] = frozenset
) -> Callable[[Callable[[M], None]], Callable[..., None]]:
    """Make a command of a function of its settings. `name` is said in errors; `others` as in `resolve`."""

    def decorate(command: Callable[[M], None]) -> Callable[..., None]:
        def wrapped(**given: Any) -> None:
            config, shows, form = given.pop("config"), given.pop("print_config"), given.pop("output")
            flags = {key: text_of(value) for key, value in given.items() if value is not None}
            try:
                if form not in _FORMS:
                    raise SettingError(f"output: {form!r} (flag -o) is not one of {', '.join(_FORMS)}")
                resolved = resolve(model, flags=flags, config=config, others=others)
                if not shows:
                    command(resolved.settings)
            except SettingError as error:
                for problem in error.problems:
                    typer.echo(f"{name}: {problem}", err=True)
                raise typer.Exit(USAGE) from error
            if shows:
                _print(resolved, form)

        parameters = list(_parameters(model))
        wrapped.__name__, wrapped.__doc__ = command.__name__, command.__doc__
        wrapped.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        wrapped.__annotations__ = {one.name: one.annotation for one in parameters}
        return wrapped

    return decorate


def _parameters(model: type[Model]) -> Iterator[inspect.Parameter]:
    for one in settings_of(model):
        switch = bool if one.plain is bool else str
        option = typer.Option(help=_help(one), metavar=None if switch is bool else _metavar(one))
        yield _parameter(one.field, Annotated[switch | None, option], None)
    config = typer.Option(help=f"YAML file of settings, keys as the options here. [${CONFIG_VARIABLE}]", metavar="FILE")
    yield _parameter("config", Annotated[Path | None, config], None)
    shown = typer.Option("--print-config", help="Print the settings in force and where each comes from; do nothing.")
    yield _parameter("print_config", Annotated[bool, shown], False)
    form = typer.Option("--output", "-o", help="Of --print-config.", metavar="|".join(_FORMS), show_default=False)
    yield _parameter("output", Annotated[str, form], "table")


def _parameter(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _help(one: Setting) -> str:
    notes = [f"${variable}" for variable in one.variables[1:]]
    if one.required:
        notes.append("required")
    elif one.default_text:
        notes.append(f"default: {one.default_text}")
    return f"{one.help} [{'; '.join(notes)}]" if notes else one.help


def _metavar(one: Setting) -> str:
    if one.choices:
        return "|".join(one.choices)
    if issubclass(one.plain, Path):
        return "PATH"
    if one.plain is float:
        return "SECONDS" if "seconds" in one.expected else "N"
    return "N" if one.plain is int else "TEXT"


def _print(resolved: Resolved[Any], form: str) -> None:
    rows = list(resolved.rows())
    if form == "table":
        from dra_operator.cli.output import print_table  # late: commands that run do without

        print_table(
            ("SETTING", "VALUE", "FROM"),
            [(one.key, text_of(value) or "-", str(given or "default")) for one, value, given in rows],
            {2: lambda cell: "dim" if cell == "default" else ""},
        )
        return
    values = {
        one.key: _Value(
            value if isinstance(value, bool | int | float) or value is None else text_of(value),
            "default" if given is None else given.origin.value,
            "" if given is None else given.place,
        )
        for one, value, given in rows
    }
    if form == "json":
        encoded = msgspec.json.encode(_Configuration(values))
        sys.stdout.write(msgspec.json.format(encoded, indent=2).decode() + "\n")
    else:
        import yaml

        sys.stdout.write(yaml.safe_dump(msgspec.to_builtins(_Configuration(values)), sort_keys=False))
