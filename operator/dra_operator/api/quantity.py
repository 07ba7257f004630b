"""Kubernetes quantities: exact amounts such as `40Gi`, `1500m` or `1e3`.

A quantity is `unscaled x 10**scale`, never a float. Parsing rounds away from zero at nano, as the API server does;
arithmetic and comparison are exact. Equal amounts are equal and hash alike, whatever they were written as.

Upstream: `k8s.io/apimachinery/pkg/api/resource`. Two of its habits are kept because users can see them: `is_integer()`
is false for amounts that upstream holds as a decimal (`1.0`, `1Pi`), and adding to zero takes the other's notation.
Two are not: `str()` always gives the canonical form (upstream remembers spellings like `1.500`), and amounts beyond the
suffix E keep their digits (upstream prints 10^21 as `1`). Where upstream compares quantities as structs, what it
remembers counts: that is `is_identical()`. Where upstream prints it, that is `as_written()`.
"""

from __future__ import annotations

import re
from enum import Enum
from functools import lru_cache
from typing import Final

# Nothing is tried twice (`*+`): a long number that ends in garbage would take for ever.
_PATTERN: Final = re.compile(r"([+-]?)0*+([0-9]*+)(\.?)([0-9]*+)([eEinumkKMGTP]*+[-+]?[0-9]*+)")
_COMMON: Final = re.compile(r"([1-9][0-9]{0,3})(|m|k|M|G|Ki|Mi|Gi)")
_FORMAT_ERROR: Final = (
    "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"  # the API's words
)
_NUMERIC_ERROR: Final = "unable to parse numeric part of quantity"
_SUFFIX_ERROR: Final = "unable to parse quantity's suffix"

_CONVERTED: Final = 4_000  # digits that Python converts at once
_MAX_INT64: Final = (1 << 63) - 1
_MIN_INT64: Final = -(1 << 63)
_INT64_DIGITS: Final = 18
_NANO: Final = -9
_EXA: Final = 18
_ABSURD_EXPONENT: Final = 400  # bounds the work that a hostile `1e2000000000` can cause


class QuantityError(ValueError):
    """The text is not a quantity. The message is the API server's."""


class Notation(Enum):
    """How an amount is written: the suffix family it was parsed with."""

    BINARY = "BinarySI"
    DECIMAL = "DecimalSI"
    EXPONENT = "DecimalExponent"


