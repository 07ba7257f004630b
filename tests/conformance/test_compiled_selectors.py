"""The fast path decides as the reference does, and its Python holds nothing of the user's text."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from dra_operator.api.quantity import Quantity
from dra_operator.api.semver import Version
from dra_operator.cel import CELCompileError, CELRuntimeError, DeviceView, compile_selector
from dra_operator.cel.ast import MessageLiteral, all_nodes
from dra_operator.cel.budget import Budget
from dra_operator.cel.compiled import Decision, decision, keeps_optionals, loops, python_of
from dra_operator.cel.compiled.runtime import HELPERS
from dra_operator.cel.compiled.source import CannotCompile
from dra_operator.cel.estimate import estimate
from dra_operator.cel.evaluate import Program
from dra_operator.cel.selector import program_of
from tests.unit.cel.builders import gpu

LIMIT = 20_000

DATA = Path(__file__).parent / "data"


def golden_expressions() -> Iterator[str]:
    for name in ("cel_selectors.jsonl", "cel_library.jsonl"):
        for line in (DATA / name).read_text().splitlines()[1:]:
            yield json.loads(line)["expression"]


def golden_programs() -> Iterator[tuple[str, Program]]:
    for expression in dict.fromkeys(golden_expressions()):
        try:
            yield expression, program_of(expression)
        except CELCompileError:
            continue


KNOWN = DeviceView(
    "dra.example.com",
    {
        "s": "fish",
        "i": 5,
        "b": True,
        "v": Version.parse("1.2.3"),
        "l": ("a", "b"),
        "vs": (Version.parse("1.0.0"), Version.parse("2.0.0")),
        "other.example.com/x": "o",
    },
    {"mem": Quantity.parse("1Gi")},
    allow_multiple_allocations=True,
)
UNKNOWN = DeviceView("other.example.com")


Answer = tuple[str, object, int | None]


def by_reference(program: Program, device: DeviceView) -> Answer:
    budget = Budget(LIMIT)
    try:
        return "value", program.evaluate(device.variables, budget), budget.spent
    except CELRuntimeError as error:
        return type(error).__name__, str(error), None


def by(decide: Decision, device: DeviceView, *, counting: bool) -> Answer:
    try:
        result = decide(device, LIMIT)
    except CELRuntimeError as error:
        return type(error).__name__, str(error), None
    return ("value", *result) if counting else ("value", result, None)


def test_messages_are_left_to_the_reference() -> None:
    program = program_of("google.protobuf.BoolValue{value: true}")

    assert decision(program, counting=True) is None
    assert decision(program, counting=False) is None


def test_it_answers_every_golden_expression_as_the_reference_with_the_same_cost() -> None:
    for expression, program in golden_programs():
        messages = any(isinstance(node, MessageLiteral) for node in all_nodes(program.checked.root))
        if messages or keeps_optionals(program.checked):
            continue  # those are the reference's
        ways = [(True, decision(program, counting=True))]
        if not loops(program) and estimate(program.checked) <= LIMIT:
            ways.append((False, decision(program, counting=False)))
        for counting, decide in ways:
            assert decide is not None, expression
            for device in (KNOWN, UNKNOWN):
                wanted, got = by_reference(program, device), by(decide, device, counting=counting)
                assert (got[0], repr(got[1])) == (wanted[0], repr(wanted[1])), expression
                assert not counting or got[2] == wanted[2], expression


# What generated code may consist of.
NODES = (
    *(ast.Module, ast.FunctionDef, ast.arguments, ast.arg, ast.Assign, ast.AugAssign, ast.Add, ast.Expr, ast.Pass),
    *(ast.If, ast.IfExp, ast.For, ast.Break, ast.Continue, ast.Try, ast.ExceptHandler, ast.Raise, ast.Return),
    *(ast.Compare, ast.Eq, ast.NotEq, ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.Is, ast.IsNot, ast.In, ast.BoolOp, ast.And),
    *(ast.UnaryOp, ast.Not, ast.Call, ast.Name, ast.Load, ast.Store, ast.Constant, ast.Subscript, ast.Attribute),
    *(ast.List, ast.Tuple, ast.Starred, ast.Nonlocal),
)
ATTRIBUTES = {
    *("driver", "device", "attributes_by_domain", "capacity_by_domain", "allow_multiple_allocations"),
    *("error", "get", "present"),
}
NAMES = re.compile(
    "|".join(
        (
            r"(?:k|t|r|f|v|a|b|c|start)[0-9]+",
            *("view", "limit", "cost", "result", "error", "decide", "driver", "multiple", "attributes", "capacity"),
            *HELPERS,
        )
    )
)


def assert_allowed(text: str, expression: str) -> None:
    for node in ast.walk(ast.parse(text)):
        assert isinstance(node, NODES), (type(node), expression)
        match node:
            case ast.Name(id=name) | ast.arg(arg=name) | ast.FunctionDef(name=name):
                assert NAMES.fullmatch(name), (name, expression)
            case ast.Nonlocal(names=names):
                assert all(map(NAMES.fullmatch, names)), (names, expression)
            case ast.Attribute(attr=name):
                assert name in ATTRIBUTES, (name, expression)
            case ast.Constant(value=value):
                assert value is None or type(value) in (bool, int), (value, expression)
            case ast.FunctionDef(decorator_list=decorators):
                assert not decorators


def test_generated_code_is_made_of_listed_nodes_names_and_attributes_only() -> None:
    for expression, program in list(golden_programs())[::4]:
        for counting in (False, True):
            try:
                text, _ = python_of(program, counting=counting)
            except CannotCompile:
                continue
            assert_allowed(text, expression)


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os')",
        "'; import os; '",
        '\\"\\"\\" + x',
        "k0",
        "view.driver",
        "\\u005f\\u005fclass\\u005f\\u005f",
    ],
)
def test_text_of_the_user_is_a_constant_never_code(text: str) -> None:
    program = program_of(
        f'device.attributes["{text}"].?x.orValue("{text}") == "{text}" || "{text}" in device.attributes'
    )

    source, constants = python_of(program, counting=False)

    assert_allowed(source, text)
    literal = json.loads(f'"{text}"') if "'" not in text else text
    assert literal in [value for value in constants.values() if isinstance(value, str)]
    assert text not in re.sub(r"\bk[0-9]+\b|view\.driver", "", source)


def test_generated_code_has_no_builtins() -> None:
    decide = decision(program_of("device.driver == 'x'"), counting=False)

    assert decide is not None
    assert decide.__globals__["__builtins__"] == {}


def test_an_expression_too_deep_for_python_is_left_to_the_reference() -> None:
    deep = "true" + " && (true" * 30 + " || false)" * 30

    assert decision(program_of(deep), counting=False) is None
    assert compile_selector(deep).matches(gpu())
