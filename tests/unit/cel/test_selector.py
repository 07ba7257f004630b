"""Selectors decide about devices: the binding of a device, results, errors, limits, the cache."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import suppress

import pytest
from tests.unit.cel.builders import DRIVER, decide, gpu

from dra_operator.cel import CELCompileError, CELRuntimeError, DeviceView, Features, compile_selector, selector
from dra_operator.cel.errors import CELCostError
from dra_operator.cel.selector import is_compiled


@pytest.mark.parametrize(
    "expression",
    [
        f'device.driver == "{DRIVER}"',
        f'device.attributes["{DRIVER}"].model == "A100"',
        'device.attributes["other.example.com"].zone == "z1"',
        f'device.capacity["{DRIVER}"].memory.compareTo(quantity("40Gi")) >= 0',
        f'device.attributes["{DRIVER}"].driverVersion.isGreaterThan(semver("535.0.9"))',
        f'"a" in device.attributes["{DRIVER}"].links',
        "device.allowMultipleAllocations",
        f'cel.bind(d, device.attributes["{DRIVER}"], d.healthy && d.index == 3)',
    ],
)
def test_a_device_that_fits_matches(expression: str) -> None:
    assert decide(expression)


def test_a_missing_domain_is_an_empty_map() -> None:
    assert decide('device.attributes["nope.example.com"].size() == 0')
    assert decide('!has(device.attributes["nope.example.com"].x)')
    assert not decide('"nope.example.com" in device.attributes')


def test_a_missing_name_is_an_error_and_no_answer() -> None:
    with pytest.raises(CELRuntimeError, match="no such key: nope"):
        decide(f'device.attributes["{DRIVER}"].nope == 1')


def test_a_name_without_domain_belongs_to_the_driver() -> None:
    both = DeviceView("d.example.com", {"a": 1, "d.example.com/b": 2})

    assert decide('device.attributes["d.example.com"].a + device.attributes["d.example.com"].b == 3', both)


def test_a_result_that_is_no_bool_is_an_error() -> None:
    with pytest.raises(CELRuntimeError, match="CEL result of type string could not be converted to bool"):
        decide(f'device.attributes["{DRIVER}"].model')


def test_errors_are_absorbed_where_the_other_side_decides() -> None:
    assert decide("1 / 0 == 1 || true")
    assert not decide("1 / 0 == 1 && false")
    with pytest.raises(CELRuntimeError, match="division by zero"):
        decide("1 / 0 == 1 || false")


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("1", "must evaluate to bool or the unknown type, not int"),
        ("foo.bar == 1", "<input>:1:1: undeclared reference to 'foo'"),
        ('device.capacity["x"].mem > 1', "<input>:1:26: found no matching overload for '_>_'"),
        ("device.nope == 1", "<input>:1:7: undefined field 'nope'"),
        ('[1, "a"].size() == 2', "<input>:1:5: expected type 'int' but found 'string'"),
        ('int("x") == 1', "program instantiation failed: type conversion error"),
        ('"a".matches("(")', "<input>:1:13: invalid matches argument"),
        ('duration("x") == duration("1s")', "<input>:1:10: invalid duration argument"),
        ("x" * 10_241, "longer than 10240"),
    ],
)
def test_what_cannot_be_meant_does_not_compile(expression: str, message: str) -> None:
    with pytest.raises(CELCompileError) as caught:
        compile_selector(expression)

    assert message in str(caught.value)


def test_all_type_errors_are_reported_in_the_order_of_the_text() -> None:
    with pytest.raises(CELCompileError) as caught:
        compile_selector("nope(\n  1 == 1.0) || b")

    assert [issue.message.split("'")[1] for issue in caught.value.issues] == ["nope", "_==_", "b"]
    assert " |   1 == 1.0) || b\n | ....^" in str(caught.value)


def test_of_many_mistakes_the_first_hundred_are_told_and_the_rest_is_counted_as_cel_go_does() -> None:
    expression = " || ".join(f"a{number} == 1" for number in range(130))

    with pytest.raises(CELCompileError) as caught:
        compile_selector(expression)

    lines = str(caught.value).split("\n")
    assert len(caught.value.issues) == 100
    assert len(lines) == 3 * 100 + 1
    assert lines[297].endswith("undeclared reference to 'a99' (in container '')")
    assert lines[-1] == "30 more errors were truncated"


def test_of_many_wrong_literals_too() -> None:
    expression = " || ".join(["'a'.matches('(')"] * 120 + ["[1, 'a'].size() == 2"])

    with pytest.raises(CELCompileError) as caught:
        compile_selector(expression)

    assert {issue.message for issue in caught.value.issues} == {"invalid matches argument"}
    assert str(caught.value).endswith("\n21 more errors were truncated")


def test_a_hundred_are_told_without_a_word_about_more() -> None:
    with pytest.raises(CELCompileError) as caught:
        compile_selector(" || ".join(f"a{number}" for number in range(100)))

    assert len(caught.value.issues) == 100
    assert "truncated" not in str(caught.value)


LONG_AND_WRONG = " || ".join(["a==b"] * 1200)


def test_a_brief_text_of_a_long_expression_shows_the_place() -> None:
    with pytest.raises(CELCompileError) as caught:
        compile_selector(LONG_AND_WRONG.replace("a==b", "true", 600))

    brief = caught.value.brief
    message, source, caret = brief.split("\n")[:3]
    assert len(brief) < 2_500
    assert message == "compilation failed: ERROR: <input>:1:4801: undeclared reference to 'a' (in container '')"
    assert source[caret.index("^") :].startswith("a==b || a==b")
    assert source.startswith(" | …")
    assert source.endswith("…")
    assert brief.endswith(" more errors were truncated")


@pytest.mark.parametrize("expression", ["nope(\n  1 == 1.0) || b", "device.nope", "1", "\t1 +"])
def test_a_brief_text_is_the_whole_one_where_that_is_short(expression: str) -> None:
    with pytest.raises(CELCompileError) as caught:
        compile_selector(expression)

    assert caught.value.brief == str(caught.value)


def test_messages_are_kept_only_so_far() -> None:
    """A type in a message can be long, and failures are remembered."""
    nested = "[" * 200 + "1" + "]" * 200
    with pytest.raises(CELCompileError) as caught:
        compile_selector(f"cel.bind(x, {nested}, " + " || ".join(["x == 'a'"] * 500) + ")")

    error = caught.value
    assert sum(len(issue.message) for issue in error.issues) < 35_000
    assert len(error.issues) + error.more == 500


@pytest.mark.parametrize(
    "bound",
    [
        lambda before: f"{{{before}: {before}}}",
        lambda before: f"[{before}].map(x, {{x: {before}}})",
        lambda before: f"[{{{before}: {before}}}, {{}}]",
    ],
)
def test_an_expression_whose_types_double_and_double_is_refused(bound: Callable[[str], str]) -> None:
    depth = 60
    binds = "".join(f"cel.bind(v{one}, {bound(f'v{one - 1}' if one else '1')}, " for one in range(depth))

    with pytest.raises(CELCompileError, match="its types are too large together"):
        compile_selector(f"{binds}true" + ")" * depth)


def test_deep_literals_are_none_of_those() -> None:
    nested = "[" * 100 + "1" + "]" * 100
    assert compile_selector(f"{nested} == {nested}").expression


def test_gates_change_what_new_selectors_may_say() -> None:
    plain = Features(list_type_attributes=False, consumable_capacity=False)

    with pytest.raises(CELCompileError, match="undefined field 'allowMultipleAllocations'"):
        compile_selector("device.allowMultipleAllocations", plain)
    with pytest.raises(CELCompileError, match="undeclared reference to 'includes'"):
        compile_selector('device.attributes["a"].b.includes("x")', plain)


def test_the_same_expression_is_compiled_once() -> None:
    assert compile_selector("true || false") is compile_selector("true || false")
    for _ in range(2):
        with pytest.raises(CELCompileError):
            compile_selector("1 +")


def test_what_was_compiled_is_known_to_be_however_many_came_after_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who asks for it with no time to compile it would else wait for that for ever."""
    monkeypatch.setattr(selector, "_CACHE_SIZE", 8)
    for text in ("nonsense && true", "true && true"):
        for number in range(20):
            compile_selector(f"{number} == {number}")
            with suppress(CELCompileError):
                compile_selector(text)
            assert is_compiled(text)


