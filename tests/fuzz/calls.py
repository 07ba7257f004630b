"""Calls of every function and operator that selectors have, with arguments at the edges of their types.

`make_call(dice)` takes an overload of the environment, or a macro, and fills in arguments: mostly of the right type,
some of them hidden behind `dyn`, some of another type. `questions()` turns a call into what another implementation can
be asked, too: where we find a value, whether the call is equal to exactly that; where we fail, whether it does.
"""

from __future__ import annotations

import argparse
import math
import re
import sys
from collections.abc import Iterator
from typing import Any, Final

from dra_operator.api.quantity import Quantity
from dra_operator.api.semver import Version
from dra_operator.cel.budget import COST_LIMIT, Budget
from dra_operator.cel.device import DeviceView
from dra_operator.cel.environment import environment
from dra_operator.cel.errors import CELCompileError, CELRuntimeError
from dra_operator.cel.functions import Overload
from dra_operator.cel.library.ip import IP
from dra_operator.cel.selector import program_of
from dra_operator.cel.values import Duration, Optional, Timestamp, TypeValue, UInt
from tests.conformance.cel_vectors import COMPILE_ERROR, MATCH, RUNTIME_ERROR
from tests.fuzz.arguments import MACROS, TEXTS, VALUES, WRITTEN
from tests.fuzz.dice import Dice
from tests.fuzz.odd_selectors import DEVICE
from tests.fuzz.selectors import PANIC, difference
from tests.fuzz.targets import VIEW
from tests.oracle import Oracle

Value = Any

_BATCH: Final = 2000

_PARAMETERS: Final = ("int", "string", "bool", "double", "uint", "bytes", "timestamp", "duration", "list(int)")
_RARER: Final = (
    "kubernetes.Quantity",
    "kubernetes.Semver",
    "net.IP",
    "net.CIDR",
    "map(string, int)",
    "type",
    "null",
    "dyn",
)
_HOLE: Final = re.compile(r"\{\{|\}\}|\{([^{}]+)\}")
_OPERATOR: Final = re.compile(r"_([^_\[\]?@]+)_")
_PARAMETER: Final = re.compile(r"\b[A-Z]\b")


def overloads() -> list[Overload]:
    """All that an expression can call."""
    return [
        overload
        for name, several in sorted(environment().functions.items())
        for overload in several
        if "@" not in name.replace("@in", "")
        and not name.startswith("__")
        and not any("authorization" in str(each) for each in overload.args)
    ]


class _Maker:
    """The arguments of one call: the same type for a parameter wherever it stands."""

    def __init__(self, dice: Dice, function: str = "") -> None:
        self.dice, self.function = dice, function
        self.bound: dict[str, str] = {}
        self.maps_are_sorted = True

    def call(self, overload: Overload) -> str:
        args = [self.argument(str(each)) for each in overload.args]
        name = overload.function
        if name in ("_[_]", "_[?_]"):
            return f"{args[0]}[{'?' if '?' in name else ''}{args[1]}]"
        if name == "_?_:_":
            return f"({args[0]} ? {args[1]} : {args[2]})"
        if name == "@in":
            return f"({args[0]} in {args[1]})"
        if name in ("!_", "-_"):
            return f"{name[0]}({args[0]})"
        if match := _OPERATOR.fullmatch(name):
            return f"({args[0]} {match[1]} {args[1]})"
        if overload.is_method:
            return f"{_bracketed(args[0])}.{name}({', '.join(args[1:])})"
        return f"{name}({', '.join(args)})"

    def macro(self, template: str) -> str:
        self.maps_are_sorted = "format" in template or "==" in template
        return _HOLE.sub(lambda hole: hole[0][0] if hole[1] is None else _bracketed(self.argument(hole[1])), template)

    def argument(self, type_: str) -> str:
        dice = self.dice
        if type_ == "small":
            return str(dice.randint(-1, 5))
        if dice.chance(0.06):
            return f"dyn({self.value(dice.pick(_PARAMETERS + _RARER))})"
        value = self.value(type_)
        return f"dyn({value})" if dice.chance(0.25) else value

    def value(self, type_: str) -> str:
        dice = self.dice
        type_ = _PARAMETER.sub(lambda name: self.bound.setdefault(name[0], self._pick()), type_)
        if type_.startswith("list("):
            count = dice.pick((0, 1, 2, 2, 3, 3, 4))
            values = [self.value(type_[5:-1]) for _ in range(count)]
            if values and dice.chance(0.4):
                values.append(dice.pick(values))
            return f"[{', '.join(values)}]"
        if type_.startswith("map("):
            key, value = _key_and_value(type_[4:-1])
            names = ('"a"', '"b"', self.value(key)) if key == "string" else (self.value(key), self.value(key))
            # One entry: upstream goes over maps in any order.
            entries = {name: self.value(value) for name in dice.some(names, 0, 3 if self.maps_are_sorted else 1)}
            return f"{{{', '.join(f'{name}: {each}' for name, each in entries.items())}}}"
        if type_.startswith("optional_type("):
            return "optional.none()" if dice.chance(0.25) else f"optional.of({self.value(type_[14:-1])})"
        match type_:
            case "dyn":
                return self.value(self._pick())
            case "null":
                return "null"
            case "type":
                return dice.pick(("int", "string", "list", "net.IP", "null_type", "type(1)", "optional_type"))
            case "string" if dice.chance(0.6):
                for functions, texts in TEXTS.items():
                    if self.function in functions.split():
                        return f'"{dice.pick(texts)}"'
        written = dice.pick(VALUES[type_])
        return WRITTEN[type_].format(written) if type_ in WRITTEN else written

    def _pick(self) -> str:
        return self.dice.pick(_PARAMETERS if self.dice.chance(0.8) else _RARER)


