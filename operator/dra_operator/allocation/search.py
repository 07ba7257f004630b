"""The search for devices: depth first, over claims, requests, alternatives and devices, in upstream's order.

Each chosen device is taken and the search goes on behind it; when a branch fails it is given back. The first solution
wins. Within a request only ascending positions are tried, so one request never takes a device twice; an alternative of
firstAvailable is tried with everything behind it, but not with other devices before it.

What is open is on a stack of our own: so the search can stop at any step and go on later, and no pod has too many
devices for Python's.

Beyond upstream, without changing any outcome: a request gives up as soon as fewer candidates are left than it still
needs, by number and by its constraints (n+1 of n equal devices cost 2^n steps there), and once a search turns out to be
long, a device like one that failed already is not tried again (`twins.py`), and the requests behind are asked whether
they still have enough before the search goes on.

Invariant: what is taken back was the last that was taken; a search that found nothing leaves nothing taken.

Upstream: `allocateOne` and `allocateDevice` of structured/internal/experimental, which recurse.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Final, TypeAlias

from dra_operator.allocation.candidates import Ask
from dra_operator.allocation.outcome import Abort
from dra_operator.allocation.taking import Taken, Taking
from dra_operator.allocation.twins import Twins
from dra_operator.api.reasons import Reason
from dra_operator.api.resource import ALLOCATION_RESULTS_MAX_SIZE

_LONG: Final = 500
"""Steps after which it pays to find out which devices are alike."""
STEPS_PER_TURN: Final = 16
"""Steps between two moments at which others may have their turn: some tenths of a millisecond."""


class _End(Enum):
    """How a branch ended."""

    FOUND = auto()
    FAILED = auto()
    TOO_MANY = auto()
    """The claim would have more results than it may: abandons the choices of requests before, as upstream."""


_FOUND, _FAILED, _TOO_MANY = _End


@dataclass(slots=True)
class _Device:
    """A request's device number `got` is being chosen."""

    claim: int
    request: int
    ask: Ask
    got: int
    needed: int
    start: int
    """Candidates from this position on are left."""
    taken: Taken | None = None
    twin: object | None = None
    """What the device that is taken, or was tried last, is like."""
    failed: set[object] = field(default_factory=set)
    """What the devices were like that led nowhere."""


@dataclass(slots=True)
class _Alternatives:
    """One after the other of a firstAvailable request is being tried."""

    claim: int
    request: int
    index: int = 0
    too_many: bool = True
    """Whether each so far would have brought the claim too many."""


@dataclass(slots=True)
class _NextClaim:
    """A claim is complete, and those behind it are being searched: too many for one of them is not too many for it."""


_Open: TypeAlias = _Device | _Alternatives | _NextClaim


