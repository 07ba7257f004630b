"""A selector's text taken apart: its conjuncts, the attributes that it asks for, and the literals that could change.

Works on tokens, so that what is put together again reads as its author wrote it. An expression whose `&&` stand
beside `||` or `?:` is one conjunct.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from dra_operator.cel.errors import CELCompileError, CELRuntimeError
from dra_operator.cel.lexer import Kind, Token, tokenize, unquote_text
from dra_operator.cel.selector import compile_selector
from dra_operator.inventory.devices import Device, UnsupportedAttribute

_OPEN, _CLOSE = "([{", ")]}"


@dataclass(frozen=True, slots=True)
class Part:
    """One conjunct, and where it stands in the whole expression."""

    text: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Reference:
    """`device.attributes["domain"].name` or `device.capacity["domain"].name`."""

    kind: str
    domain: str
    name: str


def split_conjuncts(expression: str) -> list[Part]:
    """The operands of `&&` at the top level."""
    try:
        tokens = tokenize(expression)
    except CELCompileError:
        return [Part(expression, 0, len(expression))]
    depth, cuts = 0, []
    for token in tokens:
        if token.kind is not Kind.OPERATOR:
            continue
        if token.text in _OPEN:
            depth += 1
        elif token.text in _CLOSE:
            depth -= 1
        elif depth == 0 and token.text in ("||", "?"):
            return [Part(expression, 0, len(expression))]
        elif depth == 0 and token.text == "&&":
            cuts.append(token.offset)
    starts, ends = [0, *(cut + 2 for cut in cuts)], [*cuts, len(expression)]
    return [_trimmed(expression, start, end) for start, end in zip(starts, ends, strict=True)]


def _trimmed(expression: str, start: int, end: int) -> Part:
    text = expression[start:end]
    start += len(text) - len(text.lstrip())
    return Part(text.strip(), start, start + len(text.strip()))


def without(expression: str, part: Part) -> str:
    """The expression without one conjunct; `true` if there was only that one."""
    rest = [one.text for one in split_conjuncts(expression) if one != part]
    return " && ".join(rest) if rest else "true"


def find_references(text: str) -> list[Reference]:
    """The attributes and capacities that the text names, each once."""
    tokens = tokenize(text)
    found: dict[Reference, None] = {}
    for index, token in enumerate(tokens):
        if token.text != "device" or token.kind is not Kind.NAME:
            continue
        shape = [one.text for one in tokens[index + 1 : index + 7]]
        if len(shape) < 6 or shape[0] != "." or shape[1] not in ("attributes", "capacity") or shape[2] != "[":
            continue
        domain, name = tokens[index + 4], tokens[index + 7] if index + 7 < len(tokens) else None
        if domain.kind is not Kind.STRING or shape[4] != "]" or shape[5] != "." or name is None:
            continue
        if name.kind in (Kind.NAME, Kind.ESCAPED_NAME):
            found[Reference(shape[1], unquote_text(domain.text), name.text.strip("`"))] = None
    return list(found)


def guarded(expression: str) -> str | None:
    """The expression with every attribute that it asks for tested for first; None if it names none."""
    guards = [f"'{one.name}' in device.{one.kind}['{one.domain}']" for one in find_references(expression)]
    if not guards:
        return None
    simple = len(split_conjuncts(expression)) > 1 or ("||" not in expression and "?" not in expression)
    return " && ".join([*guards, expression if simple else f"({expression})"])


def literals(text: str) -> Iterator[Token]:
    """Strings and numbers that something is compared with: not domains in brackets."""
    tokens = tokenize(text)
    for index, token in enumerate(tokens):
        before = tokens[index - 1].text if index else ""
        if token.kind in (Kind.STRING, Kind.INT) and before != "[":
            yield token


def with_literal(text: str, token: Token, value: str | int) -> str:
    """The text with another value in the place of a literal; a string in the quotes that the literal has."""
    if isinstance(value, int):
        spelled = str(value)
    else:
        quote = "'" if token.text.lstrip("rR").startswith("'") else '"'
        spelled = f"{quote}{value}{quote}"
    return text[: token.offset] + spelled + text[token.offset + len(token.text) :]


def says(expression: str, device: Device) -> bool:
    """Whether the device matches; an error counts as no. Not remembered on the device: these are only tries."""
    try:
        return compile_selector(expression).matches(device.view)
    except (CELCompileError, CELRuntimeError, UnsupportedAttribute):
        return False


def values_of(reference: Reference, device: Device) -> str | int | None:
    """What the device has for the reference, as a literal would say it. Lists and booleans have no place in one."""
    name = f"{reference.domain}/{reference.name}"
    if reference.kind == "capacity":
        amounts = device.capacity
        return str(amounts[name]) if name in amounts else None
    attribute = device.attribute(name)
    if attribute is None:
        return None
    if attribute.int_value is not None:
        return attribute.int_value
    return attribute.string_value if attribute.string_value is not None else attribute.version_value
