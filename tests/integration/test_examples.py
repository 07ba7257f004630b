"""examples/ on a real API server: the good ones are accepted as they stand, each bad one gets the answer it promises.

The examples are applied with kubectl and strict validation, as a user does it. What an accepted but mistaken example
leads to is the operator's answer; its text is checked where the selectors are (`tests/unit/test_examples.py`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from dra_operator.sandbox.controlplane import ControlPlane

pytestmark = pytest.mark.cluster

EXAMPLES = Path(__file__).parents[2] / "examples"
GOOD = sorted(EXAMPLES.glob("*.yaml"))
BAD = sorted((EXAMPLES / "invalid").glob("*.yaml"))
REFUSED = "kubectl apply answers:"
WAITS = "The pod waits, with the reason:"


def promise(file: Path) -> tuple[str, str]:
    """Who answers the mistake and with what, from the comment at the head of the file."""
    comment = "\n".join(line.removeprefix("#").strip() for line in file.read_text().splitlines() if line[:1] == "#")
    match = re.search(rf"({re.escape(REFUSED)}|{re.escape(WAITS)})\n(.+)", comment)
    assert match, f"{file.name} does not say what users get"
    return match.group(1), match.group(2)


def name(file: Path) -> str:
    return file.stem


@pytest.fixture(scope="module")
def applied(control_plane: ControlPlane) -> Iterator[ControlPlane]:
    """All good examples, applied one after the other in the order of their names."""
    for file in GOOD:
        control_plane.kubectl("apply", "--validate=strict", "-f", str(file))
    yield control_plane
    control_plane.kubectl("delete", "-f", str(EXAMPLES), "--wait=false", "--ignore-not-found")


@pytest.mark.parametrize("file", GOOD, ids=name)
def test_a_good_example_is_accepted_and_stays_so_when_applied_again(applied: ControlPlane, file: Path) -> None:
    assert "Warning" not in applied.kubectl("apply", "--validate=strict", "-f", str(file)).stderr


@pytest.mark.parametrize("file", [file for file in BAD if promise(file)[0] == REFUSED], ids=name)
def test_a_mistake_is_refused_with_the_promised_words(applied: ControlPlane, file: Path) -> None:
    answer = applied.kubectl("apply", "--validate=strict", "--dry-run=server", "-f", str(file), check=False)

    assert answer.returncode != 0
    assert promise(file)[1] in answer.stderr


@pytest.mark.parametrize("file", [file for file in BAD if promise(file)[0] == WAITS], ids=name)
def test_a_mistake_that_only_the_operator_can_see_is_accepted(applied: ControlPlane, file: Path) -> None:
    applied.kubectl("apply", "--validate=strict", "--dry-run=server", "-f", str(file))


def test_every_mistake_of_the_list_has_its_example() -> None:
    assert {file.stem for file in BAD} == {
        "admin-access-under-first-available",
        "admin-access-without-label",
        "attribute-that-no-device-has",
        "exactly-name",
        "quantity-in-capacity",
        "quantity-in-selector",
        "template-of-another-name",
        "template-of-another-namespace",
        "template-without-second-spec",
    }
