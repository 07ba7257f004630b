"""The GPUs of this machine as a source of devices.

A GPU that is lost keeps its devices, with what was last known of them: they are in use, and the sign that it is lost
is what ends that. One that the driver no longer lists has no devices. A GPU that never told anything is left out.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pynvml
import structlog

from dra_operator.agent import signs
from dra_operator.agent.gpu import Gpu, Naming, as_device
from dra_operator.agent.injection import Injector
from dra_operator.agent.mig import counter_set, counters_left, partition_device, possible_partitions
from dra_operator.agent.nvml.ailments import read_signs
from dra_operator.agent.nvml.facts import SYSFS, DriverVersions, read_gpu, read_versions
from dra_operator.agent.nvml.injection import NvidiaInjector
from dra_operator.agent.nvml.library import GpuLost, Library
from dra_operator.agent.nvml.partitions import Layout, read_layout
from dra_operator.agent.signs import Sign
from dra_operator.agent.sources import NodeDevices, SourceError
from dra_operator.api.resource import BasicDevice, CounterSet

log = structlog.get_logger()

_EVENTS: Final = (
    pynvml.nvmlEventTypeXidCriticalError
    | pynvml.nvmlEventTypeDoubleBitEccError
    | pynvml.nvmlEventTypeGpuUnavailableError
    | pynvml.nvmlEventTypeGpuRecoveryAction
)


@dataclass(frozen=True, slots=True)
class _Known:
    gpu: Gpu
    layout: Layout | None


class NvmlSource:
    """See the module."""

    def __init__(
        self,
        library: Library,
        naming: Naming = Naming.OWN,
        *,
        partition: bool = True,
        sysfs: Path = SYSFS,
    ) -> None:
        self._library = library
        self._naming = naming
        self._partition = partition
        self._made: Callable[[], Collection[str]] = tuple
        self._sysfs = sysfs
        self._known: dict[int, _Known] = {}
        self._silent: set[int] = set()
        self._events: tuple[int, Any] | None = None
        """The event set, and the session that it belongs to."""

    @property
    def injector(self) -> Injector:
        return NvidiaInjector(self._library, self._library.driver_root)

    def attach(self, made: Callable[[], Collection[str]]) -> None:
        self._made = made

    @property
    def incarnation(self) -> object:
        return self._library.incarnation

    def read(self) -> NodeDevices:
        self._library.use(self._learn)
        devices: list[BasicDevice] = []
        counters: list[CounterSet] = []
        for _, known in sorted(self._known.items()):
            gpu, layout = known.gpu, known.layout
            if layout is None:
                devices.append(as_device(gpu, self._naming))
                continue
            created = self._made()
            made = [one for one in layout.made if one.name_on(gpu) not in created]
            taken = [*made, *layout.divided]
            possible = possible_partitions(layout.profiles, taken) if self._partition else []
            devices += [partition_device(gpu, one, self._naming) for one in (*made, *possible)]
            if possible:
                counters.append(counter_set(gpu, counters_left(layout.profiles, taken)))
        return NodeDevices(tuple(devices), tuple(counters))

    def signs(self) -> tuple[Sign, ...]:
        return self._library.use(lambda: tuple(self._all_signs()))

    def wait(self, seconds: float) -> tuple[Sign, ...] | None:
        deadline = time.monotonic() + seconds
        try:
            events = self._library.use(self._event_set)
        except SourceError:
            events = None
        if events is None:
            time.sleep(max(0.0, deadline - time.monotonic()))
            return None
        session, event_set = events
        try:
            with self._library.waiting(session) as there:
                if not there:
                    return None
                event = pynvml.nvmlEventSetWait_v2(event_set, int(seconds * 1000))
        except pynvml.NVMLError as error:
            if error.value == pynvml.NVML_ERROR_TIMEOUT:
                return None
            self._events = None
            time.sleep(max(0.0, deadline - time.monotonic()))
            return ()
        return tuple(self._signs_of(event))

    # --- facts -------------------------------------------------------------------------------------------------------

    def _learn(self) -> None:
        versions = read_versions(self._library)
        count = self._library.must(pynvml.nvmlDeviceGetCount)
        known = {}
        unreadable: list[int] = []
        for index in range(count):
            try:
                known[index] = self._read_gpu(index, versions)
                self._silent.discard(index)
            except (GpuLost, SourceError) as error:
                unreadable.append(index)
                if index not in self._silent:
                    self._silent.add(index)
                    log.error("GPU not readable", index=index, error=str(error), known=index in self._known)
        # Places move up when a driver that was loaded anew leaves a GPU out: nobody is known twice.
        uuids = {one.gpu.uuid for one in known.values()}
        kept = {index: self._known[index] for index in unreadable if index in self._known}
        self._known = known | {index: one for index, one in kept.items() if one.gpu.uuid not in uuids}

    def _read_gpu(self, index: int, versions: DriverVersions) -> _Known:
        handle = self._library.must(pynvml.nvmlDeviceGetHandleByIndex, index)
        gpu = read_gpu(self._library, handle, index, versions, self._sysfs)
        return _Known(gpu, read_layout(self._library, handle))

    # --- health ------------------------------------------------------------------------------------------------------

    def _all_signs(self) -> Iterator[Sign]:
        for index, known in self._known.items():
            uuid = known.gpu.uuid
            try:
                handle = self._library.must(pynvml.nvmlDeviceGetHandleByIndex, index)
                if self._library.must(pynvml.nvmlDeviceGetUUID, handle) == uuid:  # else it moved: read again first
                    yield from read_signs(self._library, handle, uuid)
            except GpuLost:
                yield signs.gpu_lost(uuid)
            except SourceError as error:
                yield signs.unreadable(uuid, str(error))

    def _event_set(self) -> tuple[int, Any]:
        if self._events is not None and self._events[0] == self._library.incarnation:
            return self._events
        events = self._library.must(pynvml.nvmlEventSetCreate)
        for index in range(self._library.must(pynvml.nvmlDeviceGetCount)):
            try:
                handle = self._library.must(pynvml.nvmlDeviceGetHandleByIndex, index)
                supported = self._library.call(pynvml.nvmlDeviceGetSupportedEventTypes, handle) or 0
                if wanted := supported & _EVENTS:
                    self._library.call(pynvml.nvmlDeviceRegisterEvents, handle, wanted, events)
            except GpuLost:
                continue  # the next look says so
        self._events = (self._library.incarnation, events)
        return self._events

    def _signs_of(self, event: Any) -> Iterator[Sign]:
        if event.eventType != pynvml.nvmlEventTypeXidCriticalError:
            return  # looking tells more than the event does
        try:
            uuid = self._library.use(lambda: self._library.call(pynvml.nvmlDeviceGetUUID, event.device))
        except (GpuLost, SourceError):
            return
        sign = None if uuid is None else signs.xid(uuid, event.eventData)
        if sign is not None:
            yield sign
