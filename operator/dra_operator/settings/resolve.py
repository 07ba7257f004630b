"""Where settings come from: flag before environment before file before default; and what is wrong with them.

All problems are told at once, each with key, value, source and cure. An empty variable is one that is not set. A
variable `DRA_OPERATOR_…` that nobody reads is refused: it was meant to do something.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

import msgspec

from dra_operator.query.suggest import did_you_mean
from dra_operator.settings.file import read_file
from dra_operator.settings.model import NO, PREFIX, YES, Model, Setting, SettingError, settings_of, text_of

M = TypeVar("M", bound=Model)

_FOREIGN: Final = (PREFIX + "CONTROLPLANE_", PREFIX + "SANDBOX_")
"""Variables of other commands that share the prefix."""
CONFIG_VARIABLE: Final = PREFIX + "CONFIG"


class Origin(StrEnum):
    FLAG = "flag"
    ENVIRONMENT = "environment"
    FILE = "file"
    DEFAULT = "default"


@dataclass(frozen=True, slots=True)
class Given:
    """A value in its text form, and who gave it."""

    text: str
    origin: Origin
    place: str
    """The flag, the variable, or file and line."""

    def __str__(self) -> str:
        return self.place if self.origin is Origin.FILE else f"{self.origin} {self.place}"


@dataclass(frozen=True, slots=True)
class Resolved(Generic[M]):
    """The settings, and by key where those that are no defaults come from."""

    settings: M
    given: Mapping[str, Given]

    def rows(self) -> Iterator[tuple[Setting, Any, Given | None]]:
        for one in settings_of(type(self.settings)):
            yield one, getattr(self.settings, one.field), self.given.get(one.key)


def resolve(
    model: type[M],
    *,
    flags: Mapping[str, str] | None = None,
    config: Path | None = None,
    environment: Mapping[str, str] | None = None,
    others: Callable[[], Collection[str]] = frozenset,
) -> Resolved[M]:
    """`flags` by field; `config` is what `--config` says. Raises `SettingError`.

    `others` are variables that other programs of ours read; asked only if there is one that `model` does not.
    """
    env = os.environ if environment is None else environment
    settings = settings_of(model)
    problems: list[str] = list(_unknown_variables(settings, env, others))
    given: dict[str, Given] = {}
    file = config or (Path(env[CONFIG_VARIABLE]) if env.get(CONFIG_VARIABLE) else None)
    if file is not None:
        _take_file(settings, file, given, problems)
    for one in settings:
        for variable in reversed(one.variables):
            if env.get(variable):
                given[one.key] = Given(env[variable], Origin.ENVIRONMENT, variable)
        text = (flags or {}).get(one.field)
        if text is not None:
            given[one.key] = Given(text, Origin.FLAG, one.flag)
    values = _convert(settings, given, problems)
    if problems:
        raise SettingError(*problems)
    made = model(**values)
    if wrong := [_complaint(one.key, made, given, one.reason) for one in made.contradictions()]:
        raise SettingError(*wrong)
    return Resolved(made, given)


def _unknown_variables(
    settings: Iterable[Setting], env: Mapping[str, str], others: Callable[[], Collection[str]]
) -> Iterator[str]:
    known = {variable for one in settings for variable in one.variables} | {CONFIG_VARIABLE}
    ours = [name for name in env if name.startswith(PREFIX) and not name.startswith(_FOREIGN)]
    unknown = sorted(name for name in ours if name not in known and env[name])
    if unknown:
        elsewhere = others()
        for name in unknown:
            if name not in elsewhere:
                hint = did_you_mean(name, known) or "; unset it, or see docs/reference/settings.md"
                yield f"{name}={env[name]!r} in the environment is no setting{hint}"


def _take_file(settings: Iterable[Setting], file: Path, given: dict[str, Given], problems: list[str]) -> None:
    try:
        entries = read_file(file)
    except SettingError as error:
        problems.extend(error.problems)
        return
    by_key = {one.key: one for one in settings}
    for entry in entries:
        if entry.key not in by_key:
            hint = did_you_mean(entry.key.replace("_", "-"), by_key)
            if entry.key.replace("_", "-") in by_key:
                hint = f'; did you mean "{entry.key.replace("_", "-")}"?'
            hint = hint or f"; there are {', '.join(sorted(by_key))}"
            problems.append(f"{entry.place}: {entry.key}: is no setting{hint}")
        elif entry.text is None:
            expected = by_key[entry.key].expected
            problems.append(f"{entry.place}: {entry.key}: is a list or a mapping; it has to be {expected}")
        else:
            given[entry.key] = Given(entry.text, Origin.FILE, entry.place)


def _convert(settings: Iterable[Setting], given: Mapping[str, Given], problems: list[str]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for one in settings:
        found = given.get(one.key)
        if found is None:
            if one.required:
                problems.append(f"{one.key}: is not set; give {one.flag}, or {' or '.join(one.variables)}")
            continue
        try:
            values[one.field] = parse(one, found.text)
        except ValueError:
            hint = did_you_mean(found.text.lower(), one.choices)
            problems.append(f"{one.key}: {found.text!r} ({found}) is not {one.expected}{hint}")
    return values


def parse(setting: Setting, text: str) -> Any:
    """The value that `text` means. Raises ValueError."""
    if setting.plain is bool:
        word = text.lower()
        if word not in YES | NO:
            raise ValueError(text)
        return word in YES
    if issubclass(setting.plain, (str, Path)) and not setting.choices:
        return msgspec.convert(setting.plain(text), setting.type if setting.plain is str else setting.plain)
    return msgspec.convert(text.strip(), setting.type, strict=False)


def _complaint(key: str, made: Model, given: Mapping[str, Given], reason: str) -> str:
    [setting] = [one for one in settings_of(type(made)) if one.key == key]
    source = given.get(key)
    value = text_of(getattr(made, setting.field))
    return f"{key}: {value!r} ({source if source is not None else 'default'}): {reason}"
