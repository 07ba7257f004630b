""" "Did you mean": the known name nearest to one that does not exist."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that is most like it, if one is like it at all."""
    found = difflib.get_close_matches(name, sorted(set(known)), n=1, cutoff=0.6)
    return found[0] if found else None


def nearest_part(name: str, known: Iterable[str]) -> str | None:
    """The nearest where names may have a domain before a slash, by what stands behind it; upper case is no matter."""
    wanted = _last_part(name)
    there = {_last_part(one): one for one in sorted(set(known), reverse=True)}
    begun = [last for last in sorted(there) if last.startswith(wanted) or wanted.startswith(last)]
    last = wanted if wanted in there else next(iter(begun), None) or nearest(wanted, there)
    return None if last is None else there[last]


def _last_part(name: str) -> str:
    return name.rpartition("/")[2].lower()


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """To be put behind a sentence; empty if nothing is like it."""
    found = nearest(name, known)
    return "" if found is None or found == name else f'; did you mean "{found}"?'
