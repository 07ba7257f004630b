"""The language: operators, equality, conversions, optionals and macros behave as cel-go's."""

from __future__ import annotations

import pytest
from tests.unit.cel.builders import decide

from dra_operator.cel import CELRuntimeError

A = 'device.attributes["gpu.example.com"]'


@pytest.mark.parametrize(
    "truth",
    [
        # numbers
        "-7 / 2 == -3 && -7 % 2 == -1",
        "dyn(1) == 1u && dyn(1) == 1.0 && dyn(1u) == 1.0",
        "1 < 1.5 && 2u > 1 && !(1 < 1u)",
        "1.0 / 0.0 > 1.0",
        "dyn(9223372036854775807) == 9223372036854775808.0",
        # equality of unlike things
        "dyn(1) != true && dyn('1') != 1 && dyn(null) != 0",
        "dyn([1]) == [1.0]",
        # a Kubernetes value on the left of something else fails, which makes `!=` true
        f'{A}.driverVersion != "535.1.0"',
        f'"535.1.0" != {A}.driverVersion',
        # maps and lists
        "{'a': 1, 'a': 2}.a == 2",
        "{true: 1, false: 2}[true] == 1",
        "dyn({dyn(1): 'n', dyn(true): 'b'})[true] == 'b'",
        "[1, 2][dyn(1.0)] == 2",
        "1.0 in [1.0] && dyn(1u) in [1, 2] && !(dyn('a') in [1])",
        # conversions
        "int('+5') == 5 && int(-5.9) == -5 && uint('5') == 5u",
        "string(1e21) == '1e+21' && string(123456.0) == '123456' && string(1000000.0) == '1e+06'",
        "string(-0.0) == '-0' && double('0x1p4') == 16.0 && double('1_0') == 10.0",
        "bool('TRUE') && !bool('f')",
        "string(duration('1h30m')) == '5400s' && string(duration('1.5s')) == '1.5s'",
        "string(timestamp('2024-01-01T00:00:00.5+01:00')) == '2024-01-01T00:00:00.5+01:00'",
        "type(1) == int && type(type(1)) == type && type(null) == null_type",
        # optionals
        "{'a': {'b': 1}}.?a.b == optional.of(1) && !{'a': {}}.?a.b.hasValue()",
        "[1, 2][?5].orValue(9) == 9 && [?optional.none(), 2] == [2]",
        "{?'a': optional.none(), 'b': 1} == {'b': 1}",
        "optional.none().or(optional.of(2)).value() == 2",
        "optional.of(1).orValue(1 / 0) == 1",
        f"{A}.?nope.optMap(x, x == 1).orValue(true)",
        # macros
        "[1, 2, 3].all(x, 1 / (x - 2) > -5 || true)",
        "[0, 1].exists(x, 1 / x == 1)",
        "[1, 2].map(x, x > 1, x * 2) == [4] && [1, 2].filter(x, x > 1) == [2]",
        "[1, 2].transformList(i, v, i + v) == [1, 3]",
        "{'a': 1}.transformMap(k, v, v + 1) == {'a': 2}",
        "{'a': 1}.transformMapEntry(k, v, {v: k}) == {1: 'a'}",
        "[1, 2, 3].existsOne(i, v, v == 2)",
        "[{'a': 2}, {'a': 1}].sortBy(x, x.a)[0].a == 1",
        "cel.bind(x, 1 / 0, true)",
        "[1].all(device, .device.driver == 'gpu.example.com')",
        "{'a.b': 1}.`a.b` == 1",
        # upstream's own: a constant pattern looks into an optional, and into the name of a type
        'dyn(optional.of("fish")).matches("^f")',
        'dyn(int).find("^i") == "i"',
        "dyn(optional.none())[?1 / 0] == optional.none()",
    ],
)
def test_holds(truth: str) -> None:
    assert decide(truth)


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("9223372036854775807 + 1 > 0", "integer overflow"),
        ("-9223372036854775808 / -1 > 0", "integer overflow"),
        ("-9223372036854775808 % -1 == 0", "integer overflow"),
        ("5u - 6u == 0u", "unsigned integer overflow"),
        ("5 % 0 == 0", "modulus by zero"),
        ("dyn(1) + 1.0 == 2.0", "no such overload"),
        ("dyn(0.0 / 0.0) < 1.0", "NaN values cannot be ordered"),
        ("[1][5] == 1", "index out of bounds: 5"),
        ("optional.none().value() == 1", "dereference"),
        (f'{A}.driverVersion == "535.1.0"', "no such overload"),
        (f"{A}.driverVersion in ['a'] || true", "unhashable"),
        ("[1, 0].map(x, 1 / x).size() == 2", "division by zero"),
        ("[1, 0].exists_one(x, 1 / x == 1)", "division by zero"),
        ("dyn(1) ? true : false", "no such overload"),
        ("timestamp('9999-12-31T23:59:59Z') + duration('1s') > timestamp(0)", "timestamp overflow"),
    ],
)
def test_fails(expression: str, message: str) -> None:
    with pytest.raises(CELRuntimeError, match=message):
        decide(expression)
