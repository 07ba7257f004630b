"""Message literals: `google.protobuf.Int64Value{value: 3}` and the other types of protobuf that selectors know.

None of them is left after evaluation but `Empty` and the entries of `Struct`. A wrapper becomes what it holds;
`Struct`, `ListValue` and `Value` become maps, lists and scalars as JSON has them; `Any` becomes the message that its
bytes encode. A field takes values of exactly its own type; only texts are taken of all that has one (versions,
quantities, addresses).

A few names can be written but not made, `kubernetes.DRADevice` among them: they pass the checker and fail when they
are evaluated.

Upstream: `NewValue` and `ConvertToNative` in `common/types` of cel-go, `common/types/pb/type.go` there;
`DeclTypeProvider` in `pkg/cel` of k8s.io/apiserver.
"""

from __future__ import annotations

import struct
from base64 import b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from dra_operator.api.quantity import Quantity
from dra_operator.api.semver import Version
from dra_operator.cel import types as t
from dra_operator.cel.errors import CELEvaluationError
from dra_operator.cel.library.cidr import CIDR
from dra_operator.cel.library.ip import IP
from dra_operator.cel.library.time import format_duration, format_timestamp
from dra_operator.cel.library.url import URL
from dra_operator.cel.types import K, Type
from dra_operator.cel.values import (
    MAX_INT64,
    MIN_INT64,
    Duration,
    JsonMap,
    MessageValue,
    Optional,
    Timestamp,
    UInt,
    Value,
    key_value,
    type_name,
)

if TYPE_CHECKING:
    from google.protobuf.message import Message

_PREFIX: Final = "google.protobuf."
_SECOND: Final = 1_000_000_000
_YEAR_ONE: Final = 62_135_596_800  # seconds from there to 1970; Go counts from the year 1, in 64 bits
_LARGEST_IN_JSON: Final = (1 << 53) - 1  # larger integers become texts

Fields = dict[str, Value]
Convert = Callable[[Value], Value]


@dataclass(frozen=True, slots=True)
class MessageType:
    """What a literal of the type may set, and the type that its value has."""

    value: Type
    fields: Mapping[str, Type]


def make(name: str, fields: Fields) -> Value:
    """The value of a literal. Raises CELEvaluationError if the type cannot be made, or a field takes no such value."""
    if name not in _MAKERS:
        raise CELEvaluationError(f"unknown type '{name}'")
    converters, build = _MAKERS[name]
    converted: Fields = {}
    for field, value in fields.items():
        try:
            converted[field] = converters[field](value)
        except CELEvaluationError as error:
            message = f"field type conversion error for {name}.{field} value type: {error}"
            raise CELEvaluationError(message) from None
    return build(converted)


# -- what fields take


def _bare(value: Value) -> Value:
    while type(value) is Optional:
        value = value.get()
    return value


def _refused(value: Value, wanted: str) -> CELEvaluationError:
    return CELEvaluationError(f"type conversion error from '{type_name(value)}' to '{wanted}'")


def _exactly(kind: type, wanted: str) -> Convert:
    def convert(value: Value) -> Value:
        value = _bare(value)
        if type(value) is not kind:
            raise _refused(value, wanted)
        return value

    return convert


def _within(convert: Convert, least: int, most: int, overflow: str) -> Convert:
    def narrowed(value: Value) -> Value:
        number = convert(value)
        if not least <= number <= most:
            raise CELEvaluationError(overflow)
        return number

    return narrowed


def _text(value: Value) -> str:
    value = _bare(value)
    if isinstance(value, str):
        return value
    if isinstance(value, Version | Quantity):
        return str(value)
    if isinstance(value, URL):
        return value.text
    if isinstance(value, IP):
        return str(value.address)
    if isinstance(value, CIDR):
        return f"{value.address}/{value.length}"
    raise _refused(value, "string")


def _bytes(value: Value) -> bytes:
    value = _bare(value)
    if isinstance(value, bytes):
        return value
    if isinstance(value, list | tuple):
        return bytes(_OCTET(item) for item in value)
    raise _refused(value, "bytes")


def _single(value: Value) -> float:
    number = _DOUBLE(value)
    try:
        return float(struct.unpack("f", struct.pack("f", number))[0])
    except OverflowError:
        return float("inf") if number > 0 else float("-inf")


