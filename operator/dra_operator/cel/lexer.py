"""From text to tokens, and from quoted literals to the text or bytes they mean.

The longest match wins, as in upstream's lexer; anything else is a syntax error at that character. The sign of a number
is a token of its own: the parser decides whether it belongs to the literal (`-5`) or is an operator (`3-5`).

Upstream: `parser/gen/CEL.g4` and `parser/unescape.go` in cel-go.
"""

from __future__ import annotations

import re
from enum import Enum
from typing import Final, NamedTuple

from dra_operator.cel.errors import CELCompileError, Issue


class Kind(Enum):
    FLOAT = "NUM_FLOAT"
    UINT = "NUM_UINT"
    INT = "NUM_INT"
    BYTES = "BYTES"
    STRING = "STRING"
    NAME = "IDENTIFIER"
    ESCAPED_NAME = "ESC_IDENTIFIER"
    OPERATOR = "operator"
    END = "<EOF>"


class Token(NamedTuple):
    kind: Kind
    text: str
    offset: int


_ESCAPE: Final = r"\\(?:[abfnrtv\"'\\?`]|[0-3][0-7]{2}|[xX][0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8})"
_QUOTED: Final = "|".join(
    (
        r'[rR]"""[\s\S]*?"""',
        r"[rR]'''[\s\S]*?'''",
        r'[rR]"[^"\n\r]*"',
        r"[rR]'[^'\n\r]*'",
        rf'"""(?:{_ESCAPE}|[^\\])*?"""',
        rf"'''(?:{_ESCAPE}|[^\\])*?'''",
        rf'"(?:{_ESCAPE}|[^\\"\n\r])*"',
        rf"'(?:{_ESCAPE}|[^\\'\n\r])*'",
    )
)
_TOKEN: Final = re.compile(
    "|".join(
        (
            r"(?P<SPACE>[\t \r\n\f]+|//[^\n]*)",
            r"(?P<FLOAT>[0-9]+\.[0-9]+(?:[eE][+-]?[0-9]+)?|[0-9]+[eE][+-]?[0-9]+|\.[0-9]+(?:[eE][+-]?[0-9]+)?)",
            r"(?P<UINT>0x[0-9a-fA-F]+[uU]|[0-9]+[uU])",
            r"(?P<INT>0x[0-9a-fA-F]+|[0-9]+)",
            rf"(?P<BYTES>[bB](?:{_QUOTED}))",
            rf"(?P<STRING>{_QUOTED})",
            r"(?P<NAME>[A-Za-z_][A-Za-z0-9_]*)",
            r"(?P<ESCAPED_NAME>`[A-Za-z0-9_.\-/ ]+`)",
            r"(?P<OPERATOR>==|!=|<=|>=|&&|\|\||[<>()\[\]{}.,\-!?:+*/%])",
        )
    )
)
_ESCAPED: Final = re.compile(_ESCAPE)
_SIMPLE_ESCAPES: Final = {
    "a": "\a",
    "b": "\b",
    "f": "\f",
    "n": "\n",
    "r": "\r",
    "t": "\t",
    "v": "\v",
}


def tokenize(source: str) -> list[Token]:
    """All tokens of `source`, and one `END`."""
    tokens: list[Token] = []
    position = 0
    while position < len(source):
        match = _TOKEN.match(source, position)
        if match is None:
            message = f"Syntax error: token recognition error at: '{_unrecognized(source, position)}'"
            raise CELCompileError(source, (Issue(position, message),))
        name = match.lastgroup
        assert name is not None
        if name == "NAME" and match[0] == "in":
            tokens.append(Token(Kind.OPERATOR, "in", position))
        elif name != "SPACE":
            tokens.append(Token(Kind[name], match[0], position))
        position = match.end()
    tokens.append(Token(Kind.END, "<EOF>", len(source)))
    return tokens


def _unrecognized(source: str, position: int) -> str:
    """What the message shows: an open literal up to what broke it, else one character."""
    if source[position] not in "\"'":
        return source[position]
    end = position + 1
    while end < len(source) and source[end] not in "\n\r":
        if source[end] == "\\":
            escape = _ESCAPED.match(source, end)
            if escape is None:
                return source[position : end + 2]
            end = escape.end()
        else:
            end += 1
    return source[position:end]


def unquote_text(literal: str) -> str:
    """The text of a STRING token. Raises ValueError for an escape that names no character."""
    body, raw = _body(literal)
    return body if raw else _ESCAPED.sub(_unescape_text, body)


def unquote_bytes(literal: str) -> bytes:
    """The bytes of a BYTES token: escapes are bytes, other characters their UTF-8."""
    body, raw = _body(literal[1:])
    if raw:
        return body.encode()
    parts: list[bytes] = []
    position = 0
    for match in _ESCAPED.finditer(body):
        parts.append(body[position : match.start()].encode())
        if match[0][1] in "uU":
            raise ValueError("unable to unescape string")
        parts.append(_unescape_text(match).encode("latin-1"))
        position = match.end()
    parts.append(body[position:].encode())
    return b"".join(parts)


def _body(literal: str) -> tuple[str, bool]:
    raw = literal[0] in "rR"
    text = (literal[1:] if raw else literal).replace("\r\n", "\n").replace("\r", "\n")
    width = 3 if len(text) >= 6 and text[:3] in ('"""', "'''") else 1
    return text[width:-width], raw


def _unescape_text(match: re.Match[str]) -> str:
    code = match[0][1:]
    if code in _SIMPLE_ESCAPES:
        return _SIMPLE_ESCAPES[code]
    if len(code) == 1:
        return code
    number = int(code[1:], 16) if code[0] in "xXuU" else int(code, 8)
    if number > 0x10FFFF or 0xD800 <= number <= 0xDFFF:
        raise ValueError("unable to unescape string")
    return chr(number)
