"""What a check says: findings, each with an object, what is wrong, why it matters and the cure.

A Problem makes `doctor` end with 1; a Note is something to know (others beside us, a feature that is off). What the
caller may not read is not checked, and said; it never counts as well.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from dra_operator.query.report import Struct

if TYPE_CHECKING:
    from dra_operator.query.doctor.facts import Facts

API_VERSION: Final = "dra-operator.io/v1"
Severity: TypeAlias = Literal["Problem", "Note"]
State: TypeAlias = Literal["Ok", "Problem", "Note", "NotChecked"]


class NotChecked(Exception):
    """The caller may not see what the check is about; the message says what."""


class Finding(Struct, frozen=True, kw_only=True):
    check: str = ""
    severity: Severity
    object: str
    """Kind and name of what it is about."""
    what: str
    why: str
    cure: str


class Examined(Struct, frozen=True, kw_only=True):
    check: str
    title: str
    state: State
    not_checked: str = ""
    """Why it was not, or not wholly, checked."""


class Diagnosis(Struct, frozen=True, kw_only=True):
    api_version: str = API_VERSION
    kind: str = "Diagnosis"
    server: str
    checks: tuple[Examined, ...]
    findings: tuple[Finding, ...]

    @property
    def well(self) -> bool:
        return all(one.severity != "Problem" for one in self.findings)


def problem(about: str, what: str, *, why: str, cure: str) -> Finding:
    return Finding(severity="Problem", object=about, what=what, why=why, cure=cure)


def remark(about: str, what: str, *, why: str, cure: str) -> Finding:
    return Finding(severity="Note", object=about, what=what, why=why, cure=cure)


Examination: TypeAlias = Callable[["Facts"], Awaitable[Iterable[Finding]]]


@dataclass(frozen=True, slots=True)
class Check:
    name: str
    title: str
    """What is well when nothing is found."""
    examine: Examination


CHECKS: Final[dict[str, Check]] = {}
"""By name, in the order in which they are told."""


def check(name: str, title: str) -> Callable[[Examination], Examination]:
    """Register a check."""

    def register(examine: Examination) -> Examination:
        CHECKS[name] = Check(name, title, examine)
        return examine

    return register
