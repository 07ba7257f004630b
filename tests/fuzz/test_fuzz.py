"""The allocator decides as kube-scheduler's library does, on generated cases; and that gives the golden answers.

`make fuzz SEEDS=20000` runs more of the same. What it finds is made small and kept in `data/`; those cases stay.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.vectors import Broken, read
from tests.fuzz import calls, selectors
from tests.fuzz.__main__ import FOUND, answered
from tests.fuzz.cases import make_case
from tests.fuzz.compare import differences
from tests.fuzz.crossed import GOLDEN, make_crossed
from tests.fuzz.shrink import shrink
from tests.oracle import Oracle

Json = Any

SEEDS = range(200)
CROSSED = range(60)


@pytest.fixture(scope="module")
def oracle() -> Iterator[Oracle]:
    with Oracle("allocate") as running:
        yield running


def test_generated_cases_are_decided_as_by_the_library(oracle: Oracle) -> None:
    assert [line for case in answered(oracle, SEEDS) for line in differences(case)] == []


def test_crossed_vectors_are_decided_as_by_the_library(oracle: Oracle) -> None:
    assert [line for case in answered(oracle, CROSSED, make_crossed) for line in differences(case)] == []


@pytest.mark.parametrize("file", sorted(FOUND.glob("*.json")), ids=lambda file: file.stem)
def test_what_differed_once_does_not_any_more(file: Path) -> None:
    assert differences(json.loads(file.read_text())) == []


def test_the_oracle_gives_the_golden_answers(oracle: Oracle) -> None:
    golden = [entry.value for entry in read(GOLDEN) if not isinstance(entry, Broken)]

    assert len(golden) > 100
    assert [case["id"] for case, answer in oracle.ask_all(golden) if answer["want"] != case["want"]] == []


def test_generated_selectors_are_decided_as_by_the_library() -> None:
    with Oracle("cel") as oracle:
        differ = [
            (question["expression"], how)
            for _, question, answer in selectors.answered(oracle, range(1000))
            if (how := selectors.difference(question, answer))
        ]

    assert differ == []


def test_calls_give_what_they_give_in_the_library() -> None:
    with Oracle("cel") as oracle:
        assert list(calls.differences(oracle, range(400))) == []


def test_selectors_that_differed_once_do_not_any_more() -> None:
    found = [entry.value for entry in read(FOUND / "selectors.jsonl") if not isinstance(entry, Broken)]

    assert found
    assert [(one["expression"], how) for one in found if (how := selectors.difference(one, one["answer"]))] == []


def test_a_seed_always_makes_the_same_case() -> None:
    assert make_case(7) == make_case(7) != make_case(8)
    assert make_crossed(7) == make_crossed(7) != make_crossed(8)


def test_a_wrong_answer_is_a_difference(oracle: Oracle) -> None:
    case = next(case for case in answered(oracle, SEEDS) if _allocated(case))
    (node,) = _allocated(case)[:1]
    case["want"]["nodes"][node] = {"outcome": "unschedulable", "error": "cannot allocate all claims"}

    assert differences(case) != []


def test_shrinking_keeps_what_the_difference_needs() -> None:
    def differs(case: Json) -> bool:
        devices = [device for slice_ in case["resourceSlices"] for device in slice_["spec"].get("devices", ())]
        return any(device.get("taints") for device in devices)

    case = next(case for case in map(make_case, range(100)) if differs(case))
    small = shrink(case, differs)

    (slice_,) = small["resourceSlices"]
    (device,) = slice_["spec"]["devices"]
    assert device.keys() == {"name", "taints"}
    assert small["claims"] == []


def _allocated(case: Json) -> list[str]:
    return [name for name, answer in case["want"]["nodes"].items() if answer["outcome"] == "allocated"]
