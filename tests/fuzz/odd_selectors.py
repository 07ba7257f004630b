"""Selectors as nobody writes them: every operator, macro and function, on attributes of every type, mostly ill-typed.

`make_expression(dice)` gives one. Half of the literals hide their type behind `dyn`, so that much of what is odd gets
past the checker and has to be decided by values.
"""

from __future__ import annotations

from typing import Any, Final

from tests.fuzz.dice import Dice

DRIVER: Final = "dra.example.com"
DEVICE: Final[dict[str, Any]] = {
    "driver": DRIVER,
    "attributes": {
        "s": {"string": "fish"},
        "i": {"int": 5},
        "b": {"bool": True},
        "v": {"version": "1.2.3"},
        "l": {"strings": ["a", "b"]},
        "is": {"ints": [3, 1, 2]},
        "bs": {"bools": [True, False]},
        "vs": {"versions": ["1.0.0", "2.0.0"]},
        "q": {"string": "10Gi"},
        "u": {"string": "https://a.example:8443/c?d=e"},
        "other.example.com/x": {"string": "o"},
    },
    "capacity": {"mem": {"value": "1Gi"}, "cores": {"value": "1500m"}},
    "allowMultipleAllocations": True,
}

_NAMES: Final = ("s", "i", "b", "v", "l", "is", "bs", "vs", "q", "u", "nope")
_LITERALS: Final = (
    *("1", "5", "0", "-3", "2.5", "1u", "0.1", "1e300", "9223372036854775807", "-9223372036854775808", "true", "false"),
    *('"fish"', '"a"', '""', '"5"', '"1.2.3"', '"1Gi"', '"v1.2"', '"ünïcödé😀"', 'b"ab"', "null", "int", "string"),
    *("[]", "[1, 2]", '["a", "b"]', "[[1, 2], [3]]", '[1, "a"]', "{}", '{"a": 1}', '{1: "x"}', "lists.range(4)"),
    *('semver("1.2.3")', 'quantity("1Gi")', 'quantity("x")', 'duration("1h")', 'timestamp("2024-01-01T00:00:00Z")'),
    *("google.protobuf.Int64Value{value: 5}", "google.protobuf.BoolValue{}", "google.protobuf.ListValue{values: [1]}"),
    *('google.protobuf.Struct{fields: {"a": 1}}', "google.protobuf.Value{}", 'kubernetes.DRADevice{driver: "x"}'),
    *('ip("10.0.0.1")', 'cidr("10.0.0.0/8")', 'url("https://x.example/z")', "optional.of(1)", "optional.none()"),
)
_OPERATORS: Final = ("==", "!=", "<", "<=", ">", ">=", "+", "-", "*", "/", "%", "in", "&&", "||")
_METHODS: Final = (
    (
        *("size", "first", "last", "trim", "lowerAscii", "upperAscii", "reverse", "sort", "distinct", "flatten", "sum"),
        *("min", "max", "isSorted", "join", "value", "hasValue", "major", "minor", "patch", "isInteger", "asInteger"),
        *("asApproximateFloat", "getHost", "getScheme", "getPort", "getQuery", "getEscapedPath", "getHostname"),
        *("family", "isLoopback", "masked", "prefixLength", "ip", "getHours", "getSeconds", "getFullYear", "unwrapOpt"),
    ),
    (
        *("contains", "startsWith", "endsWith", "matches", "indexOf", "lastIndexOf", "charAt", "substring", "split"),
        *("join", "includes", "compareTo", "isGreaterThan", "isLessThan", "add", "sub", "orValue", "or", "find"),
        *("findAll", "containsIP", "containsCIDR", "format", "flatten", "validate"),
    ),
    ("replace", "substring", "slice", "split", "indexOf", "lastIndexOf", "findAll"),
)
_FUNCTIONS: Final = (
    *("size", "string", "int", "double", "uint", "bool", "bytes", "type", "dyn", "quantity", "isQuantity", "semver"),
    *("isSemver", "url", "isURL", "ip", "isIP", "cidr", "isCIDR", "ip.isCanonical", "duration", "timestamp", "sign"),
    *("optional.of", "optional.ofNonZeroValue", "optional.unwrap", "lists.range", "strings.quote"),
)
_FOLDS: Final = ("all", "exists", "exists_one", "map", "filter", "sortBy")
_PAIR_FOLDS: Final = ("all", "exists", "existsOne", "exists_one", "transformList", "transformMap", "transformMapEntry")
_SETS: Final = ("sets.contains", "sets.intersects", "sets.equivalent")


