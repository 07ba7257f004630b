"""The ledger: who holds what, and who was first.

`live` is a watch event, `listed` a LIST. A claim's UID follows from its name.
"""

from __future__ import annotations

import pytest

from dra_operator.api.meta import Uid
from dra_operator.api.resource import DeviceRequestAllocationResult, ResourceClaim
from dra_operator.inventory.devices import DeviceId
from dra_operator.inventory.ledger import Ledger
from tests.builders import DRIVER, allocated, allocation, claim, result

GPU = "node-a/gpu-0"
OTHER_GPU = "node-a/gpu-1"
DEVICE = DeviceId(DRIVER, "node-a", "gpu-0")
OTHER_DEVICE = DeviceId(DRIVER, "node-a", "gpu-1")


@pytest.fixture
def ledger() -> Ledger:
    return Ledger()


def holding(name: str, *results: DeviceRequestAllocationResult | str, version: int = 1) -> ResourceClaim:
    return allocated(claim(name=name, version=version), *(results or (GPU,)))


def uid(name: str) -> Uid:
    return claim(name=name).uid


FIRST, SECOND, THIRD = uid("first"), uid("second"), uid("third")


# --- watched live ----------------------------------------------------------------------------------------------------


def test_an_allocation_watched_live_that_nobody_else_has_is_confirmed(ledger: Ledger) -> None:
    ledger.observe(holding("first"), live=True)

    assert ledger.confirmed(FIRST)
    assert ledger.holders(DEVICE) == {FIRST}


def test_the_one_that_comes_second_is_disputed_and_the_first_stays_confirmed(ledger: Ledger) -> None:
    ledger.observe(holding("first"), live=True)
    ledger.observe(holding("second"), live=True)

    assert ledger.confirmed(FIRST)
    assert not ledger.rivals(FIRST)
    assert not ledger.confirmed(SECOND)
    assert ledger.rivals(SECOND) == {FIRST}
    assert ledger.holders(DEVICE) == {FIRST, SECOND}


def test_one_device_in_common_is_enough_for_a_dispute(ledger: Ledger) -> None:
    ledger.observe(holding("first", GPU), live=True)
    ledger.observe(holding("second", OTHER_GPU, GPU), live=True)

    assert ledger.rivals(SECOND) == {FIRST}


def test_other_devices_are_no_dispute(ledger: Ledger) -> None:
    ledger.observe(holding("first", GPU), live=True)
    ledger.observe(holding("second", OTHER_GPU), live=True)

    assert ledger.confirmed(SECOND)


@pytest.mark.parametrize("ends", ["deleted", "deallocated", "moved"])
def test_a_dispute_ends_when_the_rival_lets_go(ledger: Ledger, ends: str) -> None:
    ledger.observe(holding("first"), live=True)
    ledger.observe(holding("second"), live=True)

    match ends:
        case "deleted":
            ledger.remove(FIRST)
        case "deallocated":
            ledger.observe(claim(name="first"), live=True)
        case _:
            ledger.observe(holding("first", OTHER_GPU), live=True)

    assert ledger.confirmed(SECOND)
    assert not ledger.rivals(SECOND)
    assert ledger.holders(DEVICE) == {SECOND}


def test_a_dispute_with_two_ends_with_the_last(ledger: Ledger) -> None:
    for name in ("first", "second", "third"):
        ledger.observe(holding(name), live=True)
    assert ledger.rivals(THIRD) == {FIRST, SECOND}

    ledger.remove(SECOND)
    assert not ledger.confirmed(THIRD)

    ledger.remove(FIRST)
    assert ledger.confirmed(THIRD)


def test_when_the_disputed_one_gives_up_the_first_is_as_before(ledger: Ledger) -> None:
    ledger.observe(holding("first"), live=True)
    ledger.observe(holding("second"), live=True)
    ledger.observe(claim(name="second"), live=True)

    assert ledger.confirmed(FIRST)
    assert ledger.holders(DEVICE) == {FIRST}


def test_taking_other_devices_counts_as_new(ledger: Ledger) -> None:
    ledger.observe(holding("first", GPU), live=True)
    ledger.observe(holding("second", OTHER_GPU), live=True)
    ledger.observe(holding("second", GPU), live=True)

    assert ledger.rivals(SECOND) == {FIRST}
    assert ledger.holders(OTHER_DEVICE) == frozenset()


@pytest.mark.parametrize("live", [True, False])
def test_seeing_the_same_again_changes_nothing(ledger: Ledger, live: bool) -> None:
    ledger.observe(holding("first"), live=True)
    ledger.observe(holding("second"), live=True)
    version = ledger.version

    ledger.observe(holding("first"), live=live)
    ledger.observe(holding("second"), live=live)

    assert ledger.confirmed(FIRST)
    assert ledger.rivals(SECOND) == {FIRST}
    assert ledger.version == version


# --- listed ----------------------------------------------------------------------------------------------------------


def test_a_listed_allocation_that_nobody_else_has_is_confirmed(ledger: Ledger) -> None:
    ledger.observe(holding("first"), live=False)

    assert ledger.confirmed(FIRST)


def test_two_of_one_list_dispute_with_each_other(ledger: Ledger) -> None:
    ledger.observe(holding("first"), live=False)
    ledger.observe(holding("second"), live=False)

    assert ledger.rivals(FIRST) == {SECOND}
    assert ledger.rivals(SECOND) == {FIRST}
    assert not ledger.confirmed(FIRST)
    assert not ledger.confirmed(SECOND)


def test_who_was_watched_live_before_a_list_stays_confirmed(ledger: Ledger) -> None:
    ledger.observe(holding("first"), live=True)
    ledger.begin_listing()
    ledger.observe(holding("first"), live=False)
    ledger.observe(holding("second"), live=False)

    assert ledger.confirmed(FIRST)
    assert ledger.rivals(SECOND) == {FIRST}


