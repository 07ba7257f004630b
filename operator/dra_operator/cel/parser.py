"""From tokens to the syntax tree.

Precedence climbing over the grammar of cel-go, with optional syntax (`.?`, `[?`, `{?`) and trailing commas. Written by
hand because messages need upstream's positions and because the operator parses at start-up: importing cel-python's
parser alone takes 0.4 s, this module takes none and is several times as fast.

Nesting is limited per grammar rule to 250 as upstream.

Upstream: `parser/gen/CEL.g4` and `parser/parser.go` in cel-go. Only the first syntax error is reported.
"""

from __future__ import annotations

from itertools import count
from typing import Final, NoReturn

from dra_operator.cel import macros
from dra_operator.cel import operators as op
from dra_operator.cel.ast import (
    Call,
    Ident,
    ListLiteral,
    Literal,
    LiteralValue,
    MapEntry,
    MapLiteral,
    MessageField,
    MessageLiteral,
    Node,
    Select,
    qualified_name,
)
from dra_operator.cel.errors import CELCompileError, Issue
from dra_operator.cel.lexer import Kind, Token, tokenize, unquote_bytes, unquote_text
from dra_operator.cel.nesting import room_to_recurse
from dra_operator.cel.values import MAX_INT64, MAX_UINT64, MIN_INT64, UInt

MAX_DEPTH: Final = 250

_RESERVED: Final = frozenset(
    [
        "as",
        "break",
        "const",
        "continue",
        "else",
        "for",
        "function",
        "if",
        "import",
        "let",
        "loop",
        "package",
        "namespace",
        "return",
        "var",
        "void",
        "while",
    ]
)
_CONSTANTS: Final[dict[str, LiteralValue]] = {"true": True, "false": False, "null": None}

# Binding strength of the binary operators: relations are one level, as in the grammar.
_RELATION, _SUM, _PRODUCT = 1, 2, 3
_STRENGTH: Final = (
    dict.fromkeys(op.RELATIONS, _RELATION) | dict.fromkeys(op.SUMS, _SUM) | dict.fromkeys(op.PRODUCTS, _PRODUCT)
)
_FUNCTION: Final = op.RELATIONS | op.SUMS | op.PRODUCTS


def parse(source: str) -> Node:
    """The tree of `source`. Raises CELCompileError."""
    with room_to_recurse():
        return _Parser(source).parse()


