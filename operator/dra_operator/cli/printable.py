"""Text of others on its way to a terminal: names, attribute values, errors.

Whoever may publish a slice or write a claim chooses some of the text that an administrator reads, in a table or a log.
An escape sequence in it could overwrite or hide what stands there, a line break could pass for a line of ours. What
cannot be seen is printed as Python writes it: `\\x1b[31m`, `\\n`, `\\u202e`.

Upstream: kubectl escapes its tables so (CVE-2021-25743).
"""

from __future__ import annotations


def printable(text: str) -> str:
    """The text in one line. Only a space separates; nothing turns the direction of reading or moves the cursor."""
    return text if text.isprintable() else "".join(map(_shown, text))


def printable_lines(text: str) -> str:
    """The same for text of several lines. All but the first are indented, so that none is taken for one of ours."""
    return "\n  ".join(printable(line) for line in text.split("\n"))


def _shown(character: str) -> str:
    return character if character.isprintable() else repr(character)[1:-1]