def test_long_expressions_are_remembered_up_to_what_memory_they_take(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selector, "_CACHE_CHARACTERS", 20_000)
    texts = [f"{number} == {number} || " + " || ".join(["true"] * 1000) for number in range(6)]
    for text in texts:
        compile_selector(text)
        assert is_compiled(text)
    assert [is_compiled(text) for text in texts] == [False] * 4 + [True] * 2


def test_what_is_too_long_is_told_at_once_and_not_remembered() -> None:
    compile_selector("true")
    assert is_compiled("x" * 2_000_000)
    with pytest.raises(CELCompileError, match="longer than 10240"):
        compile_selector("x" * 2_000_000)
    assert is_compiled("true")


def doubled(name: str, levels: int) -> str:
    """Each variable is a list of the one before, twice."""
    binds = "".join(f"cel.bind({name}{one}, dyn([{name}{one - 1}, {name}{one - 1}]), " for one in range(1, levels))
    return f"cel.bind({name}0, dyn(['x']), {binds}"


@pytest.mark.parametrize("measured", [False, True])
@pytest.mark.parametrize(("other", "answer"), [("'x'", True), ("'y'", False)])
def test_values_that_double_and_double_are_compared_part_by_part_once(measured: bool, other: str, answer: bool) -> None:
    ours, theirs = doubled("a", 60), doubled("b", 60).replace("'x'", other)
    expression = f"{ours}{theirs}a59 == b59 && a59 in [b59]" + ")" * 120

    compiled = compile_selector(expression)
    assert (compiled.measure(gpu())[0] if measured else compiled.matches(gpu())) is answer


