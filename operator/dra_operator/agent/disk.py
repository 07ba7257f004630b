"""Files that are whole or not there: every write of the plugin's state goes through `Disk`.

A file is written beside its place and renamed into it: whoever reads it, and whenever the agent dies, there is the old
content or the new one. Where `durable`, that holds for a node that loses its power, too: file and folder are flushed.
What a crash leaves beside a file (`.NAME.tmp`) is swept at the next start. The exception is `overwrite`: a part of a
file, in place; what that part has to be worth when it is only half there is the caller's to know (`checkpoint.py`).

`step` is told of each change before it is made. Tests end there, or fail there, at every step in turn.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

_TEMPORARY: Final = ".tmp"
_PRIVATE: Final = 0o600
"""A claim's configuration is nobody else's on the node, and a record that others could write would be obeyed."""
READABLE: Final = 0o644
"""For what containers of any user read."""
_FOLDER_MODE: Final = 0o755


def _no_step(what: str) -> None:
    """Nothing happens between two steps but in tests."""


class Disk:
    """See the module. Every method raises OSError."""

    def __init__(self, step: Callable[[str], None] = _no_step) -> None:
        self._step = step

    def write(self, path: Path, content: bytes, *, durable: bool = False, mode: int = _PRIVATE) -> None:
        temporary = path.with_name(f".{path.name}{_TEMPORARY}")
        try:
            self._step(f"create {temporary.name}")
            handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, mode)
            with open(handle, "wb") as file:
                self._step(f"write {temporary.name}")
                file.write(content)
                if durable:
                    self._step(f"flush {temporary.name}")
                    file.flush()
                    os.fsync(file.fileno())
            self._step(f"rename to {path.name}")
            temporary.replace(path)
        except OSError:
            temporary.unlink(missing_ok=True)
            raise
        if durable:
            self._flush_folder(path.parent)

    def overwrite(self, path: Path, offset: int, content: bytes, *, durable: bool = False) -> None:
        """Bytes that the file has already. No block is allocated or freed, so a flush waits for no journal."""
        self._step(f"open {path.name}")
        handle = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            self._step(f"write {path.name}")
            written = os.pwrite(handle, content, offset)
            if written != len(content):
                raise OSError(errno.EIO, "only a part was written", str(path))
            if durable:
                self._step(f"flush {path.name}")
                os.fdatasync(handle)
        finally:
            os.close(handle)

    def rename(self, path: Path, target: Path) -> None:
        self._step(f"rename {path.name} to {target.name}")
        path.replace(target)

    def remove(self, path: Path) -> None:
        """The file; nothing if it is not there."""
        self._step(f"remove {path.name}")
        path.unlink(missing_ok=True)

    def make_folder(self, path: Path) -> None:
        if not path.is_dir():
            self._step(f"make folder {path.name}")
            path.mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)

    def remove_folder(self, path: Path) -> None:
        """With all that is in it; nothing if it is not there."""
        if path.is_symlink() or not path.is_dir():
            return
        for entry in sorted(path.iterdir()):
            if entry.is_dir() and not entry.is_symlink():
                self.remove_folder(entry)
            else:
                self.remove(entry)
        self._step(f"remove folder {path.name}")
        path.rmdir()

    def sweep(self, folder: Path) -> None:
        """Remove what interrupted writes have left."""
        for path in sorted(folder.glob(f".*{_TEMPORARY}")):
            self.remove(path)

    def _flush_folder(self, folder: Path) -> None:
        self._step(f"flush folder {folder.name}")
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
