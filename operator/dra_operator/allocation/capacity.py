"""Consumable capacity: what one share of a device takes, and whether there is that much.

What is consumed of each capacity of a device with `allowMultipleAllocations`, asked for or not: the amount asked for,
rounded up by its `requestPolicy`; without one the policy's default; without a default all of it. An amount against the
policy, or more than is left, means the next device; an amount that cannot be computed, or is negative, ends the
decision.

Amounts are compared in billionths, the finest unit of a quantity.

Upstream: consumable_capacity.go of structured/internal/experimental.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from dra_operator.allocation.outcome import Abort, AllocationError
from dra_operator.api.quantity import Quantity
from dra_operator.api.reasons import Reason
from dra_operator.api.resource import CapacityRequestPolicy, CapacityRequestPolicyRange, DeviceCapacity
from dra_operator.inventory.devices import Device
from dra_operator.inventory.ledger import Amounts

_NANO: Final = -9
_MILLI: Final = -3
_MAX_INT64: Final = (1 << 63) - 1


@dataclass(frozen=True, slots=True)
class Share:
    """What one share of a device takes."""

    consumed: Mapping[str, Quantity]
    amounts: Amounts
    limits: Amounts
    """All that the device has."""

    def fits(self, *taken: Amounts) -> bool:
        """Whether the device has that much left beside what was taken before."""
        amounts = self.amounts
        for name, limit in self.limits.items():
            amount = amounts[name]
            for others in taken:
                amount += others.get(name, 0)
            if amount > limit:
                return False
        return True


_shares: OrderedDict[tuple[int, tuple[tuple[str, Quantity], ...], bool], Share | AllocationError | None] = OrderedDict()
_MAX_SHARES: Final = 10_000


def find_share(device: Device, amounts: tuple[tuple[str, Quantity], ...], *, fractional: bool) -> Share | None:
    """What a share of the device takes, for these requests; None if the device cannot give that, even all free.

    The same for devices of one `capacity_kind`, so it is worked out once. Raises `Abort`.
    """
    key = device.capacity_kind, amounts, fractional
    if key in _shares:
        found = _shares[key]
    else:
        found = _shares[key] = _find_share(device, amounts, fractional=fractional)
        if len(_shares) > _MAX_SHARES:
            _shares.popitem(last=False)
    if isinstance(found, AllocationError):
        raise Abort(found.reason, found.message)
    return found


def _find_share(
    device: Device, amounts: tuple[tuple[str, Quantity], ...], *, fractional: bool
) -> Share | AllocationError | None:
    try:
        consumed = find_consumption(device, dict(amounts), fractional=fractional)
    except Abort as abort:
        return abort.error
    if consumed is None:
        return None
    limits = {name: capacity.value.scaled_value(_NANO) for name, capacity in (device.basic.capacity or {}).items()}
    return Share(consumed, {name: amount.scaled_value(_NANO) for name, amount in consumed.items()}, limits)


def find_consumption(
    device: Device, requests: Mapping[str, Quantity], *, fractional: bool
) -> dict[str, Quantity] | None:
    """What a share of the device takes, by capacity; None if the device cannot give that, even all free.

    `fractional`: the gate of fractional ranges. Raises `Abort`.
    """
    capacities = device.basic.capacity or {}
    if not requests.keys() <= capacities.keys():
        return None
    consumed: dict[str, Quantity] = {}
    for name, capacity in capacities.items():
        amount = _consumed(name, requests.get(name), capacity, fractional=fractional)
        if amount.sign() < 0:
            raise _not_computable(name, f"{amount} is negative")
        consumed[name] = amount
    if any(
        _breaks(consumed[name], capacity.request_policy, fractional=fractional) or consumed[name] > capacity.value
        for name, capacity in capacities.items()
    ):
        return None
    return consumed


def _consumed(name: str, requested: Quantity | None, capacity: DeviceCapacity, *, fractional: bool) -> Quantity:
    policy = capacity.request_policy
    if requested is None:
        return policy.default if policy is not None and policy.default is not None else capacity.value
    if policy is None:
        return requested
    if policy.valid_range is not None and policy.valid_range.min is not None:
        return _round_up(name, requested, policy.valid_range, fractional=fractional)
    return next((value for value in policy.valid_values or () if requested <= value), requested)


def _round_up(name: str, requested: Quantity, range_: CapacityRequestPolicyRange, *, fractional: bool) -> Quantity:
    """The smallest step of the range that is enough; steps count from the minimum."""
    least = range_.min
    if least is None or requested < least:
        return requested if least is None else least
    if range_.step is None:
        return requested
    scale = _scale(range_, fractional=fractional)
    if scale == _MILLI and not _is_whole(requested, _MILLI):
        raise _not_computable(name, f"{requested} is not a whole number of thousandths")
    if scale == 0 and requested > Quantity(_MAX_INT64):
        raise _not_computable(name, f"{requested} is too large")
    start, step = least.scaled_value(scale), range_.step.scaled_value(scale)
    steps = -(-(requested.scaled_value(scale) - start) // step)
    amount = start + steps * step
    if amount > _MAX_INT64:
        raise _not_computable(name, f"{requested}, rounded up to the next step, is too large")
    if scale == _MILLI and amount % 1000 == 0:
        amount, scale = amount // 1000, 0
    return range_.step.rewritten(amount, scale)


def _breaks(amount: Quantity, policy: CapacityRequestPolicy | None, *, fractional: bool) -> bool:
    """Whether the policy forbids the amount. The default itself is always allowed, not just any amount equal to it."""
    if policy is None or (policy.default is not None and amount.is_identical(policy.default)):
        return False
    if policy.valid_range is not None:
        return _is_outside(amount, policy.valid_range, fractional=fractional)
    return bool(policy.valid_values) and amount not in (policy.valid_values or ())


def _is_outside(amount: Quantity, range_: CapacityRequestPolicyRange, *, fractional: bool) -> bool:
    if range_.max is not None and amount > range_.max:
        return True
    if range_.step is None:
        return False
    scale = _scale(range_, fractional=fractional)
    if scale == _MILLI and not _is_whole(amount, _MILLI):
        return True
    start = range_.min.scaled_value(scale) if range_.min is not None else 0
    return (amount.scaled_value(scale) - start) % range_.step.scaled_value(scale) != 0


def _scale(range_: CapacityRequestPolicyRange, *, fractional: bool) -> int:
    """Steps are counted in thousandths if the gate is on and all limits are whole numbers of them, else in units."""
    limits = [limit for limit in (range_.min, range_.max, range_.step) if limit is not None]
    if not fractional or not all(_is_whole(limit, _MILLI) for limit in limits):
        return 0
    return _MILLI if range_.step is not None and range_.step.scaled_value(_MILLI) >= 1 else 0


def _is_whole(quantity: Quantity, scale: int) -> bool:
    """Whether the amount is a whole number of units of that scale, in 64 bits."""
    amount = quantity.scaled_value(scale)
    return abs(amount) <= _MAX_INT64 and Quantity(amount, scale) == quantity


def _not_computable(name: str, why: str) -> Abort:
    return Abort(Reason.REQUEST_INVALID, f'capacity "{name}": {why}')