def test_nor_is_their_text_made() -> None:
    with pytest.raises(CELCostError):
        compile_selector(f"{doubled('a', 60)}'%s'.format([a59]) == ''" + ")" * 60).matches(gpu())


def test_nor_is_their_list_made() -> None:
    with pytest.raises(CELCostError):
        compile_selector(f"{doubled('a', 60)}a59.flatten(100).size() == 1" + ")" * 60).matches(gpu())


@pytest.mark.parametrize(
    "body",
    ["'%s'.format([[?a59]]) == ''", "'%s'.format([{?'x': a59}]) == ''"],
)
def test_nor_do_messages_quote_them(body: str) -> None:
    with pytest.raises(CELRuntimeError, match=r"non-optional value list$"):
        compile_selector(f"{doubled('a', 60)}{body}" + ")" * 60).matches(gpu())


def test_a_list_of_what_is_not_a_number_differs_from_itself() -> None:
    assert not compile_selector("cel.bind(a, [[double('NaN')], [double('NaN')]], a == a)").matches(gpu())


HOSTILE = "[1, 2, 3, 4, 5, 6, 7, 8, 9, 10]"


@pytest.mark.parametrize(
    "expression",
    [
        "".join(f"{HOSTILE}.all({name}, " for name in "abcdef") + "true" + ")" * 6,
        "lists.range(1000000).all(x, x >= 0)",
        "cel.bind(a, lists.range(1000), a.map(x, a).flatten().distinct().size() == 1000)",
        "lists.range(2000).all(x, lists.range(1000).size() == 1000)",
        'cel.bind(a, "aaaaaaaaaa", ' + 'cel.bind(a, a.replace("", a), ' * 8 + 'a == ""' + ")" * 9,
        "cel.bind(a, lists.range(1000), " + "cel.bind(a, a + a, " * 30 + "a.size() == 1" + ")" * 31,
    ],
)
def test_hostile_expressions_end(expression: str) -> None:
    with pytest.raises(CELCostError, match="actual cost limit exceeded"):
        decide(expression)


def test_a_spent_budget_is_absorbed_by_nothing() -> None:
    with pytest.raises(CELCostError):
        decide("lists.range(1000000).all(x, x >= 0) || true")


def test_the_limit_can_be_lowered() -> None:
    selector = compile_selector(f'device.driver == "{DRIVER}"')

    assert selector.measure(gpu(), cost_limit=4)
    with pytest.raises(CELCostError):
        selector.measure(gpu(), cost_limit=3)


@pytest.mark.parametrize(("opening", "closing"), [("(", ")"), ("[", "][0]"), ("-(-", ")"), ("dyn(", ")")])
def test_deep_expressions_work_from_any_stack(opening: str, closing: str) -> None:
    deep = opening * 120 + "1" + closing * 120 + " == 1"

    def from_depth(levels: int) -> bool:
        return decide(deep) if levels == 0 else from_depth(levels - 1)

    limit = sys.getrecursionlimit()
    assert from_depth(500)
    assert sys.getrecursionlimit() == limit
