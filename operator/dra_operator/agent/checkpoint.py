"""What is prepared on this node, on disk: the one file that an agent knows its claims by after a restart.

A claim is `started` before anything of it is made and while it is taken back, and `completed` when all of it is there,
the CDI spec included. A claim that is only started was never answered for: whatever there is of it is taken back.

The file says its version, and the checksum of its content. One that cannot be read, or that a newer agent has written,
is moved aside (`checkpoint.json.corrupt`, `.newer`) and not lost. The content holds the boot that it is of: after
another boot no container is left, and nothing is prepared.

Not here: who decides on claims (`prepared.py`); how a lost file is made up for (`cdi.py` keeps a copy in each spec).
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final, Literal, TypeAlias

import msgspec

from dra_operator.agent.allocated import AllocatedDevice
from dra_operator.agent.disk import Disk
from dra_operator.agent.edits import ContainerEdits
from dra_operator.api.codec import decode, encode
from dra_operator.api.meta import Struct, Uid

FILE_NAME: Final = "checkpoint.json"
VERSION: Final = 1

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


class _File(Struct, frozen=True, kw_only=True):
    version: int
    checksum: str = ""
    content: msgspec.Raw = msgspec.Raw(b"null")


class CheckpointError(Exception):
    """The file is there and of no use. `kind` is what it is called when it is moved aside."""

    def __init__(self, kind: Literal["corrupt", "newer"], why: str) -> None:
        super().__init__(why)
        self.kind: Final = kind


def read_checkpoint(path: Path) -> Checkpoint | None:
    """None where there is none. Raises CheckpointError, or OSError."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    try:
        file = decode(data, _File)
        if file.version > VERSION:
            raise CheckpointError("newer", f"{path} is of version {file.version}, this agent knows {VERSION}")
        if file.checksum != _checksum(file.content):
            raise CheckpointError("corrupt", f"{path} does not match its checksum")
        return decode(file.content, Checkpoint)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise CheckpointError("corrupt", f"{path} cannot be read: {error}") from error


def write_checkpoint(disk: Disk, path: Path, checkpoint: Checkpoint, *, durable: bool = True) -> None:
    """Raises OSError."""
    content = encode(checkpoint)
    disk.write(
        path, encode(_File(version=VERSION, checksum=_checksum(content), content=msgspec.Raw(content))), durable=True
    )


def move_aside(disk: Disk, path: Path, kind: str) -> Path:
    """Returns where it is now. Raises OSError."""
    target = path.with_name(f"{path.name}.{kind}")
    disk.rename(path, target)
    return target


def read_boot_id() -> str:
    return _BOOT_ID.read_text("ascii").strip()


def _checksum(content: bytes | msgspec.Raw) -> str:
    return hashlib.sha256(bytes(content)).hexdigest()