def _key_and_value(types: str) -> tuple[str, str]:
    end = next(at for at, each in enumerate(types) if each == "," and types[:at].count("(") == types[:at].count(")"))
    return types[:end], types[end + 2 :]


def _bracketed(text: str) -> str:
    return f"({text})" if text[:1] == "-" or (" " in text and text[:1] not in "[{\"'(") or text[:1].isdigit() else text


_OVERLOADS: Final = overloads()


def make_call(dice: Dice) -> str:
    """An expression of any type."""
    if dice.chance(0.3):
        return _Maker(dice).macro(dice.pick(MACROS))
    overload = dice.pick(_OVERLOADS)
    return _Maker(dice, overload.function).call(overload)


def questions(call: str, view: DeviceView) -> Iterator[tuple[str, str]]:
    """Selectors about the call, with the outcomes that they must have if it is what we make of it."""
    try:
        value = program_of(f"dyn({call})").evaluate(view.variables, Budget(COST_LIMIT))
    except CELCompileError:
        yield f"type({call}) == int", COMPILE_ERROR
    except CELRuntimeError:
        yield f"[{call}] == []", RUNTIME_ERROR
    else:
        yield from ((question, MATCH) for question in _truths(f"({call})", value))


def _truths(call: str, value: Value) -> Iterator[str]:
    """Which value it is, as exactly as one can say."""
    if isinstance(value, float) and math.isnan(value):
        yield f"{call} != {call}"
    elif isinstance(value, Version):
        yield f'{call}.compareTo(semver("{value}")) == 0'
    elif isinstance(value, Quantity):
        digits, exponent = value.decimal()
        yield f'{call}.compareTo(quantity("{digits}e{exponent}")) == 0'
    elif isinstance(value, Optional):
        if value.present:
            yield from _truths(f"{call}.value()", value.get())
        else:
            yield f"!{call}.hasValue()"
    elif (literal := _literal(value)) is not None:
        yield f"{literal} == {call}"
        yield f"dyn({call}) == {literal}"
        yield f"type({call}) == type({literal})"
    else:
        yield f"[{call}].size() == 1"


def differences(oracle: Oracle, seeds: range) -> Iterator[str]:
    """Calls of the seeds of which the library makes something else, with what it says."""
    asked = [each for seed in seeds for each in questions(make_call(Dice(seed)), VIEW)]
    answers = oracle.ask_all({"expression": question, "device": DEVICE} for question, _ in asked)
    for (expression, wanted), (question, answer) in zip(asked, answers, strict=True):
        # A question that does not compile says nothing of the call; whether ours does not either is looked at below.
        if answer["outcome"] not in (wanted, PANIC, COMPILE_ERROR):
            yield f"{expression}\n    {answer['outcome']} ({answer.get('message', '')}), ours {wanted}"
        elif how := difference(question, answer):
            yield f"{expression}\n    {how}"


def _literal(value: Value) -> str | None:
    """An expression for the value, if there is one."""
    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case UInt():
            return f"{int(value)}u"
        case int():
            return str(value)
        case float():
            return None if math.isnan(value) else repr(value) if math.isfinite(value) else f'double("{value}")'
        case str():
            return '"' + "".join(_escaped(character) for character in value) + '"'
        case bytes():
            return 'b"' + "".join(f"\\x{byte:02x}" for byte in value) + '"'
        case TypeValue():
            return None if value.name.startswith("kubernetes.") else value.name
        case Duration():
            return f'duration("{value.nanoseconds}ns")'
        case Timestamp():
            seconds, rest = divmod(value.nanoseconds, 10**9)
            return f'(timestamp({seconds}) + duration("{rest}ns"))'
        case IP():
            return f'ip("{value.address}")'
        case list() | tuple():
            parts = [_literal(each) for each in value]
            return None if None in parts else f"[{', '.join(f'dyn({each})' for each in parts)}]"
        case _:
            return None


def _escaped(character: str) -> str:
    code = ord(character)
    if 0xD800 <= code < 0xE000:
        return "\\uFFFD"
    return character if " " <= character <= "~" and character not in '"\\' else f"\\U{code:08x}"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.calls", description=__doc__)
    parser.add_argument("--seeds", type=int, default=20_000, metavar="N", help="how many calls")
    parser.add_argument("--start", type=int, default=0, metavar="SEED", help="the first one's seed")
    options = parser.parse_args()
    seeds, count = range(options.start, options.start + options.seeds), 0
    with Oracle("cel") as oracle:
        for first in range(0, len(seeds), _BATCH):
            for line in differences(oracle, seeds[first : first + _BATCH]):
                count += 1
                print(line, flush=True)
    print(f"{options.seeds} calls, {count} differences")
    return 1 if count else 0


if __name__ == "__main__":
    sys.exit(main())
