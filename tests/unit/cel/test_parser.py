"""The parser knows the grammar, points where upstream points, and has limits."""

from __future__ import annotations

import pytest

from dra_operator.cel import ast
from dra_operator.cel.ast import Call, Comprehension, Ident, ListLiteral, Literal, MapLiteral, Node, Select, children
from dra_operator.cel.errors import CELCompileError
from dra_operator.cel.parser import parse
from dra_operator.cel.values import UInt


def shape(node: Node) -> object:
    """A tree without ids and positions."""
    match node:
        case Literal():
            return node.value
        case Ident():
            return node.name
        case Select():
            return (".", shape(node.operand), node.field)
        case Call():
            return (node.function, *map(shape, children(node)))
        case ListLiteral() | MapLiteral():
            return [shape(child) for child in children(node)]
        case Comprehension():
            return ("fold", node.variable)
        case _:
            return type(node).__name__


@pytest.mark.parametrize(
    ("source", "tree"),
    [
        ("a + b * c", ("_+_", "a", ("_*_", "b", "c"))),
        ("a - b - c", ("_-_", ("_-_", "a", "b"), "c")),
        ("a < b == c", ("_==_", ("_<_", "a", "b"), "c")),
        ("a || b && c || d", ("_||_", "a", ("_&&_", "b", "c"), "d")),
        ("a ? b : c ? d : e", ("_?_:_", "a", "b", ("_?_:_", "c", "d", "e"))),
        ("3-5", ("_-_", 3, 5)),
        ("3 - -5", ("_-_", 3, -5)),
        ("-x.y", ("-_", (".", "x", "y"))),
        ("!!a", "a"),
        ("---a", ("-_", "a")),
        ("a.b(c)[d]", ("_[_]", ("b", "a", "c"), "d")),
        ("a.?b[?c]", ("_[?_]", ("_?._", "a", "b"), "c")),
        ("x in [1, 2,]", ("@in", "x", [1, 2])),
        ("{?'a': b, 'c': d,}", ["a", "b", "c", "d"]),
        ("[,]", []),
        (".a", ".a"),
        ("a // comment\n.b", (".", "a", "b")),
        ("-9223372036854775808", -(2**63)),
        ("0x1F", 31),
        ("1.5e3", 1500.0),
        (".5", 0.5),
        ("inner", "inner"),
        ("[1].map(x, x)", ("fold", "x")),
    ],
)
def test_builds_the_tree(source: str, tree: object) -> None:
    assert shape(parse(source)) == tree


@pytest.mark.parametrize(
    ("source", "value"),
    [
        (r'"\u00e9\x41\101\n"', "éAA\n"),
        (r"'it\'s'", "it's"),
        (r'r"\d"', r"\d"),
        ('"""a\n"b" """', 'a\n"b" '),
        ("'''a\r\nb'''", "a\nb"),
        (r'b"\xff\377é"', b"\xff\xff\xc3\xa9"),
        ("5u", UInt(5)),
        ("null", None),
    ],
)
def test_reads_literals(source: str, value: object) -> None:
    literal = parse(source)

    assert isinstance(literal, Literal)
    assert literal.value == value
    assert type(literal.value) is type(value)


@pytest.mark.parametrize(
    ("source", "where", "message"),
    [
        ("device.driver == ", "1:18", "mismatched input '<EOF>'"),
        ("true)", "1:5", "extraneous input ')'"),
        ('"\\q"', "1:1", "token recognition error at: '\"\\q'"),
        ("a.\n  b ==\n # c", "3:2", "token recognition error at: '#'"),
        ("has(1)", "1:5", "invalid argument to has() macro"),
        ("[1].all(1, true)", "1:9", "argument must be a simple name"),
        ("[1].all(x, x, x == 1)", "1:12", "duplicate variable name: x"),
        ("9223372036854775808", "1:1", "invalid int literal"),
        ("1e999", "1:1", "invalid double literal"),
        ("'\\ud800'", "1:1", "unable to unescape"),
        ("for == 1", "1:1", "reserved identifier: for"),
        ("a.b(1 2)", "1:7", "mismatched input '2'"),
        ("!-a", "1:2", "input '-'"),
        ("a.true", "1:3", "mismatched input 'true'"),
    ],
)
def test_points_to_what_is_wrong(source: str, where: str, message: str) -> None:
    with pytest.raises(CELCompileError) as caught:
        parse(source)

    assert f"<input>:{where}:" in str(caught.value)
    assert message in str(caught.value)


@pytest.mark.parametrize("opening", ["(", "[", "f(", "{1: ", "x ? y : ", "[0].all(z, ", "-("])
def test_nesting_has_a_limit_and_never_exhausts_python(opening: str) -> None:
    closing = {"(": ")", "[": "]", "f(": ")", "{1: ": "}", "[0].all(z, ": ")", "-(": ")"}.get(opening, "")

    parse(opening * 100 + "x" + closing * 100)
    with pytest.raises(CELCompileError, match="recursion limit exceeded"):
        parse(opening * 300 + "x" + closing * 300)


def test_long_chains_of_operators_have_a_limit_but_logic_has_none() -> None:
    parse(" || ".join(["x"] * 2000))
    with pytest.raises(CELCompileError, match="recursion limit exceeded"):
        parse("+".join(["1"] * 300))


def test_every_node_has_its_own_id() -> None:
    seen: list[int] = []

    def collect(node: Node) -> None:
        seen.append(node.id)
        for child in ast.children(node):
            collect(child)

    collect(parse("a.b.filter(x, x > 1).exists(y, has(y.z)) ? {1: [2]} : f(3u)"))

    assert len(seen) == len(set(seen))
