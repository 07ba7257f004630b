"""A creation that the API server refused (a quota, a webhook): it is not tried again at once."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Refusal:
    """What the API server said to a write, and from when to when (caller's clock) it is not repeated."""

    message: str
    since: float
    until: float

    def holds(self, now: float) -> bool:
        """Whether it is too early to try again. A clock that was set back does not make it longer."""
        return self.since <= now < self.until