def make_expression(dice: Dice) -> str:
    """An expression that is likely to be a condition."""
    text = _Maker(dice).expression(dice.pick((1, 2, 2, 3, 3)), ())
    other = _Maker(dice).expression(1, ())
    form = dice.pick(("{0} {op} {1}", "{0} || {1} == {1}", "{0} && {1} != 1", "dyn({0}) == {1}", "{0}"))
    return form.format(text, other, op=dice.pick(_OPERATORS))


class _Maker:
    def __init__(self, dice: Dice) -> None:
        self._dice = dice

    def expression(self, depth: int, names: tuple[str, ...]) -> str:
        dice = self._dice
        if depth <= 0 or dice.chance(0.12):
            return self._leaf(names)

        def part(*more: str) -> str:
            return self.expression(depth - 1, (*names, *more))

        match dice.pick(("operator", "operator", "method", "method", "function", "if", "fold", "more", "more")):
            case "operator":
                return f"({part()} {dice.pick(_OPERATORS)} {part()})"
            case "method":
                count = dice.pick((0, 1, 1, 2))
                return f"{part()}.{dice.pick(_METHODS[count])}({', '.join(part() for _ in range(count))})"
            case "function":
                return f"{dice.pick(_FUNCTIONS)}({part()})"
            case "if":
                return f"({part()} ? {part()} : {part()})"
            case "fold":
                return self._fold(part)
            case _:
                return self._other(part)

    def _fold(self, part: Any) -> str:
        dice = self._dice
        match dice.pick(("one", "one", "pair", "filtered", "bind", "optional")):
            case "one":
                return f"{part()}.{dice.pick(_FOLDS)}(x, {part('x')})"
            case "pair":
                return f"{part()}.{dice.pick(_PAIR_FOLDS)}(k, w, {part('k', 'w')})"
            case "filtered":
                return f"{part()}.{dice.pick(_PAIR_FOLDS[4:])}(k, w, {part('k', 'w')}, {part('k', 'w')})"
            case "bind":
                return f"cel.bind(p, {part()}, {part('p')})"
            case _:
                return f"{part()}.{dice.pick(('optMap', 'optFlatMap'))}(o, {part('o')})"

    def _other(self, part: Any) -> str:
        dice = self._dice
        match dice.pick(("has", "optional", "index", "list", "map", "unary", "sets", "format")):
            case "has":
                return f"has({part()}.{dice.pick(_NAMES)})"
            case "optional":
                return f"{part()}.?{dice.pick(_NAMES)}"
            case "index":
                return f"{part()}[{dice.pick(('', '?'))}{part()}]"
            case "list":
                return f"[{part()}, {dice.pick(('', '?'))}{part()}]"
            case "map":
                return f"{{{part()}: {part()}}}"
            case "unary":
                return f"{dice.pick('!-')}{part()}"
            case "sets":
                return f"{dice.pick(_SETS)}({part()}, {part()})"
            case _:
                return f'"%{dice.pick("sdfexbo")}".format([{part()}])'

    def _leaf(self, names: tuple[str, ...]) -> str:
        dice = self._dice
        if names and dice.chance(0.4):
            return dice.pick(names)
        if dice.chance(0.5):
            return self._of_device()
        literal = dice.pick(_LITERALS)
        return f"dyn({literal})" if dice.chance(0.5) else literal

    def _of_device(self) -> str:
        dice = self._dice
        name = dice.pick(_NAMES)
        return dice.pick(
            (
                f'device.attributes["{DRIVER}"].{name}',
                f'device.attributes["{DRIVER}"]["{name}"]',
                f"device.attributes[device.driver].{name}",
                f'device.attributes["{DRIVER}"].?{name}.orValue({dice.pick(_LITERALS)})',
                f'device.attributes["other.example.com"].{dice.pick("xy")}',
                f"device.attributes.nowhere.{name}",
                f'device.capacity["{DRIVER}"].{dice.pick(("mem", "cores", "nope"))}',
                f'device.attributes["{DRIVER}"]',
                "device.attributes",
                "device.driver",
                "device.allowMultipleAllocations",
                "device",
            )
        )
