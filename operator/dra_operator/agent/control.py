"""The control file of simulated devices: what is wrong with them, settable while the agent runs.

    driver: away                      # the driver does not answer
    reloads: 1                        # count it up: the driver was loaded anew, old trouble is over
    devices:
      gpu-0: {temperatureCelsius: 95}
      gpu-1: {lost: true}
      gpu-2: {xids: [48]}             # each number that is added is an event
      gpu-3: {eccUncorrectable: 2, rowRemapFailed: true, needsRecovery: gpu reset, slowedDownBy: power brake}
      gpu-4: {mig: true}              # MIG mode of a GPU whose profile lists partitions

A device is a GPU by its name, whose partitions are meant too, or any device that is listed. The file may be absent:
then all is well. One that cannot be read is an error of the source, as a driver that does not answer is.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Literal

import msgspec
import yaml

from dra_operator.agent import signs
from dra_operator.agent.signs import Sign
from dra_operator.agent.sources import SourceError

_POLL_SECONDS: Final = 0.1


class Faults(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """What ails one device."""

    temperature_celsius: int | None = None
    lost: bool = False
    xids: tuple[int, ...] = ()
    ecc_uncorrectable: int = 0
    row_remap_failed: bool = False
    needs_recovery: str = ""
    slowed_down_by: str = ""
    mig: bool | None = None


class Control(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole file."""

    driver: Literal["present", "away"] = "present"
    reloads: int = 0
    devices: dict[str, Faults] = {}


class ControlFile:
    """Reads the file anew on each call. Not thread-safe but for `wait`, which one thread may be in."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._mark = self._stamp()
        self._xids = self._xids_now()

    def read(self) -> Control:
        """Raises SourceError, also where the file says that the driver is away."""
        control = self._parse()
        if control.driver == "away":
            raise SourceError("the driver is away, says the control file")
        return control

    def wait(self, seconds: float, target: Callable[[str], str]) -> tuple[Sign, ...] | None:
        """Blocks until the file changes, and says which Xids came; None if it does not for so long."""
        deadline = time.monotonic() + seconds
        while (mark := self._stamp()) == self._mark:
            left = deadline - time.monotonic()
            if left <= 0:
                return None
            time.sleep(left if self._path is None else min(left, _POLL_SECONDS))
        self._mark = mark
        return tuple(self._new_xids(target))

    def _new_xids(self, target: Callable[[str], str]) -> Iterator[Sign]:
        before, self._xids = self._xids, self._xids_now()
        for device, xids in self._xids.items():
            known = before.get(device, ())
            fresh = xids[len(known) :] if xids[: len(known)] == known else xids
            for number in fresh:
                if (sign := signs.xid(target(device), number)) is not None:
                    yield sign

    def _xids_now(self) -> Mapping[str, tuple[int, ...]]:
        try:
            return {device: faults.xids for device, faults in self._parse().devices.items()}
        except SourceError:
            return {}

    def _parse(self) -> Control:
        if self._path is None:
            return Control()
        try:
            text = self._path.read_text("utf-8")
            content: Any = yaml.safe_load(text)
            return Control() if content is None else msgspec.convert(content, Control)
        except FileNotFoundError:
            return Control()
        except (OSError, ValueError, yaml.YAMLError) as error:
            raise SourceError(f"{self._path}: {error}") from error

    def _stamp(self) -> tuple[int, int, int] | None:
        if self._path is None:
            return None
        try:
            status = self._path.stat()
        except OSError:
            return None
        return status.st_mtime_ns, status.st_ino, status.st_size


def signs_of(faults: Faults, target: str, slowdown_celsius: int) -> Iterator[Sign]:
    """What a source says of a device with these faults."""
    if faults.lost:
        yield signs.gpu_lost(target)
        return
    if faults.temperature_celsius is not None:
        hot = signs.overheated(target, faults.temperature_celsius, slowdown_celsius)
        if hot is not None:
            yield hot
    if faults.ecc_uncorrectable:
        yield signs.ecc_uncorrectable(target, faults.ecc_uncorrectable)
    if faults.row_remap_failed:
        yield signs.row_remap_failed(target)
    if faults.needs_recovery:
        yield signs.needs_reset(target, faults.needs_recovery)
    if faults.slowed_down_by:
        yield signs.throttled_by_hardware(target, faults.slowed_down_by)