class Search:
    """One search on one node. `asks`: by claim and request, the alternatives. `budget`: steps before it is given up."""

    def __init__(self, taking: Taking, asks: Sequence[Sequence[Sequence[Ask]]], budget: int) -> None:
        self._taking = taking
        self._asks = asks
        self._budget = budget
        self.steps = 0
        """Devices taken so far, successfully or not."""
        every = [ask for claim in asks for request in claim for ask in request]
        self._may_look_ahead = all(len(request) == 1 for claim in asks for request in claim) and not any(
            ask.alternative.all_devices or ask.candidates.may_fail for ask in every
        )
        """Whether nothing behind a choice can be an error, or another alternative."""
        self._twins: Twins | None = None
        self.taken: list[list[Taken]] = [[] for _ in asks]
        """By claim, in the order of requests."""
        self.picked: dict[tuple[int, int], Ask] = {}
        """The alternative of each request, by claim and request; complete once there is a solution."""
        self._open: list[_Open] = []
        """What is being chosen, the last on top."""

    def run(self) -> Generator[None, None, bool]:
        """Whether there is a solution; `taken` and `picked` then hold it. Raises `Abort`.

        Yields now and then, so that others may have their turn.
        """
        end = self._next_request(0, -1) if self._asks else _FOUND
        turn_ends = STEPS_PER_TURN
        while self._open:
            end = self._try_next() if end is None else self._go_back(end)
            if self.steps >= turn_ends:
                turn_ends = self.steps + STEPS_PER_TURN
                yield
        return end is _FOUND

    # --- forward -----------------------------------------------------------------------------------------------------

    def _next_request(self, claim: int, request: int) -> _End | None:
        """Go on behind the request. Returns how that ended, or None: something is to be chosen."""
        request += 1
        while request == len(self._asks[claim]):
            self._open.append(_NextClaim())
            claim, request = claim + 1, 0
            if claim == len(self._asks):
                return _FOUND
        ask = self._asks[claim][request][0]
        if ask.alternative.subrequest:
            self._open.append(_Alternatives(claim, request))
        else:
            self.picked[claim, request] = ask
        return self._next_device(claim, request, ask, 0, 0)

    def _next_device(self, claim: int, request: int, ask: Ask, got: int, start: int) -> _End | None:
        """Give the request its device number `got` and all that follow; candidates from position `start` on."""
        if ask.alternative.all_devices and not ask.all_:
            return _FAILED
        needed = ask.wanted - got
        if needed <= 0:
            return self._next_request(claim, request)
        if needed > ALLOCATION_RESULTS_MAX_SIZE - len(self.taken[claim]):
            return _TOO_MANY
        self._open.append(_Device(claim, request, ask, got, needed, start))
        return None

    def _try_next(self) -> _End | None:
        """Take the next candidate for what is open last, and go on behind it."""
        chosen = self._open[-1]
        assert isinstance(chosen, _Device)
        ask, claim, must = chosen.ask, chosen.claim, chosen.ask.alternative.all_devices
        position = ask.all_[chosen.got] if must else self._next(ask, chosen.start, chosen.needed, claim)
        if position is None:
            self._open.pop()
            return _FAILED
        chosen.start = position + 1
        chosen.twin = None if self._twins is None or must else self._twins.key(position)
        if chosen.twin is not None and chosen.twin in chosen.failed:
            return None
        self._count_step()
        chosen.taken = self._taking.take(claim, ask.alternative, ask.constraints, position, must=must)
        if chosen.taken is None:
            return _FAILED
        self.taken[claim].append(chosen.taken)
        if self._is_hopeless(claim, chosen.request):
            return _FAILED
        return self._next_device(claim, chosen.request, ask, chosen.got + 1, chosen.start)

    def _count_step(self) -> None:
        self.steps += 1
        if self.steps > self._budget:
            raise Abort(
                Reason.SEARCH_BUDGET_EXCEEDED,
                f"the search was given up after {self._budget} steps; fewer or simpler constraints would help",
            )
        if self.steps == _LONG:
            self._twins = Twins(self._taking, [ask for claim in self._asks for asks in claim for ask in asks])

    # --- back --------------------------------------------------------------------------------------------------------

    def _go_back(self, end: _End) -> _End | None:
        """What follows for what is open last from how the branch behind it ended. None: it goes on there."""
        last = self._open[-1]
        if isinstance(last, _Device):
            return self._go_back_to_device(last, end)
        if isinstance(last, _Alternatives):
            return self._go_back_to_alternatives(last, end)
        self._open.pop()
        return _FAILED if end is _TOO_MANY else end

    def _go_back_to_device(self, chosen: _Device, end: _End) -> _End | None:
        if end is not _FOUND and chosen.taken is not None:
            self.taken[chosen.claim].pop()
            chosen.taken.undo()
        if end is _FAILED and not chosen.ask.alternative.all_devices:
            if chosen.twin is not None:
                chosen.failed.add(chosen.twin)
            return None
        self._open.pop()
        return end

    def _go_back_to_alternatives(self, tried: _Alternatives, end: _End) -> _End | None:
        alternatives = self._asks[tried.claim][tried.request]
        if end is _FOUND:
            self.picked[tried.claim, tried.request] = alternatives[tried.index]
            self._open.pop()
            return end
        tried.too_many &= end is _TOO_MANY
        tried.index += 1
        if tried.index < len(alternatives):
            return self._next_device(tried.claim, tried.request, alternatives[tried.index], 0, 0)
        self._open.pop()
        return _TOO_MANY if tried.too_many else _FAILED

    # --- whether it is worth it --------------------------------------------------------------------------------------

    @staticmethod
    def _next(ask: Ask, start: int, needed: int, claim: int) -> int | None:
        candidates = ask.candidates
        return candidates.next(start, claim) if candidates.has_enough(start, needed, claim, ask.constraints) else None

    def _is_hopeless(self, claim: int, request: int) -> bool:
        """Whether some request behind this one has not enough left."""
        if self.steps < _LONG or not self._may_look_ahead:
            return False
        behind = [(claim, later) for later in range(request + 1, len(self._asks[claim]))]
        behind += [
            (other, later) for other in range(claim + 1, len(self._asks)) for later in range(len(self._asks[other]))
        ]
        for other, later in behind:
            ask = self._asks[other][later][0]
            if not ask.candidates.has_enough(0, ask.wanted, other, ask.constraints):
                return True
        return False
