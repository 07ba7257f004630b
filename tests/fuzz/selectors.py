"""`make fuzz` for selectors: random expressions on random devices, decided by the API server's library and by ours.

    python -m tests.fuzz.selectors [--seeds N] [--start SEED]

Equal means: the same outcome (match, no match, does not compile, fails) and the same static cost, beyond a limit of
which the API server refuses a selector. What differs is made small and printed.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any, Final

from tests.conformance.cel_vectors import ask, device_of
from tests.fuzz.dice import Dice
from tests.fuzz.expressions import Tree, make_device, make_selector, shrink_tree
from tests.oracle import Oracle

Json = Any

_BATCH: Final = 1000
_SHRUNK: Final = 30
PANIC: Final = "panic"
"""The library's outcome for what makes it crash: there is nothing to be equal to."""


def make_question(seed: int) -> tuple[Tree, Json]:
    """A selector, and what the oracle is asked."""
    dice = Dice(seed)
    tree = make_selector(dice)
    return tree, {"expression": str(tree), "device": make_device(dice)}


def answered(oracle: Oracle, seeds: range) -> Iterator[tuple[Tree, Json, Json]]:
    """The selectors of the seeds, with question and answer."""
    for first in range(seeds.start, seeds.stop, _BATCH):
        batch = [make_question(seed) for seed in range(first, min(first + _BATCH, seeds.stop))]
        answers = oracle.ask_all([question for _, question in batch])
        for (tree, _), (question, answer) in zip(batch, answers, strict=True):
            yield tree, question, answer


def difference(question: Json, answer: Json) -> str:
    """How our answer differs; nothing if it does not."""
    if answer["outcome"] == PANIC:
        return ""
    got = ask(question["expression"], device_of(question["device"]))
    if got.outcome != answer["outcome"]:
        return f"{answer['outcome']} ({answer.get('message', '')}), ours {got.outcome} ({got.message})"
    if got.reference:
        return f"{got.reference} by the tree, {got.outcome} compiled"
    if got.estimate is not None and got.estimate != answer["estimatedCost"]:
        return f"costs {answer['estimatedCost']} at most, ours {got.estimate}"
    return ""


def make_small(oracle: Oracle, tree: Tree, device: Json) -> tuple[str, str]:
    """The smallest selector found that differs, and how."""

    def differs(expression: str) -> str:
        question = {"expression": expression, "device": device}
        return difference(question, oracle.ask(question))

    small = str(shrink_tree(tree, lambda expression: bool(differs(expression))))
    return small, differs(small)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.selectors", description=__doc__)
    parser.add_argument("--seeds", type=int, default=20_000, metavar="N", help="how many selectors")
    parser.add_argument("--start", type=int, default=0, metavar="SEED", help="the first one's seed")
    options = parser.parse_args()
    begin, counts, differing = time.monotonic(), Counter[str](), 0
    with Oracle("cel") as oracle, Oracle("cel") as second:
        for tree, question, answer in answered(oracle, range(options.start, options.start + options.seeds)):
            counts[answer["outcome"]] += 1
            if difference(question, answer):
                differing += 1
                if differing <= _SHRUNK:
                    expression, how = make_small(second, tree, question["device"])
                    print(f"{expression}\n    {how.splitlines()[0]}", flush=True)
    print(", ".join(f"{kind} {count}" for kind, count in sorted(counts.items())))
    print(f"{options.seeds} selectors, {differing} differences, {time.monotonic() - begin:.0f} s")
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(main())
