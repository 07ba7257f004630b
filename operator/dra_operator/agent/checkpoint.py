"""What is prepared on this node, on disk: the one file that an agent knows its claims by after a restart.

A claim is `started` before anything of it is made and while it is taken back, and `completed` when all of it is there,
the CDI spec included. A claim that is only started was never answered for: whatever there is of it is taken back.

The file has two slots, a line each, filled up with blanks. Each holds everything: the version, a number, the checksum
of the content, the content. The higher number counts, and the next write goes into the other slot: the state before is
whole until the state after is, and neither a file nor a block comes or goes. That is what makes it fast: a file that is
renamed into its place costs two commits of the file system's journal, where others wait in line, and a flush in place
none. Only a new or a longer file is written beside its place, flushed, and renamed into it.

A file that cannot be read, or that a newer agent has written, is moved aside (`checkpoint.json.corrupt`, `.newer`) and
not lost. The content holds the boot that it is of: after another boot no container is left, and nothing is prepared.

Not here: who decides on claims (`preparation.py`); how a lost file is made up for (`cdi.py` keeps a copy in each spec).
"""

from __future__ import annotations

import hashlib
from contextlib import suppress
from pathlib import Path
from typing import Final, Literal, TypeAlias

import msgspec

from dra_operator.agent.allocated import AllocatedDevice
from dra_operator.agent.disk import Disk
from dra_operator.agent.edits import ContainerEdits
from dra_operator.api.codec import decode, encode
from dra_operator.api.meta import Struct, Uid

FILE_NAME: Final = "checkpoint.json"
VERSION: Final = 2
_SLOT_BYTES: Final = 32 * 1024
"""Of a new file: some fifty claims. One that needs more gets slots of twice the size."""

STARTED: Final = "started"
COMPLETED: Final = "completed"
_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")


class PreparedDevice(Struct, frozen=True, kw_only=True):
    allocated: AllocatedDevice
    cdi_name: str
    """Its name in the claim's CDI spec."""
    made: bool = False
    """It is there for this claim only, and goes with it: a partition of a GPU."""
    edits: ContainerEdits = ContainerEdits()


class PreparedClaim(Struct, frozen=True, kw_only=True):
    uid: Uid
    namespace: str
    name: str
    state: Literal["started", "completed"]
    devices: tuple[PreparedDevice, ...]

    @property
    def allocated(self) -> tuple[AllocatedDevice, ...]:
        return tuple(device.allocated for device in self.devices)


Claims: TypeAlias = dict[Uid, PreparedClaim]


class Checkpoint(Struct, frozen=True, kw_only=True):
    boot_id: str
    claims: tuple[PreparedClaim, ...] = ()


class _Slot(Struct, frozen=True, kw_only=True):
    version: int
    number: int = 0
    checksum: str = ""
    content: msgspec.Raw = msgspec.Raw(b"null")


class CheckpointError(Exception):
    """The file is there and of no use. `kind` is what it is called when it is moved aside."""

    def __init__(self, kind: Literal["corrupt", "newer"], why: str) -> None:
        super().__init__(why)
        self.kind: Final = kind


class CheckpointFile:
    """See the module. Of one writer at a time."""

    def __init__(self, disk: Disk, path: Path) -> None:
        self.path: Final = path
        self._disk = disk
        self._known = b""
        """The file as it was read or written last; empty if that is not known."""
        self._number = 0

    def is_known(self) -> bool:
        """Whether the file is as it was read or written last. Raises OSError."""
        return bool(self._known) and self._bytes() == self._known

    def read(self) -> Checkpoint | None:
        """None where there is none. Raises CheckpointError, or OSError."""
        self._known = b""
        data = self._bytes()
        if data is None:
            return None
        newest = max(_slots(self.path, data), key=lambda slot: slot.number)
        try:
            checkpoint = decode(newest.content, Checkpoint)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise CheckpointError("corrupt", f"{self.path} cannot be read: {error}") from error
        self._known, self._number = data, newest.number
        return checkpoint

    def write(self, checkpoint: Checkpoint, *, durable: bool = True) -> None:
        """Raises OSError; the state before is then what counts."""
        content, self._number = encode(checkpoint), self._number + 1
        line = encode(
            _Slot(version=VERSION, number=self._number, checksum=_checksum(content), content=msgspec.Raw(content))
        )
        size = len(self._known) // 2
        if len(line) < size:
            self._overwrite(line, size, durable=durable)
            return
        size = max(_SLOT_BYTES, 1 << len(line).bit_length())
        data = _padded(line, size) + _padded(b"", size)
        self._known = b""
        self._disk.write(self.path, data, durable=True)
        self._known = data

    def _overwrite(self, line: bytes, size: int, *, durable: bool) -> None:
        known, self._known = self._known, b""
        start = self._older(known)
        there = len(known[start : start + size].rstrip())
        try:
            self._disk.overwrite(self.path, start, line.ljust(there), durable=durable)
        except OSError:
            with suppress(OSError):  # the caller hears of the first; whoever reads a half of a slot knows what to do
                self._disk.overwrite(self.path, start, b" " * max(there, len(line)))
            raise
        self._known = known[:start] + _padded(line, size) + known[start + size :]

    def _older(self, data: bytes) -> int:
        """Where the slot begins that does not count."""
        first, second = _slots(self.path, data)
        return 0 if first.number < second.number else len(data) // 2

    def _bytes(self) -> bytes | None:
        try:
            return self.path.read_bytes()
        except FileNotFoundError:
            return None


def _slots(path: Path, data: bytes) -> tuple[_Slot, _Slot]:
    """A slot of blanks has number 0, and counts only if the other one does not. Raises CheckpointError."""
    lines = data.split(b"\n")
    if len(lines) != 3 or lines[2] or len(lines[0]) != len(lines[1]):
        raise CheckpointError("corrupt", f"{path} is not of two lines of one length")
    first, second = (_slot(path, line.rstrip(b" ")) for line in lines[:2])
    if first.number == second.number:
        raise CheckpointError("corrupt", f"{path} holds no state, or two of one number")
    return first, second


def _slot(path: Path, line: bytes) -> _Slot:
    if not line:
        return _Slot(version=VERSION)
    try:
        slot = decode(line, _Slot)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise CheckpointError("corrupt", f"{path} cannot be read: {error}") from error
    if slot.version > VERSION:
        raise CheckpointError("newer", f"{path} is of version {slot.version}, this agent knows {VERSION}")
    if slot.checksum != _checksum(slot.content):
        raise CheckpointError("corrupt", f"{path} does not match its checksum")
    return slot


def _padded(line: bytes, size: int) -> bytes:
    return line.ljust(size - 1) + b"\n"


def move_aside(disk: Disk, path: Path, kind: str) -> Path:
    """Returns where it is now. Raises OSError."""
    target = path.with_name(f"{path.name}.{kind}")
    disk.rename(path, target)
    return target


def read_boot_id() -> str:
    return _BOOT_ID.read_text("ascii").strip()


def _checksum(content: bytes | msgspec.Raw) -> str:
    return hashlib.sha256(bytes(content)).hexdigest()
