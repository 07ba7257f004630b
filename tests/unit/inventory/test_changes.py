"""The log of changes: what a cache missed since it last looked."""

from __future__ import annotations

from dra_operator.inventory.changes import Changes


def test_only_what_came_after_the_version_is_told() -> None:
    changes: Changes[str] = Changes()
    for version, key in enumerate(["a", "b", "c", "b"], start=1):
        changes.note(version, key)

    assert changes.since(0) == {"a", "b", "c"}
    assert changes.since(2) == {"b", "c"}
    assert changes.since(4) == set()


def test_one_version_may_change_several_keys() -> None:
    changes: Changes[str] = Changes()
    changes.note(1, "a")
    changes.note(1, "b")

    assert changes.since(0) == {"a", "b"}


def test_what_was_forgotten_is_not_guessed() -> None:
    changes: Changes[str] = Changes(length=2)
    for version, key in enumerate(["a", "b", "c"], start=1):
        changes.note(version, key)

    assert changes.since(0) is None
    assert changes.since(1) == {"b", "c"}
