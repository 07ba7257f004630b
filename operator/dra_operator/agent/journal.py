"""The claims of a node as its checkpoint has them: read when another agent wrote it, one writer at a time.

Whoever changes `claims` is `alone` meanwhile, in this process and among all agents of the node, and says `save`. A file
of no use is moved aside and made up for by what the CDI specs tell; one of another boot counts for nothing.

Not here: the form of the file (`checkpoint.py`), and what becomes of the claims (`preparation.py`).
"""

from __future__ import annotations

import fcntl
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import structlog

from dra_operator.agent.checkpoint import (
    FILE_NAME,
    Checkpoint,
    CheckpointError,
    CheckpointFile,
    Claims,
    PreparedClaim,
    move_aside,
)
from dra_operator.agent.disk import Disk

log = structlog.get_logger()

_LOCK_SECONDS: Final = 20.0
_LOCK_PAUSE: Final = 0.005


class Journal:
    """See the module. `evidence` tells which claims the CDI specs speak of."""

    def __init__(self, disk: Disk, folder: Path, boot_id: str, evidence: Callable[[], Iterable[PreparedClaim]]) -> None:
        self._checkpoint = CheckpointFile(disk, folder / FILE_NAME)
        self.claims: Claims = {}
        self._disk = disk
        self._lock = folder / "lock"
        self._boot_id = boot_id
        self._evidence = evidence

    @property
    def file(self) -> Path:
        return self._checkpoint.path

    @contextmanager
    def alone(self) -> Iterator[bool]:
        """No other agent is at work for the length of the block; says whether `claims` were read anew.

        Raises OSError.
        """
        with self._lock.open("a") as handle:
            deadline = time.monotonic() + _LOCK_SECONDS
            while True:
                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > deadline:
                        raise TimeoutError("another agent of this node holds the lock") from None
                    time.sleep(_LOCK_PAUSE)
            yield self._read()

    def save(self, *, durable: bool = True) -> None:
        """Raises OSError; the file is then as it was."""
        self._checkpoint.write(Checkpoint(boot_id=self._boot_id, claims=tuple(self.claims.values())), durable=durable)

    def _read(self) -> bool:
        if self._checkpoint.is_known():
            return False
        try:
            checkpoint = self._checkpoint.read()
        except CheckpointError as error:
            aside = move_aside(self._disk, self.file, error.kind)
            log.error("checkpoint of no use, made anew from the CDI specs", why=str(error), kept=str(aside))
            checkpoint = None
        if checkpoint is None:
            self._begin(self._evidence())
        elif checkpoint.boot_id != self._boot_id:
            log.info("the node was started anew: nothing is prepared any more", claims=len(checkpoint.claims))
            self._begin(())
        else:
            self.claims = {claim.uid: claim for claim in checkpoint.claims}
        return True

    def _begin(self, claims: Iterable[PreparedClaim]) -> None:
        self.claims = {claim.uid: claim for claim in claims}
        self.save()