class _Parser:
    def __init__(self, source: str) -> None:
        self._source = source
        self._tokens = tokenize(source)
        self._position = 0
        self._token = self._tokens[0]
        self._next_id = count(1).__next__
        self._depth = {"expression": 0, "operator": 0, "member": 0}

    def parse(self) -> Node:
        tree = self._expression()
        if self._token.kind is not Kind.END:
            self._fail(f"Syntax error: extraneous input '{self._token.text}' expecting <EOF>")
        return tree

    # -- tokens

    def _advance(self) -> Token:
        token = self._token
        self._position += 1
        self._token = self._tokens[self._position]
        return token

    def _at(self, text: str) -> bool:
        return self._token.kind is Kind.OPERATOR and self._token.text == text

    def _accept(self, text: str) -> Token | None:
        return self._advance() if self._at(text) else None

    def _expect(self, text: str) -> Token:
        if not self._at(text):
            self._fail(f"Syntax error: mismatched input '{self._token.text}' expecting '{text}'")
        return self._advance()

    def _fail(self, message: str, offset: int | None = None) -> NoReturn:
        raise CELCompileError(self._source, (Issue(self._token.offset if offset is None else offset, message),))

    def _enter(self, rule: str) -> None:
        self._depth[rule] += 1
        if self._depth[rule] > MAX_DEPTH:
            self._fail(f"expression recursion limit exceeded: {MAX_DEPTH}", -1)

    # -- rules

    def _expression(self) -> Node:
        """`a ? b : c`, `||`, `&&` and all binary operators. Chains of `||` and `&&` become one call."""
        self._enter("expression")
        tree = self._or()
        if question := self._accept("?"):
            chosen = self._or()
            self._expect(":")
            tree = self._call(question.offset, op.CONDITIONAL, tree, chosen, self._expression())
        self._depth["expression"] -= 1
        return tree

    def _or(self) -> Node:
        alternatives: list[Node] = []
        first_or: int | None = None
        while True:
            terms = [self._binary(_RELATION)]
            first_and = self._token.offset
            while self._accept("&&"):
                terms.append(self._binary(_RELATION))
            alternatives.append(terms[0] if len(terms) == 1 else self._call(first_and, op.LOGICAL_AND, *terms))
            if not self._at("||"):
                break
            first_or = self._token.offset if first_or is None else first_or
            self._advance()
        return alternatives[0] if first_or is None else self._call(first_or, op.LOGICAL_OR, *alternatives)

    def _binary(self, strength: int) -> Node:
        self._enter("operator")
        entered = 1
        tree = self._unary()
        while self._token.kind is Kind.OPERATOR and _STRENGTH.get(self._token.text, 0) >= strength:
            self._enter("operator")
            entered += 1
            operator = self._advance()
            right = self._binary(_STRENGTH[operator.text] + 1)
            tree = self._call(operator.offset, _FUNCTION[operator.text], tree, right)
        self._depth["operator"] -= entered
        return tree

    def _unary(self) -> Node:
        if self._at("!") or (self._at("-") and not self._sign_of_literal()):
            operator = self._advance()
            repeated = 1
            while self._at(operator.text):
                self._advance()
                repeated += 1
            operand = self._member()
            if repeated % 2 == 0:
                return operand
            return self._call(operator.offset, op.LOGICAL_NOT if operator.text == "!" else op.NEGATE, operand)
        return self._member()

    def _sign_of_literal(self) -> bool:
        return self._tokens[self._position + 1].kind in (Kind.INT, Kind.FLOAT)

    def _member(self) -> Node:
        self._enter("member")
        entered = 1
        names_type = not self._at("(")  # a type is written as plain names: no parentheses, nothing escaped
        tree = self._primary()
        while self._token.kind is Kind.OPERATOR:
            if self._at("."):
                names_type = names_type and self._tokens[self._position + 1].kind is Kind.NAME
                tree = self._after_dot(self._advance(), tree)
            elif self._at("["):
                bracket = self._advance()
                function = op.OPT_INDEX if self._accept("?") else op.INDEX
                index = self._expression()
                self._expect("]")
                tree = self._call(bracket.offset, function, tree, index)
            elif names_type and self._at("{") and (name := qualified_name(tree)) is not None:
                tree = self._message(self._advance(), name)
            else:
                break
            self._enter("member")
            entered += 1
        self._depth["member"] -= entered
        return tree

    def _after_dot(self, dot: Token, operand: Node) -> Node:
        optional = self._accept("?")
        name = self._token
        escaped = name.kind is Kind.ESCAPED_NAME
        field = self._field_name()
        if optional:
            return self._call(dot.offset, op.OPT_SELECT, operand, Literal(self._next_id(), name.offset, field))
        if not escaped and (parenthesis := self._accept("(")):
            return self._method(parenthesis.offset, field, operand, self._arguments())
        return Select(self._next_id(), dot.offset, operand, field)

    def _field_name(self) -> str:
        name = self._token
        if name.kind is not Kind.ESCAPED_NAME and (name.kind is not Kind.NAME or name.text in _CONSTANTS):
            self._fail(f"Syntax error: mismatched input '{name.text}' expecting IDENTIFIER")
        return self._advance().text.strip("`")

    def _primary(self) -> Node:
        token = self._token
        match token.kind:
            case Kind.NAME if token.text in _CONSTANTS:
                return self._literal(self._advance(), _CONSTANTS[token.text])
            case Kind.NAME:
                return self._name_or_call(leading_dot=False)
            case Kind.INT | Kind.UINT | Kind.FLOAT:
                return self._number(negative=False)
            case Kind.STRING | Kind.BYTES:
                return self._quoted(self._advance())
        if self._at("-") and self._sign_of_literal():
            return self._number(negative=True)
        if self._accept("("):
            tree = self._expression()
            self._expect(")")
            return tree
        if self._accept("["):
            return self._list(token.offset)
        if self._accept("{"):
            return self._map(token.offset)
        if self._at(".") and self._tokens[self._position + 1].kind is Kind.NAME:
            self._advance()
            return self._name_or_call(leading_dot=True)
        what = "mismatched" if token.kind is Kind.END else "extraneous"
        return self._fail(f"Syntax error: {what} input '{token.text}' expecting an expression")

    def _name_or_call(self, *, leading_dot: bool) -> Node:
        token = self._advance()
        name = f".{token.text}" if leading_dot else token.text
        if token.text in _RESERVED and not self._at("{"):
            self._fail(f"reserved identifier: {token.text}", token.offset)
        if parenthesis := self._accept("("):
            args = self._arguments()
            macro = self._expand(parenthesis.offset, name, None, args)
            return macro or Call(self._next_id(), parenthesis.offset, name, args)
        return Ident(self._next_id(), token.offset, name)

    def _arguments(self) -> tuple[Node, ...]:
        args: list[Node] = []
        if self._accept(")"):
            return ()
        while True:
            args.append(self._expression())
            if self._accept(")"):
                return tuple(args)
            self._expect(",")

    def _list(self, offset: int) -> Node:
        elements: list[Node] = []
        optional: set[int] = set()
        self._lone_comma("]")
        while not self._accept("]"):
            if self._accept("?"):
                optional.add(len(elements))
            elements.append(self._expression())
            self._end_of_item("]")
        return ListLiteral(self._next_id(), offset, tuple(elements), frozenset(optional))

    def _map(self, offset: int) -> Node:
        entries: list[MapEntry] = []
        self._lone_comma("}")
        while not self._accept("}"):
            optional = self._accept("?") is not None
            key = self._expression()
            colon = self._expect(":")
            entries.append(MapEntry(self._next_id(), colon.offset, key, self._expression(), optional))
            self._end_of_item("}")
        return MapLiteral(self._next_id(), offset, tuple(entries))

    def _message(self, brace: Token, name: str) -> Node:
        fields: list[MessageField] = []
        self._lone_comma("}")
        while not self._accept("}"):
            optional = self._accept("?") is not None
            field = self._field_name()
            colon = self._expect(":")
            fields.append(MessageField(self._next_id(), colon.offset, field, self._expression(), optional))
            self._end_of_item("}")
        return MessageLiteral(self._next_id(), brace.offset, name, tuple(fields))

    def _lone_comma(self, closing: str) -> None:
        """The grammar allows the trailing comma even where nothing comes before it: `[,]`."""
        if self._at(",") and self._tokens[self._position + 1].text == closing:
            self._advance()

    def _end_of_item(self, closing: str) -> None:
        """A comma, or the closing bracket ahead."""
        if not self._accept(",") and not self._at(closing):
            self._fail(f"Syntax error: mismatched input '{self._token.text}' expecting '{closing}'")

    # -- leaves

    def _literal(self, token: Token, value: LiteralValue) -> Literal:
        return Literal(self._next_id(), token.offset, value)

    def _number(self, *, negative: bool) -> Literal:
        start = self._advance() if negative else self._token
        token = self._advance()
        text = token.text
        if token.kind is Kind.FLOAT:
            number = float(text)
            if number == float("inf"):
                self._fail("invalid double literal", start.offset)
            return self._literal(start, -number if negative else number)
        digits = text.rstrip("uU") if token.kind is Kind.UINT else text
        if len(digits) > 64:
            self._fail("invalid int literal", start.offset)
        value = int(digits, 16 if digits.startswith("0x") else 10)
        if token.kind is Kind.UINT:
            if value > MAX_UINT64:
                self._fail("invalid uint literal", start.offset)
            return self._literal(start, UInt(value))
        value = -value if negative else value
        if not MIN_INT64 <= value <= MAX_INT64:
            self._fail("invalid int literal", start.offset)
        return self._literal(start, value)

    def _quoted(self, token: Token) -> Literal:
        try:
            value = unquote_text(token.text) if token.kind is Kind.STRING else unquote_bytes(token.text)
        except ValueError as error:
            self._fail(str(error), token.offset)
        return self._literal(token, value)

    def _call(self, offset: int, function: str, *args: Node) -> Call:
        return Call(self._next_id(), offset, function, args)

    def _method(self, offset: int, function: str, target: Node, args: tuple[Node, ...]) -> Node:
        macro = self._expand(offset, function, target, args)
        return macro or Call(self._next_id(), offset, function, args, target)

    def _expand(self, offset: int, function: str, target: Node | None, args: tuple[Node, ...]) -> Node | None:
        try:
            return macros.expand(self._next_id, offset, function, target, args)
        except macros.MacroError as error:
            self._fail(error.message, error.offset)