_DECIMAL_SUFFIXES: Final = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY_SUFFIXES: Final = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}
_DECIMAL_BY_SCALE: Final = {scale: suffix for suffix, scale in _DECIMAL_SUFFIXES.items()}
_BINARY_BY_STEP: Final = {bits // 10: suffix for suffix, bits in _BINARY_SUFFIXES.items()} | {0: ""}


class Quantity:
    """An immutable exact amount."""

    __slots__ = ("_hash", "_notation", "_scale", "_spelling", "_unscaled", "_wide")

    _unscaled: int
    _scale: int
    _notation: Notation
    _wide: bool  # upstream would hold this amount as an arbitrary-precision decimal
    _spelling: str  # the text that upstream would remember, of some of those that it parses
    _hash: int | None

    def __init__(
        self,
        unscaled: int = 0,
        scale: int = 0,
        notation: Notation = Notation.DECIMAL,
        *,
        wide: bool = False,
        spelling: str = "",
    ) -> None:
        set_ = object.__setattr__
        set_(self, "_unscaled", unscaled)
        set_(self, "_scale", scale)
        set_(self, "_notation", notation)
        set_(self, "_wide", wide)
        set_(self, "_spelling", spelling)
        set_(self, "_hash", None)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"Quantity is immutable: cannot set {name}")

    @classmethod
    def from_json(cls, value: str | int | float) -> Quantity:
        """The quantity that a JSON string or number means: like `parse`, but blanks around it are forgiven."""
        return cls.parse(value.strip() if isinstance(value, str) else value)

    @classmethod
    def parse(cls, value: str | int | float) -> Quantity:
        """The quantity that a text or a number means."""
        if isinstance(value, str):
            return _parse(value)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise QuantityError(_FORMAT_ERROR)
        if isinstance(value, int) and _MIN_INT64 <= value <= _MAX_INT64:
            return cls(value)
        return _parse(str(value))

    def value(self) -> int:
        """The amount in whole units, rounded away from zero."""
        return self.scaled_value(0)

    def milli_value(self) -> int:
        """The amount in thousandths, rounded away from zero."""
        return self.scaled_value(-3)

    def scaled_value(self, scale: int) -> int:
        """The amount in units of `10**scale`, rounded away from zero. Absurd exponents saturate."""
        shift = min(self._scale - scale, _ABSURD_EXPONENT)
        return self._unscaled * 10**shift if shift >= 0 else _divide_away_from_zero(self._unscaled, -shift)

    def decimal(self) -> tuple[int, int]:
        """Unscaled number and decimal exponent, as the amount was written: `1` and `1000m` are two different pairs."""
        return self._unscaled, self._scale

    def as_written(self) -> str:
        """The amount as the API server prints it: as it was written, where it takes that for canonical (`1.500`)."""
        return self._spelling or str(self)

    def is_integer(self) -> bool:
        """Whether upstream would give this amount as an int64."""
        return self.as_int64() is not None

    def as_int64(self) -> int | None:
        """The amount as an int64, or None where upstream does not convert it."""
        if self._wide or self._scale < 0:
            return None
        if self._scale > _INT64_DIGITS and self._unscaled:
            return None
        amount = self._unscaled * 10**self._scale if self._unscaled else 0
        return amount if _MIN_INT64 <= amount <= _MAX_INT64 else None

    def approximate(self) -> float:
        """The nearest double, or nearly so, or an infinity."""
        if not self._unscaled:
            return 0.0
        unscaled, scale = self._unscaled, self._scale
        if self._wide and _NANO < scale < _ABSURD_EXPONENT:
            # Upstream holds such an amount in billionths, and multiplies: that may give the double beside the nearest.
            unscaled, scale = unscaled * 10 ** (scale - _NANO), _NANO
        try:
            return float(unscaled) * float(f"1e{scale}")
        except OverflowError:
            return float(f"{_digits(self._unscaled)}e{self._scale}")

    def sign(self) -> int:
        return (self._unscaled > 0) - (self._unscaled < 0)

    def compare(self, other: Quantity) -> int:
        """-1, 0 or 1, as this amount is less than, equal to or greater than `other`."""
        mine, theirs = self._unscaled, other._unscaled
        if self._scale != other._scale:
            mine, theirs = _aligned(self, other)
        return (mine > theirs) - (mine < theirs)

    @property
    def identity(self) -> str:
        """What tells it from every quantity that anything could tell it from, equal ones included."""
        return f"{self._unscaled} {self._scale} {self._notation.name} {self._wide} {self._spelling}"

    def is_identical(self, other: Quantity) -> bool:
        """Whether upstream's `==` holds between a copy of one and the other: not for all equal amounts, no decimals."""
        return (
            (self._unscaled, self._scale, self._notation, self._spelling)
            == (other._unscaled, other._scale, other._notation, other._spelling)
            and not self._wide
            and not other._wide
        )

    def rewritten(self, unscaled: int, scale: int) -> Quantity:
        """Another amount in the notation of this one."""
        return Quantity(unscaled, scale, self._notation)

    def add(self, other: Quantity) -> Quantity:
        notation = other._notation if not self._unscaled else self._notation
        return self._plus(other, other._unscaled, notation)

    def sub(self, other: Quantity) -> Quantity:
        """The difference. That to the least int64 wraps where upstream's does: its negation is itself there."""
        notation = other._notation if not self._unscaled else self._notation
        if other._unscaled == _MIN_INT64 and not self._wide and not other._wide:
            wrapped = self._plus(other, _MIN_INT64, notation)
            if not wrapped._wide:
                return wrapped
        return self._plus(other, -other._unscaled, notation)

    def _plus(self, other: Quantity, unscaled: int, notation: Notation) -> Quantity:
        wide = self._wide or other._wide
        if not unscaled:
            return Quantity(self._unscaled, self._scale, notation, wide=wide)
        if not self._unscaled:
            return Quantity(unscaled, other._scale, notation, wide=wide)
        scale = min(self._scale, other._scale)
        if max(self._scale, other._scale) - scale > _ABSURD_EXPONENT:
            raise QuantityError("the exponents of the quantities are too far apart to add")
        total = self._unscaled * 10 ** (self._scale - scale) + unscaled * 10 ** (other._scale - scale)
        return Quantity(total, scale, notation, wide=wide or not _MIN_INT64 <= total <= _MAX_INT64)

    def __add__(self, other: Quantity) -> Quantity:
        return self.add(other)

    def __sub__(self, other: Quantity) -> Quantity:
        return self.sub(other)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Quantity) and self.compare(other) == 0

    def __lt__(self, other: Quantity) -> bool:
        return self.compare(other) < 0

    def __le__(self, other: Quantity) -> bool:
        return self.compare(other) <= 0

    def __gt__(self, other: Quantity) -> bool:
        return self.compare(other) > 0

    def __ge__(self, other: Quantity) -> bool:
        return self.compare(other) >= 0

    def __hash__(self) -> int:
        known = self._hash
        if known is None:
            known = hash(_without_tens(self._unscaled, self._scale))
            object.__setattr__(self, "_hash", known)
        return known

    def __bool__(self) -> bool:
        return self._unscaled != 0

    def __str__(self) -> str:
        if not self._unscaled:
            return "0"
        if self._notation is Notation.BINARY and (abs(self._unscaled) >= 1024 or self._scale > 0):
            unscaled, scale = _without_tens(self._unscaled, self._scale)
            whole = unscaled * 10**scale if scale >= 0 else 0
            if abs(whole) >= 1024:
                return _binary_text(whole)
        return _decimal_text(self._unscaled, self._scale, self._notation)

    def __repr__(self) -> str:
        return f"Quantity.parse({str(self)!r})"

    def __reduce__(self) -> tuple[type[Quantity], tuple[int, int, Notation]]:
        return (Quantity, (self._unscaled, self._scale, self._notation))


