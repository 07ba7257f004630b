""" "Did you mean": the known name nearest to one that does not exist."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that is most like it, if one is like it at all."""
    found = difflib.get_close_matches(name, sorted(set(known)), n=1, cutoff=0.6)
    return found[0] if found else None


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """To be put behind a sentence; empty if nothing is like it."""
    found = nearest(name, known)
    return "" if found is None or found == name else f'; did you mean "{found}"?'