def _json(value: Value) -> Value:
    value = _bare(value)
    match value:
        case None | bool() | float() | str():
            return value
        case int():
            return float(value) if abs(value) <= _LARGEST_IN_JSON else str(int(value))
        case bytes():
            return b64encode(value).decode()
        case Duration():
            return format_duration(value)
        case Timestamp():
            return format_timestamp(value)
        case list() | tuple():
            return _json_list(value)
        case dict():
            return _json_map(value)
        case MessageValue():
            return _json_map(dict(value.fields))
        case _:
            raise _refused(value, "google.protobuf.Value")


def _json_list(value: Value) -> list[Value]:
    value = _bare(value)
    if not isinstance(value, list | tuple):
        raise _refused(value, "google.protobuf.ListValue")
    return [_json(item) for item in value]


def _json_map(value: Value) -> JsonMap:
    value = _bare(value)
    if not isinstance(value, dict):
        raise _refused(value, "google.protobuf.Struct")
    return JsonMap({_text(key_value(key)): _json(item) for key, item in value.items()})


def _repeated(convert: Convert) -> Convert:
    """A field that holds many: it looks into no optional."""

    def whole(value: Value) -> Value:
        if type(value) is Optional:
            raise _refused(value, "a list or map")
        return convert(value)

    return whole


_INT64: Final = _exactly(int, "int64")
_UINT64: Final = _exactly(UInt, "uint64")
_DOUBLE: Final = _exactly(float, "float64")
_BOOL: Final = _exactly(bool, "bool")
_INT32: Final = _within(_INT64, -(1 << 31), (1 << 31) - 1, "integer overflow")
_UINT32: Final = _within(_UINT64, 0, (1 << 32) - 1, "unsigned integer overflow")
_OCTET: Final = _within(_UINT64, 0, 255, "unsigned integer overflow")


# -- what becomes of the fields


def _duration(fields: Fields) -> Duration:
    total = fields.get("seconds", 0) * _SECOND + fields.get("nanos", 0)
    return Duration(max(MIN_INT64, min(MAX_INT64, total)))


def _timestamp(fields: Fields) -> Timestamp:
    """Any instant, also outside the years that CEL's own functions allow."""
    seconds, nanos = divmod(fields.get("seconds", 0) * _SECOND + fields.get("nanos", 0), _SECOND)
    since_year_one = (seconds + _YEAR_ONE - MIN_INT64) % (1 << 64) + MIN_INT64
    return Timestamp((since_year_one - _YEAR_ONE) * _SECOND + nanos)


def _value(fields: Fields) -> Value:
    """One of its fields is set; the last, if a literal names several."""
    kind, value = next(reversed(fields.items()), ("null_value", None))
    return None if kind == "null_value" else value


def _entry(fields: Fields) -> MessageValue:
    given = {name: value for name, value in sorted(fields.items()) if (name, value) != ("key", "")}
    unset = {name: value for name, value in (("key", ""), ("value", None)) if name not in given}
    return MessageValue("google.protobuf.Struct.FieldsEntry", tuple(given.items()), tuple(unset.items()))


def _any(fields: Fields) -> Value:
    name = str(fields.get("type_url", "")).rpartition("/")[2]
    return _unpacked(name, fields.get("value", b""))


def _unpacked(name: str, encoded: bytes) -> Value:
    from google.protobuf import any_pb2, duration_pb2, empty_pb2, struct_pb2, timestamp_pb2, wrappers_pb2
    from google.protobuf.message import DecodeError

    modules = (any_pb2, duration_pb2, empty_pb2, struct_pb2, timestamp_pb2, wrappers_pb2)
    short = name.removeprefix(_PREFIX)
    known = next((getattr(module, short) for module in modules if name in _MAKERS and hasattr(module, short)), None)
    try:
        if known is None:
            raise DecodeError
        message: Message = known.FromString(encoded)
    except DecodeError:
        raise CELEvaluationError(f"google.protobuf.Any holds no message that is known: '{name}'") from None
    return _decoded(message)


