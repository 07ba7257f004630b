"""The search for devices: depth first, over claims, requests, alternatives and devices, in upstream's order.

Each chosen device is taken and the search goes on behind it; when a branch fails it is given back. The first solution
wins. Within a request only ascending positions are tried, so one request never takes a device twice; an alternative of
firstAvailable is tried with everything behind it, but not with other devices before it.

Beyond upstream, without changing any outcome: a request gives up as soon as fewer candidates are left than it still
needs, by number and by its constraints (n+1 of n equal devices cost 2^n steps there), and once a search turns out to be
long, a device like one that failed already is not tried again (`twins.py`), and the requests behind are asked whether
they still have enough before the search goes on.

Invariant: a call that returns False left what is taken as it was.

Upstream: `allocateOne` and `allocateDevice` of structured/internal/experimental.
"""

from __future__ import annotations

from collections.abc import Sequence

from dra_operator.allocation.candidates import Ask
from dra_operator.allocation.outcome import Abort
from dra_operator.allocation.taking import Taken, Taking
from dra_operator.allocation.twins import Twins
from dra_operator.api.reasons import Reason
from dra_operator.api.resource import ALLOCATION_RESULTS_MAX_SIZE
from dra_operator.cel.nesting import room_to_recurse

_LONG = 500
"""Steps after which it pays to find out which devices are alike."""


class _TooManyDevicesError(Exception):
    """The claim would have more results than it may: abandons the choices of requests before, as upstream."""


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
        """The alternative of each request, by claim and request; complete once `run` returned True."""

    def run(self) -> bool:
        """Whether there is a solution; `taken` and `picked` then hold it. Raises `Abort`."""
        with room_to_recurse():  # a claim has 32 devices at most, but a pod has no limit
            try:
                return self._claim(0)
            except _TooManyDevicesError:
                return False

    def _claim(self, claim: int) -> bool:
        return claim == len(self._asks) or self._request(claim, 0)

    def _request(self, claim: int, request: int) -> bool:
        if request == len(self._asks[claim]):
            try:
                return self._claim(claim + 1)
            except _TooManyDevicesError:
                return False
        alternatives = self._asks[claim][request]
        if not alternatives[0].alternative.subrequest:
            self.picked[claim, request] = alternatives[0]
            return self._devices(claim, request, alternatives[0], 0, 0)
        too_many = True
        for ask in alternatives:
            try:
                if self._devices(claim, request, ask, 0, 0):
                    self.picked[claim, request] = ask
                    return True
            except _TooManyDevicesError:
                continue
            too_many = False
        if too_many:
            raise _TooManyDevicesError
        return False

    def _devices(self, claim: int, request: int, ask: Ask, got: int, start: int) -> bool:
        """Give the request its device number `got` and all that follow; candidates from position `start` on."""
        if ask.alternative.all_devices and not ask.all_:
            return False
        needed = ask.wanted - got
        if needed <= 0:
            return self._request(claim, request + 1)
        if needed > ALLOCATION_RESULTS_MAX_SIZE - len(self.taken[claim]):
            raise _TooManyDevicesError
        if ask.alternative.all_devices:
            return self._try(claim, request, ask, ask.all_[got], got, 0, must=True)
        failed: set[object] = set()
        position = self._next(ask, start, needed, claim)
        while position is not None:
            twin = None if self._twins is None else self._twins.key(position)
            if twin is None or twin not in failed:
                if self._try(claim, request, ask, position, got, position + 1, must=False):
                    return True
                failed.add(twin)
            position = self._next(ask, position + 1, needed, claim)
        return False

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

    def _try(self, claim: int, request: int, ask: Ask, position: int, got: int, then: int, *, must: bool) -> bool:
        """Take the device and go on behind it; give it back if that leads nowhere."""
        self.steps += 1
        if self.steps > self._budget:
            raise Abort(
                Reason.SEARCH_BUDGET_EXCEEDED,
                f"the search was given up after {self._budget} steps; fewer or simpler constraints would help",
            )
        if self.steps == _LONG:
            self._twins = Twins(self._taking, [ask for claim in self._asks for asks in claim for ask in asks])
        taken = self._taking.take(claim, ask.alternative, ask.constraints, position, must=must)
        if taken is None:
            return False
        results = self.taken[claim]
        results.append(taken)
        done = False
        try:
            done = not self._is_hopeless(claim, request) and self._devices(claim, request, ask, got + 1, then)
        finally:
            if not done:
                results.pop()
                taken.undo()
        return done
