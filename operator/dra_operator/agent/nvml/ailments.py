"""What NVML says is wrong with one GPU now. Events are for the moment when it happens (`source.py`)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import pynvml

from dra_operator.agent import signs
from dra_operator.agent.nvml.facts import slowdown_celsius
from dra_operator.agent.nvml.library import Library
from dra_operator.agent.signs import Sign

_THROTTLES: Final = {
    pynvml.nvmlClocksEventReasonHwThermalSlowdown: "heat",
    pynvml.nvmlClocksEventReasonHwPowerBrakeSlowdown: "power brake",
}
"""The software's own reasons (power cap, idle) are how a GPU works, not what ails it."""
_RECOVERIES: Final = {
    pynvml.NVML_GPU_RECOVERY_ACTION_GPU_RESET: "reset the GPU",
    pynvml.NVML_GPU_RECOVERY_ACTION_NODE_REBOOT: "reboot the node",
    pynvml.NVML_GPU_RECOVERY_ACTION_DRAIN_P2P: "drain peer-to-peer traffic",
    pynvml.NVML_GPU_RECOVERY_ACTION_DRAIN_AND_RESET: "drain and reset the GPU",
}


def read_signs(library: Library, handle: Any, uuid: str) -> Iterator[Sign]:
    """Raises GpuLost."""
    call = library.call
    celsius = call(pynvml.nvmlDeviceGetTemperature, handle, pynvml.NVML_TEMPERATURE_GPU)
    limit = slowdown_celsius(library, handle)
    if celsius is not None and limit is not None and (hot := signs.overheated(uuid, celsius, limit)) is not None:
        yield hot
    uncorrected, volatile = pynvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED, pynvml.NVML_VOLATILE_ECC
    if errors := call(pynvml.nvmlDeviceGetTotalEccErrors, handle, uncorrected, volatile):
        yield signs.ecc_uncorrectable(uuid, errors)
    _, _, pending, failed = call(pynvml.nvmlDeviceGetRemappedRows, handle) or (0, 0, 0, 0)
    if failed:
        yield signs.row_remap_failed(uuid)
    elif pending:
        yield signs.row_remap_pending(uuid)
    reasons = call(pynvml.nvmlDeviceGetCurrentClocksEventReasons, handle) or 0
    if why := [name for bit, name in _THROTTLES.items() if reasons & bit]:
        yield signs.throttled_by_hardware(uuid, " and ".join(why))
    for value in call(pynvml.nvmlDeviceGetFieldValues, handle, [pynvml.NVML_FI_DEV_GET_GPU_RECOVERY_ACTION]) or ():
        action = value.value.uiVal if value.nvmlReturn == pynvml.NVML_SUCCESS else 0
        if action != pynvml.NVML_GPU_RECOVERY_ACTION_NONE:
            yield signs.needs_reset(uuid, _RECOVERIES.get(action, f"action {action}"))
