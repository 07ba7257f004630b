"""Our answers to the corpus and those of a real API server, which was asked with strict validation and a dry run.

One question a case, many at once: the whole corpus takes a few seconds.
"""

from __future__ import annotations

import asyncio

import pytest

from dra_operator.sandbox.controlplane import ControlPlane
from tests.corpus import Answer, Case, load_answers, load_corpus
from tests.verdicts import bench, in_any_words, our_answer

pytestmark = pytest.mark.cluster

CORPUS = load_corpus()


@pytest.fixture(scope="module")
def answers(control_plane: ControlPlane) -> dict[str, Answer]:
    async def ask() -> dict[str, Answer]:
        async with bench(control_plane, CORPUS.values()) as server:
            return await server.answers(CORPUS.values())

    return asyncio.run(ask())


def test_verdict_and_first_field_are_the_servers(answers: dict[str, Answer]) -> None:
    def differs(case: Case) -> bool:
        ours, theirs = our_answer(case), answers[case.name]
        return (ours.accepted, ours.first_field) != (theirs.accepted, theirs.first_field)

    assert [name for name, case in CORPUS.items() if differs(case)] == []


def test_all_fields_and_words_are_the_servers(answers: dict[str, Answer]) -> None:
    differences = {
        name: (ours, theirs)
        for name, case in CORPUS.items()
        if (ours := in_any_words(our_answer(case))) != (theirs := in_any_words(answers[name]))
    }

    assert differences == {}


def test_the_recorded_answers_are_still_the_servers(answers: dict[str, Answer]) -> None:
    recorded = load_answers()

    assert {name: answer for name, answer in answers.items() if recorded.get(name) != answer} == {}
