"""Whether a loop that should take what waits for it does so: a liveness probe asks, and ends a process that hangs.

Nothing runs for it. Each question compares with the one before: as long as something is due and nothing was taken
since, time counts. So a process that is suspended, or starved of its CPU, is not taken for stuck when it goes on.

Not here: a blocked event loop, which answers no probe at all.

Upstream: `healthz.PingHealthz` of apiserver only answers; controller-runtime leaves it to the user.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

PATIENCE_SECONDS: Final = 30.0
"""Longer than any decision may take: a search has a budget of steps."""
_GAP_SECONDS: Final = 15.0
"""What counts at most between two questions: in a longer one, nobody was asked because nobody ran."""


@dataclass(slots=True)
class Progress:
    """`taken` counts what the loop has taken so far, `due` what it could take now."""

    taken: Callable[[], int]
    due: Callable[[], int]
    now: Callable[[], float]
    """Seconds, monotonic."""
    _taken: int = -1
    _asked: float = 0.0
    _seconds: float = 0.0
    """For which nothing was taken although something was due."""

    def stuck(self) -> str | None:
        """What is wrong, if something is."""
        taken, due, now = self.taken(), self.due(), self.now()
        passed, self._asked = min(now - self._asked, _GAP_SECONDS), now
        if taken != self._taken or not due:
            self._taken, self._seconds = taken, 0.0
            return None
        self._seconds += passed
        if self._seconds < PATIENCE_SECONDS:
            return None
        return f"the loop of decisions has taken nothing for {self._seconds:.0f} s, and {due} wait for it"
