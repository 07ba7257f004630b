"""Values as the API server prints them in its messages: Go's quoting of strings, Go's JSON of objects.

An object of the version that was sent is printed with its JSON names. One of the server's internal version has no JSON
tags and is printed with Go's field names and with all its fields; both happen, and users compare texts.

Upstream: `strconv.Quote`, `encoding/json`.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Final

import msgspec

from dra_operator.api.quantity import Quantity
from dra_operator.validation.shapes import Raw, Time, shape_of

_ESCAPES: Final = {"\a": r"\a", "\b": r"\b", "\f": r"\f", "\n": r"\n", "\r": r"\r", "\t": r"\t", "\v": r"\v"}
_JSON_ESCAPES: Final = {"<": r"\u003c", ">": r"\u003e", "&": r"\u0026", "\u2028": r"\u2028", "\u2029": r"\u2029"}


def quote(text: str) -> str:
    """`text` in double quotes, escaped as Go does."""
    return '"' + "".join(_escaped(character) for character in text) + '"'


def _escaped(character: str) -> str:
    if character in '"\\':
        return "\\" + character
    if character.isprintable():
        return character
    if character in _ESCAPES:
        return _ESCAPES[character]
    code = ord(character)
    if code < 0x80:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def bad_value(value: object, *, internal: bool = False) -> str:
    """A refused value as it stands in a message."""
    if isinstance(value, str):
        return quote(value)
    return go_json(value, internal=internal)


def go_json(value: object, *, internal: bool = False) -> str:
    """`value` as Go's JSON. `internal`: it is of the internal version, which has no JSON tags."""
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case str():
            return _json_string(value)
        case Quantity():
            return _json_string(value.as_written())
        case Raw():
            return value.text or "null"
        case Time():
            return f'"{datetime.fromtimestamp(int(value.seconds), UTC):%Y-%m-%dT%H:%M:%SZ}"'
        case dict():
            entries = (f"{_json_string(key)}:{go_json(each, internal=internal)}" for key, each in sorted(value.items()))
            return "{" + ",".join(entries) + "}"
        case tuple():
            return "[" + ",".join(go_json(each, internal=internal) for each in value) + "]"
        case msgspec.Struct():
            return _struct(value, internal=internal)
    raise TypeError(f"no Go text for {type(value).__name__}")


def _struct(value: msgspec.Struct, *, internal: bool) -> str:
    shape = shape_of(type(value))
    tagless = internal and not shape.tagged_internally
    entries = []
    for each in shape.fields:
        content = getattr(value, each.attribute)
        if tagless and each.attribute == "metadata":  # embedded: its fields stand among the others
            inner = _struct(content, internal=True)[1:-1]
            entries += [inner] if inner else []
        elif tagless:
            entries.append(f'"{each.go_name}":{go_json(content, internal=True)}')
        elif each.always or (content is not None if each.type.pointer else content not in (None, "", 0, (), {})):
            entries.append(f'"{each.json_name}":{go_json(content, internal=internal)}')
    return "{" + ",".join(entries) + "}"


def _json_string(text: str) -> str:
    escaped = json.dumps(text, ensure_ascii=False)
    for character, code in _JSON_ESCAPES.items():
        escaped = escaped.replace(character, code)
    return escaped
