"""Our answer to every object of the corpus is the one that the API server gave, field by field and word by word."""

from __future__ import annotations

import pytest
from tests.corpus import Case, load_answers, load_corpus
from tests.verdicts import in_any_words, our_answer

CORPUS = load_corpus()
ANSWERS = load_answers()


def test_every_case_has_a_recorded_answer() -> None:
    assert CORPUS.keys() == ANSWERS.keys()


@pytest.mark.parametrize("case", CORPUS.values(), ids=lambda case: case.name)
def test_the_answer_is_the_recorded_one(case: Case) -> None:
    assert in_any_words(our_answer(case)) == in_any_words(ANSWERS[case.name])
