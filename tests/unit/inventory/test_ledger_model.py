"""The ledger against a model: random histories of watch events, with the answers worked out from the whole history."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from dra_operator.inventory.devices import DeviceId
from dra_operator.inventory.ledger import Ledger
from tests.builders import DRIVER, allocated, claim

NAMES = ("a", "b", "c", "d")
GPUS = ("gpu-0", "gpu-1", "gpu-2")
EVENTS = st.lists(st.tuples(st.sampled_from(NAMES), st.frozensets(st.sampled_from(GPUS), max_size=2)), max_size=25)


@settings(max_examples=150)
@given(EVENTS)
def test_watched_live_a_device_has_one_confirmed_holder_at_most_and_it_was_there_first(
    events: list[tuple[str, frozenset[str]]],
) -> None:
    ledger = Ledger()
    order: dict[str, tuple[int, frozenset[str]]] = {}
    for time, (name, gpus) in enumerate(events):
        bare = claim(name=name)
        ledger.observe(allocated(bare, *sorted(f"node-a/{gpu}" for gpu in gpus)) if gpus else bare, live=True)
        if not gpus:
            order.pop(name, None)
        elif name not in order or order[name][1] != gpus:
            order[name] = (time, gpus)

        for gpu in GPUS:
            holders = {each for each, (_, held) in order.items() if gpu in held}
            device = DeviceId(DRIVER, "node-a", gpu)
            assert ledger.holders(device) == {claim(name=each).uid for each in holders}
            assert sum(ledger.confirmed(claim(name=each).uid) for each in holders) <= 1
        for each, (since, held) in order.items():
            before = {
                claim(name=other).uid for other, (theirs, devices) in order.items() if theirs < since and devices & held
            }
            assert ledger.rivals(claim(name=each).uid) == before
            assert ledger.confirmed(claim(name=each).uid) is (not before)