@lru_cache(maxsize=4096)  # few distinct amounts fill a cluster; the values are immutable
def _parse(text: str) -> Quantity:
    common = _COMMON.fullmatch(text)
    if common is not None:
        number, suffix = common.groups()
        bits = _BINARY_SUFFIXES.get(suffix)
        if bits is None:
            spelling = "" if number.endswith("000") else text
            return Quantity(int(number), _DECIMAL_SUFFIXES[suffix], spelling=spelling)
        return Quantity(int(number) << bits, 0, Notation.BINARY, spelling=text if int(number) % 8 else "")
    match = _PATTERN.fullmatch(text) if text else None
    if match is None or (match[4] and not match[3]):
        raise QuantityError(_FORMAT_ERROR)
    sign, whole, _, fraction, suffix = match.groups()
    bits, exponent, notation = _interpret(suffix)
    whole = whole or "0"
    unscaled = _integer(whole + fraction) << bits
    scale = exponent - len(fraction)
    if _fits_upstreams_fast_path(whole, fraction, bits, scale, unscaled):
        spelling = text if _is_remembered(text, whole + fraction, bits, scale) else ""
        return Quantity(-unscaled if sign == "-" else unscaled, scale, notation, spelling=spelling)
    if not any(character.isdigit() for character in match.string[: match.start(5)]):
        raise QuantityError(_NUMERIC_ERROR)
    if scale < _NANO:
        unscaled, scale = _divide_away_from_zero(unscaled, _NANO - scale), _NANO
    amount = Quantity(unscaled, scale, notation, wide=True)
    if notation is Notation.BINARY:
        if amount > _LARGEST_BINARY:
            amount = Quantity(_MAX_INT64, 0, notation, wide=True)
        elif Quantity() < amount < _ONE:
            amount = Quantity(unscaled, scale, Notation.DECIMAL, wide=True)
    return Quantity(-amount._unscaled, amount._scale, amount._notation, wide=True) if sign == "-" else amount


