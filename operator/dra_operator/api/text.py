"""Texts that others have written, as much of them as there is room for."""

from __future__ import annotations

from typing import Final

_ELLIPSIS: Final = "…"


def cut(text: str, limit: int) -> str:
    """The text in `limit` bytes of UTF-8, an ellipsis for what had to go."""
    whole = text.encode(errors="replace")
    if len(whole) <= limit:
        return text
    return whole[: limit - len(_ELLIPSIS.encode())].decode(errors="ignore") + _ELLIPSIS
