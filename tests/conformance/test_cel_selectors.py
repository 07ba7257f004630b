"""Selectors decide as upstream's do: every golden vector, no exceptions.

The floor is what is reached; a vector that stops agreeing names itself here. `cel_library.jsonl` is ours, in the format
of `cel_selectors.jsonl`: a walk through the whole library and the odd corners, with the answers of
k8s.io/dynamic-resource-allocation v0.37.2.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dra_operator.cel import compile_selector
from tests.conformance.cel_vectors import Verdict, run

DATA = Path(__file__).parent / "data"

# Outcomes agree everywhere. So many texts of errors are ours, because upstream lists its parser's token names.
MESSAGES_THAT_DIFFER = 1

# `includes` costs something else since v0.37. Three evaluations use `matches` with a constant pattern on an error, for
# which upstream charges nothing.
COSTS_THAT_DIFFER = 4

# `includes` is estimated higher since v0.37.
ESTIMATES_SINCE_THEN = {
    "cel_selectors.jsonl": {'device.attributes["dra.example.com"].l.includes("a")': 68},
    "cel_library.jsonl": {},
}


def verdicts(name: str) -> list[Verdict]:
    return [verdict for verdict in run(DATA / name) if isinstance(verdict, Verdict)]


@pytest.fixture(scope="module")
def selectors() -> list[Verdict]:
    return verdicts("cel_selectors.jsonl")


@pytest.mark.parametrize(
    ("outcome", "count"), [("match", 505), ("no_match", 362), ("runtime_error", 696), ("compile_error", 106)]
)
def test_every_selector_has_upstreams_outcome(selectors: list[Verdict], outcome: str, count: int) -> None:
    wanted = [verdict for verdict in selectors if verdict.wanted == outcome]

    assert len(wanted) == count
    assert [(v.id, v.expression, v.got, v.message) for v in wanted if not v.agrees] == []


def test_errors_say_what_upstream_says_and_where(selectors: list[Verdict]) -> None:
    texts = [(v.id, v.wanted_message, v.message.split("\n")[0]) for v in selectors if v.wanted_message]

    assert len([text for text in texts if text[1] != text[2]]) <= MESSAGES_THAT_DIFFER


def test_an_evaluation_costs_what_it_costs_upstream(selectors: list[Verdict]) -> None:
    off = [v.id for v in selectors if v.wanted_cost is not None and v.cost is not None and v.cost != v.wanted_cost]

    assert len(off) <= COSTS_THAT_DIFFER, off


@pytest.mark.parametrize("name", ["cel_selectors.jsonl", "cel_library.jsonl"])
def test_an_expression_costs_at_most_what_upstream_estimates(name: str) -> None:
    vectors = [json.loads(line) for line in (DATA / name).read_text().splitlines()[1:]]
    wanted = {vector["expression"]: vector["estimatedCost"] for vector in vectors if "estimatedCost" in vector}
    got = {expression: compile_selector(expression).estimated_cost for expression in wanted}

    off = {expression: got[expression] for expression in wanted if got[expression] != wanted[expression]}
    assert off == ESTIMATES_SINCE_THEN[name]


def test_the_library_answers_as_upstreams() -> None:
    library = verdicts("cel_library.jsonl")

    assert len(library) == 1055
    assert [v.expression for v in library if not v.agrees] == []