def _interpret(suffix: str) -> tuple[int, int, Notation]:
    """What a suffix means: bits to shift, decimal exponent, notation."""
    if suffix in _DECIMAL_SUFFIXES:
        return 0, _DECIMAL_SUFFIXES[suffix], Notation.DECIMAL
    if suffix in _BINARY_SUFFIXES:
        return _BINARY_SUFFIXES[suffix], 0, Notation.BINARY
    if suffix[0] in "eE" and len(suffix) < 24:
        try:
            exponent = int(suffix[1:])
        except ValueError:
            raise QuantityError(_SUFFIX_ERROR) from None
        if _MIN_INT64 <= exponent <= _MAX_INT64:
            return 0, (exponent + (1 << 31)) % (1 << 32) - (1 << 31), Notation.EXPONENT  # Go truncates to int32
    raise QuantityError(_SUFFIX_ERROR)


def _fits_upstreams_fast_path(whole: str, fraction: str, bits: int, scale: int, unscaled: int) -> bool:
    if bits:
        room = 15 - len(whole) - bits * 3 // 10 - 1 if not fraction else -1
    else:
        room = _INT64_DIGITS - len(whole) - len(fraction)
    return room >= 0 and scale >= _NANO and unscaled <= _MAX_INT64


def _is_remembered(text: str, digits: str, bits: int, scale: int) -> bool:
    """Whether upstream takes the text for the canonical one. It looks at little, so it errs both ways."""
    if bits:
        return int(digits) % 8 != 0
    return text == "0" or (scale % 3 == 0 and not digits.endswith("000") and digits[0] != "0")


def _divide_away_from_zero(number: int, tens: int) -> int:
    magnitude = abs(number)
    # 10**tens may be astronomically large: compare digits first (3.3 bits a digit).
    quotient = 1 if tens * 3 > magnitude.bit_length() + 3 else -(-magnitude // 10**tens)
    if not number:
        return 0
    return quotient if number > 0 else -quotient


def _aligned(a: Quantity, b: Quantity) -> tuple[int, int]:
    """Two integers that compare like the amounts. Exponents may be huge, so magnitudes are compared by digits first."""
    mine, theirs = a._unscaled, b._unscaled
    if not mine or not theirs or (mine < 0) != (theirs < 0):
        return mine, theirs
    my_digits = len(_digits(abs(mine))) + a._scale
    their_digits = len(_digits(abs(theirs))) + b._scale
    if my_digits != their_digits:
        direction = 1 if mine > 0 else -1
        return my_digits * direction, their_digits * direction
    scale = min(a._scale, b._scale)
    return mine * 10 ** (a._scale - scale), theirs * 10 ** (b._scale - scale)


def _without_tens(unscaled: int, scale: int) -> tuple[int, int]:
    if not unscaled:
        return 0, 0
    while unscaled % 10 == 0:
        unscaled //= 10
        scale += 1
    return unscaled, scale


def _binary_text(whole: int) -> str:
    step = 0
    while step < 6 and whole % 1024 == 0:
        whole //= 1024
        step += 1
    return f"{_digits(whole)}{_BINARY_BY_STEP[step]}"


def _decimal_text(unscaled: int, scale: int, notation: Notation) -> str:
    unscaled, scale = _without_tens(unscaled, scale)
    multiple = scale - scale % 3
    if notation is Notation.EXPONENT:
        suffix = f"e{multiple}" if multiple else ""
    else:
        multiple = min(multiple, _EXA)
        suffix = _DECIMAL_BY_SCALE[multiple]
    return f"{_digits(unscaled * 10 ** (scale - multiple))}{suffix}"


def _integer(digits: str) -> int:
    """`int(digits)`, for any number of them: Python converts only so many at once."""
    if len(digits) <= _CONVERTED:
        return int(digits)
    number = 0
    for start in range(0, len(digits), _CONVERTED):
        part = digits[start : start + _CONVERTED]
        number = number * 10 ** len(part) + int(part)
    return number


def _digits(number: int) -> str:
    """`str(number)`, for any number."""
    if number.bit_length() <= 3 * _CONVERTED:
        return str(number)
    parts: list[str] = []
    rest = abs(number)
    while rest.bit_length() > 3 * _CONVERTED:
        rest, part = divmod(rest, 10**_CONVERTED)
        parts.append(str(part).zfill(_CONVERTED))
    return ("-" if number < 0 else "") + (str(rest) + "".join(reversed(parts))).lstrip("0")


_ONE: Final = Quantity(1)
_LARGEST_BINARY: Final = Quantity(_MAX_INT64)
