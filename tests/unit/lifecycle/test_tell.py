"""What a waiting pod is told: the code at once and with an Event, another sentence when it is due."""

from __future__ import annotations

from dra_operator.lifecycle.policy import Policy
from tests.unit.lifecycle.scene import (
    NOW,
    full,
    look,
    published,
    says,
    show,
)


def test_a_reason_is_told_in_an_event_once() -> None:
    view, user = full()
    first = look(view, user)
    [notice] = first.notices
    assert (notice.type, notice.reason) == ("Warning", "DevicesInUse")
    told = says(user, "DevicesInUse", published(first).message)
    show(view, told)
    again = look(view, told)
    assert (again.actions, again.notices) == ((), ())
    assert again.waits


def test_another_reason_is_told_again() -> None:
    view, user = full()
    show(view, says(user, "ClassNotFound", "m"))
    [notice] = look(view, user).notices
    assert notice.reason == "DevicesInUse"


def test_a_new_sentence_for_the_same_reason_is_no_event() -> None:
    view, user = full(since=NOW)
    verdict = look(view, user)
    assert published(verdict).reason == "DevicesInUse"
    assert verdict.notices == ()


def test_a_new_sentence_waits_until_it_is_due() -> None:
    view, user = full(since=NOW)
    view.message_written[user.uid] = NOW - 20
    verdict = look(view, user)
    assert verdict.actions == ()
    assert verdict.requeue_after == Policy().condition_interval - 20
