"""The names that operators have as functions, as in cel-go's messages."""

from __future__ import annotations

from typing import Final

CONDITIONAL: Final = "_?_:_"
LOGICAL_AND: Final = "_&&_"
LOGICAL_OR: Final = "_||_"
LOGICAL_NOT: Final = "!_"
NOT_STRICTLY_FALSE: Final = "@not_strictly_false"
EQUALS: Final = "_==_"
NOT_EQUALS: Final = "_!=_"
LESS: Final = "_<_"
LESS_EQUALS: Final = "_<=_"
GREATER: Final = "_>_"
GREATER_EQUALS: Final = "_>=_"
IN: Final = "@in"
ADD: Final = "_+_"
SUBTRACT: Final = "_-_"
MULTIPLY: Final = "_*_"
DIVIDE: Final = "_/_"
MODULO: Final = "_%_"
NEGATE: Final = "-_"
INDEX: Final = "_[_]"
OPT_INDEX: Final = "_[?_]"
OPT_SELECT: Final = "_?._"
MAP_INSERT: Final = "cel.@mapInsert"
SORT_BY_KEYS: Final = "@sortByAssociatedKeys"

RELATIONS: Final = {
    "<": LESS,
    "<=": LESS_EQUALS,
    ">": GREATER,
    ">=": GREATER_EQUALS,
    "==": EQUALS,
    "!=": NOT_EQUALS,
    "in": IN,
}
PRODUCTS: Final = {"*": MULTIPLY, "/": DIVIDE, "%": MODULO}
SUMS: Final = {"+": ADD, "-": SUBTRACT}
