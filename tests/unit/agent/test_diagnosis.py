"""From signs to a judgement: trouble counts when it is sure, and is over when it has been away for a while."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dra_operator.agent import signs
from dra_operator.agent.diagnosis import Diagnosis
from dra_operator.agent.signs import SETTLED_SECONDS, XID_SECONDS, Severity, Sign

GPU = "GPU-1"
LIMIT = 90


def heat(celsius: int) -> list[Sign]:
    sign = signs.overheated(GPU, celsius, LIMIT)
    return [] if sign is None else [sign]


def reason(diagnosis: Diagnosis, now: float) -> str | None:
    finding = diagnosis.findings(now).get(GPU)
    return None if finding is None else finding.sign.reason


def test_one_look_at_a_hot_gpu_proves_nothing_the_second_does() -> None:
    diagnosis = Diagnosis()
    diagnosis.observe(0, heat(95))
    assert reason(diagnosis, 0) is None
    diagnosis.observe(5, heat(95))
    assert reason(diagnosis, 5) == "overheated"


def test_two_looks_with_a_cool_one_between_do_not_add_up() -> None:
    diagnosis = Diagnosis()
    for now, celsius in enumerate((95, 60, 95, 60, 95)):
        diagnosis.observe(now, heat(celsius))
        assert reason(diagnosis, now) is None


def test_a_gpu_that_sways_around_its_limit_stays_judged() -> None:
    diagnosis = Diagnosis()
    for now in range(0, 600, 5):
        diagnosis.observe(now, heat(91 if now % 10 else 86))
        diagnosis.observe(now + 1, heat(91 if now % 10 else 86))
        if now >= 5:
            assert reason(diagnosis, now + 1) == "overheated"


def test_just_below_the_limit_nothing_begins() -> None:
    diagnosis = Diagnosis()
    for now in range(10):
        diagnosis.observe(now, heat(89))
        assert reason(diagnosis, now) is None


def test_trouble_that_is_gone_counts_until_it_has_been_away_long_enough() -> None:
    diagnosis = Diagnosis()
    diagnosis.observe(0, [signs.ecc_uncorrectable(GPU, 1)])
    assert reason(diagnosis, 0) == "ecc-uncorrectable"

    diagnosis.observe(1, [])
    assert reason(diagnosis, SETTLED_SECONDS) == "ecc-uncorrectable"
    assert reason(diagnosis, SETTLED_SECONDS + 1) is None


def test_an_xid_counts_at_once_and_for_its_time() -> None:
    diagnosis = Diagnosis()
    sign = signs.xid(GPU, 48)
    assert sign is not None
    diagnosis.note(0, [sign])
    diagnosis.observe(0, [])
    assert reason(diagnosis, XID_SECONDS) == "xid-48"
    assert reason(diagnosis, XID_SECONDS + 1) is None


def test_an_xid_of_a_faulty_program_is_no_trouble_of_the_gpu() -> None:
    assert [signs.xid(GPU, number) for number in (13, 31, 43, 45, 68, 109)] == [None] * 6


def test_the_worst_is_what_is_told_and_of_equals_the_oldest() -> None:
    diagnosis = Diagnosis()
    diagnosis.observe(0, [signs.ecc_uncorrectable(GPU, 1)])
    diagnosis.observe(1, [signs.ecc_uncorrectable(GPU, 1), signs.row_remap_failed(GPU)])
    assert reason(diagnosis, 1) == "ecc-uncorrectable"

    diagnosis.observe(2, [signs.ecc_uncorrectable(GPU, 1), signs.gpu_lost(GPU)])
    finding = diagnosis.findings(2)[GPU]
    assert (finding.sign.reason, finding.sign.severity, finding.since) == ("gpu-lost", Severity.LOST, 2)


@given(st.lists(st.integers(min_value=60, max_value=110), max_size=60))
def test_no_judgement_changes_more_often_than_its_time_allows(course: list[int]) -> None:
    diagnosis = Diagnosis()
    changes: list[float] = []
    before = None
    for index, celsius in enumerate(course):
        now = index * 5.0
        diagnosis.observe(now, heat(celsius))
        if (current := reason(diagnosis, now)) != before:
            changes.append(now)
            before = current
    ends = changes[1::2]
    assert all(end - begin > SETTLED_SECONDS for begin, end in zip(changes[::2], ends, strict=False))
