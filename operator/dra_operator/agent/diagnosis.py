"""From signs to a judgement that does not flicker. Pure; the clock is the caller's.

A sign counts after as many looks in a row as it asks for, and until it has not been seen for as long as it lasts. So
a value that sways around its limit makes one change and not one a second.

Invariant: what `observe` returns depends only on the calls so far and their times.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from dra_operator.agent.signs import Severity, Sign


@dataclass(slots=True)
class _Course:
    """How one kind of trouble of one target goes on."""

    sign: Sign
    looks: int
    began: float
    seen: float
    counts: bool = False


@dataclass(frozen=True, slots=True)
class Finding:
    """Trouble that counts, and since when."""

    sign: Sign
    since: float


class Diagnosis:
    """See the module."""

    def __init__(self) -> None:
        self._courses: dict[tuple[str, str], _Course] = {}

    def note(self, now: float, events: Iterable[Sign]) -> None:
        """Something happened between two looks: it counts at once."""
        for event in events:
            course = self._see(now, event)
            course.looks = max(course.looks, event.looks)
            course.counts = True

    def observe(self, now: float, signs: Iterable[Sign]) -> None:
        """One look: these are all the signs that there are now."""
        present = {(sign.target, sign.reason): sign for sign in signs}
        for key, sign in present.items():
            if key not in self._courses and sign.renews:
                continue
            course = self._see(now, sign)
            if not sign.renews:
                course.looks += 1
            course.counts = course.counts or course.looks >= sign.looks
        for key, course in list(self._courses.items()):
            if key not in present and not course.counts:
                del self._courses[key]

    def findings(self, now: float) -> Mapping[str, Finding]:
        """The worst that counts for each target; of equals the oldest."""
        self._courses = {
            key: course
            for key, course in self._courses.items()
            if not course.counts or now - course.seen <= course.sign.lasts
        }
        worst: dict[str, _Course] = {}
        for course in self._courses.values():
            known = worst.get(course.sign.target)
            if course.counts and (known is None or _weight(course) < _weight(known)):
                worst[course.sign.target] = course
        return {target: Finding(course.sign, course.began) for target, course in worst.items()}

    def forget(self, target: str) -> None:
        """The target is as new: it was reset, or its driver was loaded anew."""
        self._courses = {key: course for key, course in self._courses.items() if key[0] != target}

    def _see(self, now: float, sign: Sign) -> _Course:
        key = (sign.target, sign.reason)
        course = self._courses.get(key)
        if course is None:
            course = self._courses[key] = _Course(sign, 0, now, now)
        course.seen = now
        if not sign.renews:
            course.sign = sign
        return course


def _weight(course: _Course) -> tuple[bool, float, str]:
    return course.sign.severity is not Severity.LOST, course.began, course.sign.reason
