"""What a setting is: a field of a frozen struct, which says its type, its range, its default and what it is for.

Everything else is read off the fields: the flag (`--on-no-capacity`), the variable (`DRA_OPERATOR_ON_NO_CAPACITY`), the
key of the file (`on-no-capacity`), help, `--print-config` and docs/reference/settings.md. A new setting is one line.

Types that there are: text, Path, bool, int, float, enumerations of words, and each of them or None.
Not here: where values come from (`resolve.py`, `file.py`).
"""

from __future__ import annotations

import types
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, StrEnum
from functools import cache
from typing import Annotated, Any, Final, TypeAlias, Union, get_args, get_origin

import msgspec
from msgspec import Meta

PREFIX: Final = "DRA_OPERATOR_"
YES: Final = frozenset({"1", "true", "yes", "on"})
NO: Final = frozenset({"0", "false", "no", "off"})


class LogFormat(StrEnum):
    AUTO = "auto"
    """Colours on a terminal, JSON elsewhere."""
    JSON = "json"
    CONSOLE = "console"


class LogLevel(StrEnum):
    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


_DAYS: Final = 86_400.0 * 365
Seconds: TypeAlias = Annotated[float, Meta(gt=0, le=_DAYS, extra={"what": "a number of seconds above 0"})]
SecondsOrNone: TypeAlias = Annotated[float, Meta(ge=0, le=_DAYS, extra={"what": "a number of seconds, or 0"})]
Address: TypeAlias = Annotated[
    str,
    Meta(
        pattern=r"^(|(\[[0-9a-fA-F:.]+\]|[^\s\[\]:/]*):([0-9]{1,4}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5]))\Z",
        extra={"what": "host:port, for example :8080"},
    ),
]
Label: TypeAlias = Annotated[
    str, Meta(pattern=r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?\Z", extra={"what": "a DNS label (a-z, 0-9, -)"})
]
Subdomain: TypeAlias = Annotated[
    str,
    Meta(
        pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*\Z",
        max_length=253,
        extra={"what": "a DNS subdomain (a-z, 0-9, -, .)"},
    ),
]


class SettingError(ValueError):
    """Settings that cannot be: a sentence each, with key, value, where it came from, and what it may be."""

    def __init__(self, *problems: str) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


@dataclass(frozen=True, slots=True)
class Contradiction:
    """Settings that exclude each other; the value of `key` is the one to blame."""

    key: str
    reason: str


class Model(msgspec.Struct, frozen=True, kw_only=True, rename="kebab"):
    """The settings of one program."""

    def contradictions(self) -> Iterator[Contradiction]:
        """What each value allows, and all together do not."""
        yield from ()


@dataclass(frozen=True, slots=True)
class Setting:
    """One field, as everyone else needs it."""

    field: str
    key: str
    type: Any
    """With its range: what msgspec converts to."""
    plain: type
    optional: bool
    default: Any
    """`msgspec.NODEFAULT` where it has to be given."""
    help: str
    expected: str
    choices: tuple[str, ...]
    variables: tuple[str, ...]
    """Environment variables, the first that is set counts."""

    @property
    def flag(self) -> str:
        return f"--{self.key}"

    @property
    def required(self) -> bool:
        return self.default is msgspec.NODEFAULT

    @property
    def default_text(self) -> str:
        """For people; empty where there is none."""
        if self.required or self.default is None or self.default == "":
            return ""
        return text_of(self.default)


@cache
def settings_of(model: type[Model]) -> tuple[Setting, ...]:
    return tuple(_setting(one) for one in msgspec.structs.fields(model))


def variables_of(model: type[Model]) -> frozenset[str]:
    return frozenset(variable for one in settings_of(model) for variable in one.variables)


def text_of(value: Any) -> str:
    """A value as it is written in a file."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Enum):
        return str(value.value)
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def _setting(field: msgspec.structs.FieldInfo) -> Setting:
    inner, metas = _unwrap(field.type)
    optional = get_origin(inner) in (Union, types.UnionType)
    if optional:
        [inner] = [one for one in get_args(inner) if one is not types.NoneType]
        inner, more = _unwrap(inner)
        metas = (*more, *metas)
    help_, what, variables = "", "", ()
    for meta in metas:
        help_ = meta.description or help_
        extra = meta.extra or {}
        what, variables = extra.get("what", what), extra.get("variables", variables)
    choices = tuple(one.value for one in inner) if issubclass(inner, Enum) else ()
    return Setting(
        field=field.name,
        key=field.encode_name,
        type=field.type,
        plain=inner,
        optional=optional,
        default=field.default,
        help=help_,
        expected=what or _expected(inner, choices),
        choices=choices,
        variables=(PREFIX + field.name.upper(), *variables),
    )


def _unwrap(type_: Any) -> tuple[Any, tuple[Meta, ...]]:
    if get_origin(type_) is not Annotated:
        return type_, ()
    inner, *metas = get_args(type_)
    return inner, tuple(one for one in metas if isinstance(one, Meta))


def _expected(plain: type, choices: tuple[str, ...]) -> str:
    if choices:
        return f"one of {', '.join(choices)}"
    return {bool: "true or false", int: "a whole number", float: "a number"}.get(plain, "text")
