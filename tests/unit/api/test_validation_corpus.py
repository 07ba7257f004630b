"""Our answer to every object of the corpus is the one that the API server gave, field by field and word by word."""

from __future__ import annotations

import re

import pytest
from tests.corpus import Answer, Case, load_answers, load_corpus
from tests.verdicts import our_answer

CORPUS = load_corpus()
ANSWERS = load_answers()
OTHER_WORDS = re.compile(r"ERROR: <input>:\d+:\d+: Syntax error: .*", re.DOTALL)
"""What a parser expected where is told in other words; see docs/reference/validation.md."""


def in_any_words(answer: Answer) -> Answer:
    return Answer(tuple(OTHER_WORDS.sub("", error) for error in answer.errors), answer.message)


def test_every_case_has_a_recorded_answer() -> None:
    assert CORPUS.keys() == ANSWERS.keys()


@pytest.mark.parametrize("case", CORPUS.values(), ids=lambda case: case.name)
def test_the_answer_is_the_recorded_one(case: Case) -> None:
    assert in_any_words(our_answer(case)) == in_any_words(ANSWERS[case.name])