def test_who_was_in_an_earlier_list_came_before_who_was_not(ledger: Ledger) -> None:
    ledger.begin_listing()
    ledger.observe(holding("first"), live=False)
    ledger.begin_listing()
    ledger.observe(holding("second"), live=False)
    ledger.observe(holding("first"), live=False)

    assert ledger.confirmed(FIRST)
    assert ledger.rivals(SECOND) == {FIRST}


def test_a_dispute_of_a_list_ends_for_the_one_that_stays(ledger: Ledger) -> None:
    ledger.observe(holding("first"), live=False)
    ledger.observe(holding("second"), live=False)
    ledger.observe(claim(name="first"), live=True)

    assert ledger.confirmed(SECOND)
    assert not ledger.confirmed(FIRST)


# --- assumed ---------------------------------------------------------------------------------------------------------


def test_an_assumed_allocation_holds_its_devices_but_is_not_confirmed(ledger: Ledger) -> None:
    ledger.assume(FIRST, allocation(GPU))

    assert ledger.is_assumed(FIRST)
    assert ledger.is_held(DEVICE)
    assert not ledger.confirmed(FIRST)


def test_the_watch_confirms_what_was_assumed(ledger: Ledger) -> None:
    ledger.assume(FIRST, allocation(GPU))
    ledger.observe(holding("first"), live=True)

    assert not ledger.is_assumed(FIRST)
    assert ledger.confirmed(FIRST)
    assert ledger.holders(DEVICE) == {FIRST}


def test_a_stale_event_without_an_allocation_does_not_drop_what_is_assumed(ledger: Ledger) -> None:
    ledger.assume(FIRST, allocation(GPU))
    ledger.observe(claim(name="first"), live=True)

    assert ledger.is_assumed(FIRST)
    assert ledger.is_held(DEVICE)


def test_what_is_assumed_of_one_is_no_rival_to_what_was_watched_of_another(ledger: Ledger) -> None:
    ledger.assume(FIRST, allocation(GPU))
    ledger.observe(holding("second"), live=True)

    assert ledger.confirmed(SECOND)


def test_an_assumed_allocation_that_comes_second_is_disputed_when_it_is_seen(ledger: Ledger) -> None:
    ledger.assume(FIRST, allocation(GPU))
    ledger.observe(holding("second"), live=True)
    ledger.observe(holding("first"), live=True)

    assert ledger.rivals(FIRST) == {SECOND}


def test_an_older_allocation_that_the_mirror_still_shows_does_not_end_the_assumption(ledger: Ledger) -> None:
    ledger.assume(FIRST, allocation(GPU))
    ledger.observe(holding("first", OTHER_GPU), live=True)

    assert ledger.holders(DEVICE) == {FIRST}
    assert ledger.holders(OTHER_DEVICE) == {FIRST}
    assert not ledger.confirmed(FIRST)


def test_the_same_devices_as_the_claim_had_before_it_gave_them_back_do_not_end_the_assumption(ledger: Ledger) -> None:
    ledger.assume(FIRST, allocation(GPU), since=31)
    ledger.observe(holding("first", version=28), live=True)
    ledger.observe(claim(name="first", version=29), live=True)
    assert ledger.holders(DEVICE) == {FIRST}

    ledger.observe(holding("first", version=32), live=True)
    assert ledger.confirmed(FIRST)


def test_forgetting_frees_only_what_is_assumed(ledger: Ledger) -> None:
    ledger.assume(FIRST, allocation(GPU))
    ledger.forget_assumed(FIRST)
    assert not ledger.is_held(DEVICE)

    ledger.observe(holding("first"), live=True)
    ledger.forget_assumed(FIRST)
    assert ledger.confirmed(FIRST)


def test_assuming_holds_beside_what_the_mirror_still_shows(ledger: Ledger) -> None:
    ledger.observe(holding("first"), live=True)
    ledger.assume(FIRST, allocation(OTHER_GPU))

    assert ledger.is_held(DEVICE)
    assert ledger.is_held(OTHER_DEVICE)
    assert not ledger.confirmed(FIRST)


def test_removing_or_forgetting_what_is_not_there_does_nothing(ledger: Ledger) -> None:
    ledger.remove(FIRST)
    ledger.forget_assumed(FIRST)

    assert ledger.version == 0


# --- what holds no device --------------------------------------------------------------------------------------------


def test_admin_access_holds_nothing_and_is_confirmed_at_once(ledger: Ledger) -> None:
    ledger.observe(holding("first"), live=True)
    ledger.observe(holding("second", result(GPU, admin=True)), live=True)

    assert ledger.confirmed(SECOND)
    assert ledger.holders(DEVICE) == {FIRST}


def test_shares_do_not_dispute_a_device_with_each_other(ledger: Ledger) -> None:
    ledger.observe(holding("first", result(GPU, share="s1", consumes={"memory": "1Gi"})), live=True)
    ledger.observe(holding("second", result(GPU, share="s2", consumes={"memory": "1Gi"})), live=True)

    assert ledger.confirmed(FIRST)
    assert ledger.confirmed(SECOND)
    assert not ledger.is_held(DEVICE)


# --- versions --------------------------------------------------------------------------------------------------------


def test_every_change_of_what_is_held_grows_the_version(ledger: Ledger) -> None:
    versions = [ledger.version]
    ledger.assume(FIRST, allocation(GPU))
    versions.append(ledger.version)
    ledger.observe(holding("first", OTHER_GPU), live=True)
    versions.append(ledger.version)
    ledger.remove(FIRST)
    versions.append(ledger.version)

    assert versions == sorted(set(versions))
