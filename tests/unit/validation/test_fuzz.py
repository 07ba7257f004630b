"""Whatever a document holds, decoding and validation end with an answer: no crash, no hang, no growth.

Documents are arbitrary JSON, and ResourceSlices that look like some: the fields of the API with any content, and
things of the API's types that were changed at random.
"""

from __future__ import annotations

import json
import random
import tracemalloc
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.corpus import Case, load_corpus
from tests.validation_diff import Mutator
from tests.verdicts import ALPHA_GATES

from dra_operator.api.quantity import Quantity, QuantityError
from dra_operator.validation import Decoded, Undecodable, decode, validate, validate_status_update, validate_update
from dra_operator.validation.documents import API_VERSION, KINDS
from dra_operator.validation.errors import FieldError
from dra_operator.validation.gates import Gates
from dra_operator.validation.shapes import Form, Type, shape_of

ALL_GATES = Gates.of(also=ALPHA_GATES)
TEXTS = st.one_of(
    st.text(max_size=80),
    st.sampled_from(
        ["", "/", "a/b/c", "\x00", "\ud800", "é" * 300, "1e999999999", "-1e-999999999", "9" * 400, "1.2.3"]
    ),
    st.text(alphabet="0123456789.eEinumkKMGTP+-", max_size=24),
)
SCALARS = st.one_of(
    *(st.none(), st.booleans(), st.integers(), st.integers(min_value=-(10**400), max_value=10**400)),
    *(st.floats(), TEXTS),
)
JSON = st.recursive(
    SCALARS, lambda inner: st.one_of(st.lists(inner, max_size=5), st.dictionaries(TEXTS, inner, max_size=5))
)


@st.composite
def values(draw: st.DrawFn, type_: Type, depth: int = 5) -> Any:
    """Something of the type, or anything at all."""
    if depth == 0 or draw(st.integers(0, 9)) == 0:
        return draw(JSON)
    match type_.form:
        case Form.STRUCT:
            assert type_.struct is not None
            chosen = draw(st.lists(st.sampled_from(shape_of(type_.struct).fields), max_size=6))
            return {field.json_name: draw(values(field.type, depth - 1)) for field in chosen}
        case Form.LIST:
            assert type_.element is not None
            return draw(st.lists(values(type_.element, depth - 1), max_size=3))
        case Form.MAP:
            assert type_.element is not None
            return draw(st.dictionaries(TEXTS, values(type_.element, depth - 1), max_size=3))
        case Form.STRING | Form.QUANTITY | Form.TIME:
            return draw(TEXTS)
        case Form.INT:
            return draw(st.integers())
        case Form.BOOL:
            return draw(st.booleans())
    return draw(JSON)


@st.composite
def documents(draw: st.DrawFn, kind: str) -> dict[str, Any]:
    spec = shape_of(KINDS[kind]).by_json_name["spec"].type
    metadata = draw(st.one_of(st.just({"name": "a"}), JSON))
    return {"apiVersion": API_VERSION, "kind": kind, "metadata": metadata, "spec": draw(values(spec, 6))}


def judge(document: Any) -> tuple[FieldError, ...] | None:
    """The errors of a document; None if it cannot be read."""
    found = decode(document)
    if isinstance(found, Undecodable):
        assert found.message
        return None
    assert isinstance(found, Decoded)
    errors = validate(found.object, namespace_labels={})
    assert all(str(error) for error in errors)
    return errors


@given(JSON)
def test_any_document_gets_an_answer(document: Any) -> None:
    if isinstance(document, dict):
        judge(document)


@given(st.one_of(st.text(), st.binary(), JSON.map(json.dumps)))
def test_any_text_gets_an_answer(text: str | bytes) -> None:
    judge(text)


@settings(max_examples=100)
@given(documents("ResourceSlice"))
def test_any_slice_gets_an_answer(document: dict[str, Any]) -> None:
    judge(document)
    judge(json.dumps(document))


@pytest.mark.parametrize("kind", sorted(set(KINDS) - {"ResourceSlice", "Pod"}))
def test_any_object_of_the_api_gets_an_answer(kind: str) -> None:
    @settings(max_examples=40)
    @given(documents(kind))
    def check(document: dict[str, Any]) -> None:
        judge(document)

    check()


CASES = [case for case in load_corpus().values() if case.object and case.kind != "Pod"]


@settings(max_examples=150)
@given(st.integers(min_value=0), st.sampled_from(CASES))
def test_mutated_objects_get_an_answer_under_all_gates(seed: int, case: Case) -> None:
    mutated = Mutator(random.Random(seed)).mutate(case)
    found = decode(mutated.object)
    if isinstance(found, Undecodable):
        return
    validate(found.object, gates=ALL_GATES, namespace_labels=case.namespace)
    if case.before is not None:
        old = decode(case.before)
        assert isinstance(old, Decoded)
        validate_update(found.object, old.object, gates=ALL_GATES)
        if case.part == "status":
            validate_status_update(found.object, old.object, gates=ALL_GATES, namespace_labels={})


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        '{"a":' * 100_000,
        '{"apiVersion":"resource.k8s.io/v1","kind":"ResourceSlice","spec":' + '{"devices":[' * 2000,
        '{"kind":"ResourceSlice","apiVersion":"resource.k8s.io/v1","spec":' + "[" * 5000 + "]" * 5000 + "}",
        "9" * 100_000,
        '{"kind":"ResourceSlice","apiVersion":"resource.k8s.io/v1","metadata":{"generation":' + "9" * 100_000 + "}}",
    ],
    ids=["lists", "objects", "devices", "closed", "digits", "generation"],
)
def test_depth_and_length_end_with_an_answer(text: str) -> None:
    assert judge(text) is None


def test_a_number_of_any_length_ends_with_an_answer() -> None:
    assert (
        judge({"apiVersion": API_VERSION, "kind": "ResourceSlice", "spec": {"pool": {"generation": 10**5000}}}) is None
    )


def test_aliases_of_yaml_that_stand_for_billions_of_values_end_with_an_answer() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12)]
    bomb = yaml.safe_load("\n".join(lines))

    assert judge({"apiVersion": API_VERSION, "kind": "ResourceSlice", "spec": bomb}) is None


def test_a_large_slice_takes_memory_in_proportion_to_its_text() -> None:
    device = {"attributes": {f"a{i}": {"string": "x" * 60} for i in range(40)}}
    spec = {"driver": "a", "devices": [{"name": f"d{i}", **device} for i in range(100)]}
    text = json.dumps({"apiVersion": API_VERSION, "kind": "ResourceSlice", "spec": spec})

    tracemalloc.start()
    try:
        errors = judge(text)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert errors
    assert peak < 20 * len(text)


@given(TEXTS, TEXTS)
def test_quantities_of_any_exponent_are_compared_and_printed(a: str, b: str) -> None:
    try:
        first, second = Quantity.parse(a), Quantity.parse(b)
    except QuantityError:
        return
    capacity = {"value": a, "requestPolicy": {"default": b, "validRange": {"min": b, "max": a, "step": b}}}
    options = {"value": b, "requestPolicy": {"default": a, "validValues": [a, b]}}
    device = {"name": "a", "allowMultipleAllocations": True, "capacity": {"a": capacity, "b": options}}

    errors = judge({"apiVersion": API_VERSION, "kind": "ResourceSlice", "spec": {"devices": [device]}})

    assert errors is not None
    assert (first == second) == (first.compare(second) == 0)
