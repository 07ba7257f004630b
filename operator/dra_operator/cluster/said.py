"""What a loop that tries again and again says of it: once, again when it is something else, and every five minutes.

Upstream: none; client-go's reflector repeats itself at the pace of its backoff.
"""

from __future__ import annotations

import asyncio
import math
from typing import Final

AGAIN_SECONDS: Final = 300.0


class Said:
    """One loop's memory of what it has said last."""

    def __init__(self) -> None:
        self._last = ""
        self._at = -math.inf

    def is_news(self, text: str) -> bool:
        """Whether to say it; from then on it is said."""
        now = asyncio.get_running_loop().time()
        if text == self._last and now < self._at + AGAIN_SECONDS:
            return False
        self._last, self._at = text, now
        return True

    def forget(self) -> None:
        """It went well: whatever comes next is news."""
        self._last = ""