def _decoded(message: Any) -> Value:
    """A message of the protobuf library as a value."""
    match message.DESCRIPTOR.name:
        case "Any":
            return _unpacked(message.type_url.rpartition("/")[2], message.value)
        case "Duration":
            return _duration({"seconds": message.seconds, "nanos": message.nanos})
        case "Timestamp":
            return _timestamp({"seconds": message.seconds, "nanos": message.nanos})
        case "Empty":
            return MessageValue("google.protobuf.Empty")
        case "Struct":
            return JsonMap({key: _decoded(item) for key, item in message.fields.items()})
        case "ListValue":
            return [_decoded(item) for item in message.values]
        case "Value":
            kind = message.WhichOneof("kind")
            if kind in ("struct_value", "list_value"):
                return _decoded(getattr(message, kind))
            return None if kind in (None, "null_value") else getattr(message, kind)
        case "UInt32Value" | "UInt64Value":
            return UInt(message.value)
        case _:
            return message.value


def _wrapper(of: Type, convert: Convert, zero: Value) -> tuple[MessageType, dict[str, Convert], Convert]:
    return MessageType(t.nullable(of), {"value": of}), {"value": convert}, lambda fields: fields.get("value", zero)


_JSON_MAP: Final = t.map_of(t.STRING, t.DYN)
_JSON_LIST: Final = t.list_of(t.DYN)
_EMPTY: Final = Type(K.STRUCT, "google.protobuf.Empty")
_ENTRY: Final = Type(K.STRUCT, "google.protobuf.Struct.FieldsEntry")
_INSTANT: Final[dict[str, Type]] = {"seconds": t.INT, "nanos": t.INT}
_INSTANT_FIELDS: Final[dict[str, Convert]] = {"seconds": _INT64, "nanos": _INT32}

_PROTOBUF: Final[dict[str, tuple[MessageType, dict[str, Convert], Convert]]] = {
    "BoolValue": _wrapper(t.BOOL, _BOOL, False),
    "BytesValue": _wrapper(t.BYTES, _bytes, b""),
    "DoubleValue": _wrapper(t.DOUBLE, _DOUBLE, 0.0),
    "FloatValue": _wrapper(t.DOUBLE, _single, 0.0),
    "Int32Value": _wrapper(t.INT, _INT32, 0),
    "Int64Value": _wrapper(t.INT, _INT64, 0),
    "StringValue": _wrapper(t.STRING, _text, ""),
    "UInt32Value": _wrapper(t.UINT, _UINT32, UInt(0)),
    "UInt64Value": _wrapper(t.UINT, _UINT64, UInt(0)),
    "Duration": (MessageType(t.DURATION, _INSTANT), _INSTANT_FIELDS, _duration),
    "Timestamp": (MessageType(t.TIMESTAMP, _INSTANT), _INSTANT_FIELDS, _timestamp),
    "Struct": (
        MessageType(_JSON_MAP, {"fields": _JSON_MAP}),
        {"fields": _repeated(_json_map)},
        lambda fields: fields.get("fields", JsonMap()),
    ),
    "ListValue": (
        MessageType(_JSON_LIST, {"values": _JSON_LIST}),
        {"values": _repeated(_json_list)},
        lambda fields: fields.get("values", []),
    ),
    "Value": (
        MessageType(
            t.DYN,
            {
                "null_value": t.INT,
                "number_value": t.DOUBLE,
                "string_value": t.STRING,
                "bool_value": t.BOOL,
                "struct_value": _JSON_MAP,
                "list_value": _JSON_LIST,
            },
        ),
        {
            "null_value": _INT32,
            "number_value": _DOUBLE,
            "string_value": _text,
            "bool_value": _BOOL,
            "struct_value": _json_map,
            "list_value": _json_list,
        },
        _value,
    ),
    "Any": (
        MessageType(t.ANY, {"type_url": t.STRING, "value": t.BYTES}),
        {"type_url": _text, "value": _bytes},
        _any,
    ),
    "Empty": (MessageType(_EMPTY, {}), {}, lambda _: MessageValue(_EMPTY.name)),
    "Struct.FieldsEntry": (
        MessageType(_ENTRY, {"key": t.STRING, "value": t.DYN}),
        {"key": _text, "value": _json},
        _entry,
    ),
}
_MAKERS: Final = {_PREFIX + name: (fields, build) for name, (_, fields, build) in _PROTOBUF.items()}

MESSAGES: Final[dict[str, MessageType]] = {_PREFIX + name: found for name, (found, _, __) in _PROTOBUF.items()} | {
    "duration": MessageType(t.DURATION, _INSTANT),
    "timestamp": MessageType(t.TIMESTAMP, _INSTANT),
    "list": MessageType(_JSON_LIST, {"values": _JSON_LIST}),
    "null_type": MessageType(t.NULL, {}),
}
