"""Message literals: what a type takes, what becomes of it, and what is refused when."""

from __future__ import annotations

import pytest
from tests.unit.cel.builders import decide

from dra_operator.cel import CELCompileError, CELRuntimeError, compile_selector
from dra_operator.cel.hints import cures

A = 'device.attributes["gpu.example.com"]'


@pytest.mark.parametrize(
    "truth",
    [
        # a wrapper is what it holds, zero if that is not said, and null is asked of it without harm
        f"google.protobuf.Int64Value{{value: {A}.index}} + 1 == 4",
        "google.protobuf.BoolValue{value: true}",
        'google.protobuf.StringValue{} == ""',
        "google.protobuf.UInt32Value{value: 5u} != null",
        "type(google.protobuf.Int32Value{}) == int",
        "google.protobuf.FloatValue{value: 0.1} != 0.1",
        # a text is taken of everything that has one
        f'google.protobuf.StringValue{{value: {A}.driverVersion}} == "535.1.0"',
        # an optional field is set if there is a value
        f"google.protobuf.Int64Value{{?value: {A}.?index}} == 3",
        f"google.protobuf.Int64Value{{?value: {A}.?nope}} == 0",
        # a field that is set twice has the last value
        "google.protobuf.Int64Value{value: 5, value: 6,} == 6",
        # time
        'google.protobuf.Duration{seconds: 1, nanos: 500000000} == duration("1.5s")',
        'google.protobuf.Timestamp{seconds: 5} == timestamp("1970-01-01T00:00:05Z")',
        # JSON
        'google.protobuf.Struct{fields: {"a": [b"x"]}} == {"a": ["eA=="]}',
        'google.protobuf.Struct{fields: {"a": {"b": duration("5s")}}}.a.b == "5s"',
        'google.protobuf.Struct{fields: {"a": 9007199254740992}}.a == "9007199254740992"',
        "google.protobuf.ListValue{values: [1, 2]}.map(x, x + 0.5) == [1.5, 2.5]",
        "google.protobuf.Value{} == null",
        # a message within bytes
        'google.protobuf.Any{type_url: "a/google.protobuf.Int64Value", value: b"\\x08\\x05"} == 5',
        # what stays a message
        "google.protobuf.Empty{} == google.protobuf.Empty{} && google.protobuf.Empty{} != null",
        "type(google.protobuf.Empty{}) == google.protobuf.Empty",
        "google.protobuf.NullValue.NULL_VALUE == 0",
    ],
)
def test_holds(truth: str) -> None:
    assert decide(truth)


@pytest.mark.parametrize(
    ("year", "seconds"),
    [(31690708, 999999999999999), (0, -62135596801), (-29719, -999999999999), (292277026596, 9223372036854775807)],
)
def test_an_instant_written_as_a_message_lies_in_any_year(year: int, seconds: int) -> None:
    assert decide(f"google.protobuf.Timestamp{{seconds: {seconds}}}.getFullYear() == {year}")


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("google.protobuf.Int64Value{value: dyn(5u)} == 5", "field type conversion error for google.protobuf.Int64Val"),
        ("google.protobuf.Int32Value{value: 2147483648} == 5", "integer overflow"),
        ('google.protobuf.Struct{fields: {"a": int}} == {}', "google.protobuf.Value"),
        ('google.protobuf.Struct{fields: dyn({1: "a"})} == {}', "type conversion error from 'int' to 'string'"),
        ('google.protobuf.Any{type_url: "nope"} == 5', "no message that is known: 'nope'"),
        ("google.protobuf.Int64Value{?value: dyn(5)} == 5", "cannot initialize optional entry 'value'"),
        ("dyn(google.protobuf.Empty{}).a == 5", "no such field 'a'"),
        # what can be written but not made
        ('kubernetes.DRADevice{driver: "x"} == device', "unknown type 'kubernetes.DRADevice'"),
        ("list{values: [1]} == [1]", "unknown type 'list'"),
    ],
)
def test_fails_when_it_is_evaluated(expression: str, message: str) -> None:
    with pytest.raises(CELRuntimeError, match=message):
        decide(expression)
    assert decide(f"{expression} || true")


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        (
            "google.protobuf.Int64Value{value: null} == 0",
            "expected type of field 'value' is 'int' but provided",
        ),
        ("google.protobuf.Int64Value{?value: 5} == 5", "expected type 'optional_type(int)' but found 'int'"),
        ("kubernetes.DRADevice{driver: 5} == device", "expected type of field 'driver' is 'string'"),
        ("google.protobuf.Int64Value{nope: 5} == 5", "undefined field 'nope'"),
        ("google.protobuf.Int64Value{value: 5}.value == 5", "type 'wrapper(int)' does not support field selection"),
        ("google.protobuf.Int64Value{value: 5}", "must evaluate to bool or the unknown type, not wrapper(int)"),
        ("net.IP{} == ip('::1')", "'net.IP' is not a message type"),
        ("kubernetes.Quantity{} == quantity('1')", "undeclared reference to 'kubernetes.Quantity'"),
        ("google.protobuf.FieldMask{} == null", "undeclared reference to 'google.protobuf.FieldMask'"),
        # the type is written as plain names
        ("(google.protobuf.Int64Value){value: 5} == 5", "extraneous input '{'"),
        ("google.protobuf.`Int64Value`{value: 5} == 5", "extraneous input '{'"),
    ],
)
def test_does_not_compile(expression: str, message: str) -> None:
    with pytest.raises(CELCompileError) as caught:
        compile_selector(expression)
    assert message in str(caught.value)


def test_a_field_that_a_message_lacks_gets_no_hint_about_devices() -> None:
    with pytest.raises(CELCompileError) as caught:
        compile_selector("google.protobuf.Int64Value{nope: 5} == 5")

    assert list(cures(caught.value)) == []
