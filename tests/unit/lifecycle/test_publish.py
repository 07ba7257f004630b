"""What a pod's status says: everything that we own in each write, and a write only when it says something new."""

from __future__ import annotations

import msgspec
import pytest

from dra_operator.api.core import Pod, PodResourceClaimStatus, PodStatus
from dra_operator.api.meta import Condition
from dra_operator.api.names import DEVICES_ALLOCATED
from dra_operator.api.reasons import Reason
from dra_operator.lifecycle.actions import PodCondition, PublishStatus
from dra_operator.lifecycle.publish import (
    MESSAGE_MAX_LENGTH,
    claim_statuses,
    condition,
    moment,
    publish,
    timestamp,
)
from tests.builders import pod
from tests.unit.lifecycle.scene import NOW, gated, publishes, says, with_condition

LATER = NOW + 100


def write(to: Pod, reason: Reason, message: str = "m", *, due: bool = False, **names: str) -> PublishStatus | None:
    return publish(to, names, condition(to, reason, message, LATER), message_due=due)


def status(name: str, claim: str | None) -> PodResourceClaimStatus:
    return PodResourceClaimStatus(name=name, resource_claim_name=claim)


# --- when ------------------------------------------------------------------------------------------------------------


def test_the_first_condition_is_written() -> None:
    written = write(pod(version=7), Reason.DEVICES_IN_USE, "4 in use")
    assert written == PublishStatus(
        pod().key, pod().uid, "7", (), PodCondition(False, "DevicesInUse", "4 in use", timestamp(LATER))
    )


def test_the_same_again_is_not_written() -> None:
    assert write(says(pod(), "DevicesInUse", "m"), Reason.DEVICES_IN_USE, "m", due=True) is None


def test_a_new_reason_is_written_at_once() -> None:
    written = write(says(pod(), "DevicesInUse", "m"), Reason.CLASS_NOT_FOUND, "m")
    assert written is not None
    assert written.condition is not None
    assert written.condition.reason == "ClassNotFound"


@pytest.mark.parametrize("due", [True, False])
def test_a_new_sentence_for_the_same_reason_is_written_when_it_is_due(due: bool) -> None:
    written = write(says(pod(), "DevicesInUse", "3 in use"), Reason.DEVICES_IN_USE, "4 in use", due=due)
    assert (written is not None) is due


def test_a_new_claim_name_is_written_at_once_with_the_sentence_of_the_day() -> None:
    written = write(says(pod(), "DevicesInUse", "3 in use"), Reason.DEVICES_IN_USE, "4 in use", gpu="pod-gpu-x")
    assert written is not None
    assert written.claim_statuses == (status("gpu", "pod-gpu-x"),)
    assert written.condition is not None
    assert written.condition.message == "4 in use"


def test_names_that_are_published_already_are_not_written_again() -> None:
    assert publish(publishes(pod(), {"gpu": "x"}), {"gpu": "x"}, None, message_due=True) is None


def test_without_a_condition_to_write_the_one_that_is_there_is_stated_again() -> None:
    # Server-side apply drops what is left out.
    standing = says(pod(), "DevicesInUse", "m")
    written = publish(standing, {"gpu": "x"}, None, message_due=False)
    assert written is not None
    assert written.condition == PodCondition(False, "DevicesInUse", "m", timestamp(NOW))


def test_a_pod_without_a_condition_gets_names_alone() -> None:
    written = publish(pod(), {"gpu": "x"}, None, message_due=False)
    assert written is not None
    assert written.condition is None


def test_conditions_of_others_are_not_ours_to_state() -> None:
    other = with_condition(pod(), "PodScheduled", "False", "SchedulingGated")
    written = write(other, Reason.DEVICES_IN_USE)
    assert written is not None
    assert written.condition is not None
    assert written.condition.reason == "DevicesInUse"


# --- what ------------------------------------------------------------------------------------------------------------


def test_entries_of_other_generators_stay_beside_ours() -> None:
    assert claim_statuses(publishes(pod(), {"theirs": "a", "none": None}), {"ours": "b"}) == (
        status("none", None),
        status("ours", "b"),
        status("theirs", "a"),
    )


def test_a_claim_generated_anew_takes_the_place_of_the_old_name() -> None:
    assert claim_statuses(publishes(pod(), {"gpu": "old"}), {"gpu": "new"}) == (status("gpu", "new"),)


@pytest.mark.parametrize("reason", list(Reason))
def test_the_condition_is_true_when_the_pod_has_its_devices(reason: Reason) -> None:
    has_devices = reason in (Reason.ALLOCATED, Reason.UNSCHEDULABLE_AFTER_PIN)
    assert condition(pod(), reason, "", NOW).status is has_devices


def test_the_transition_time_is_when_the_status_changed() -> None:
    waiting = says(pod(), "DevicesInUse", since=NOW)
    assert condition(waiting, Reason.ALLOCATED, "", LATER).last_transition_time == timestamp(LATER)


def test_the_transition_time_stays_while_only_the_reason_changes() -> None:
    waiting = says(pod(), "DevicesInUse", since=NOW)
    assert condition(waiting, Reason.CLASS_NOT_FOUND, "", LATER).last_transition_time == timestamp(NOW)


def test_a_condition_of_someone_who_set_no_time_gets_one() -> None:
    bare = Condition(type=DEVICES_ALLOCATED, status="False")
    untimed = msgspec.structs.replace(pod(), status=PodStatus(conditions=(bare,)))
    assert condition(untimed, Reason.CLASS_NOT_FOUND, "", LATER).last_transition_time == timestamp(LATER)


def test_a_long_sentence_is_cut() -> None:
    assert len(condition(pod(), Reason.SELECTOR_FAILED, "x" * 5000, NOW).message) == MESSAGE_MAX_LENGTH


def test_a_cut_sentence_is_not_written_over_and_over() -> None:
    standing = says(pod(), "SelectorFailed", "x" * MESSAGE_MAX_LENGTH)
    assert write(standing, Reason.SELECTOR_FAILED, "x" * 5000, due=True) is None


# --- times -----------------------------------------------------------------------------------------------------------


def test_times_are_those_of_the_api_server() -> None:
    assert timestamp(0) == "1970-01-01T00:00:00Z"
    assert timestamp(NOW + 0.9) == timestamp(NOW)


def test_a_time_is_read_as_it_was_written() -> None:
    assert moment(timestamp(NOW), default=0.0) == NOW
    assert moment("2027-01-15T08:00:00+00:00", default=0.0) == NOW
    assert moment(None, default=5.0) == 5.0


def test_the_node_is_nominated_along_with_the_condition_and_is_no_reason_to_write() -> None:
    waiting = gated(templates=["t"])
    told = publish(waiting, {}, condition(waiting, Reason.ALLOCATED, "m", NOW), message_due=False, nominated="node-a")
    assert told is not None
    assert told.nominated == "node-a"

    said = says(waiting, "Allocated", "m")
    again = publish(said, {}, condition(said, Reason.ALLOCATED, "m", NOW), message_due=False, nominated="node-a")
    assert again is None


def test_a_gated_pod_that_waits_is_nominated_no_more_and_an_ungated_one_stays_as_it_is() -> None:
    for waits, left in ((True, ""), (False, "node-a")):
        placed = gated(templates=["t"]) if waits else pod(templates=["t"])
        status = msgspec.structs.replace(placed.status, nominated_node_name="node-a")
        placed = msgspec.structs.replace(placed, status=status)
        told = publish(placed, {}, condition(placed, Reason.DEVICES_IN_USE, "m", NOW), message_due=False)
        assert told is not None
        assert told.nominated == left
