"""Random choices of a seed, by the words that the generators use."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any, TypeVar

Json = Any

T = TypeVar("T")


class Dice(random.Random):
    """The same seed gives the same choices, on every machine."""

    def chance(self, probability: float) -> bool:
        return self.random() < probability

    def pick(self, options: Sequence[T]) -> T:
        return options[int(self.random() * len(options))]

    def weighted(self, options: dict[T, float]) -> T:
        return self.choices(list(options), list(options.values()))[0]

    def some(self, options: Sequence[T], fewest: int, most: int) -> list[T]:
        """That many different ones, in the order given."""
        count = min(len(options), self.randint(fewest, most))
        return [options[index] for index in sorted(self.sample(range(len(options)), count))]
