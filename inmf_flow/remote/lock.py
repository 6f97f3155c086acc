"""A lock for one driver: an object that says who holds it, and whose holder writes it anew every few seconds.

Nobody's clock is asked: a lock is alive when it changes while one looks at it. One whose holder was a process of this
machine that has ended is free at once.
"""

from __future__ import annotations

import json
import logging
import os
import secrets
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from inmf_flow.remote import client
from inmf_flow.remote.writing import create, honours_conditions

if TYPE_CHECKING:
    from inmf_flow.remote.path import RemotePath

logger = logging.getLogger("inmf_flow.remote")

# A holder writes so often; a lock that does not change for so long is nobody's.
BEAT_SECONDS = 5.0
STALE_SECONDS = 30.0
_LOOK_SECONDS = 1.0
# Where two may create the same object, the one that finds its own after so long has it.
_SETTLE_SECONDS = 2.0

# Owners of the locks that this process holds.
_own: set[str] = set()


class LockHeldError(Exception):
    """Somebody else holds the lock; the message says who."""


class LockLostError(Exception):
    """Somebody else has taken the lock over."""


class _Stop(BaseException):
    """What the block is interrupted by; nothing that handles errors should take it for one."""


@contextmanager
def holding(path: RemotePath) -> Iterator[None]:
    """Hold a lock while the block runs.

    The block is interrupted when somebody takes the lock over, as may happen after the store could not be reached for a
    while, or this machine was asleep.

    Raises
    ------
    LockHeldError
        When somebody else has it. That may take as long as a lock stays valid that nobody writes anew.
    LockLostError
        When it was lost meanwhile.
    OSError
        When the store cannot be used.
    """
    lock = _Lock(path)
    lock.acquire()
    with _interruptible() as interrupt:
        lock.start(interrupt)
        try:
            yield
        except _Stop:
            pass
        finally:
            lock.release()
    if lock.lost is not None:
        raise LockLostError(lock.lost)


@contextmanager
def _interruptible() -> Iterator[Callable[[], None]]:
    """Give what interrupts the block from another thread; nothing does where it is not the main one that runs it."""
    if threading.current_thread() is not threading.main_thread():
        yield lambda: None
        return

    def stop(*_: object) -> None:
        raise _Stop

    # Ctrl-C's own signal is ignored in processes that a script has started in the background.
    before = signal.signal(signal.SIGUSR2, stop)
    try:
        yield lambda: signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR2)
    finally:
        signal.signal(signal.SIGUSR2, before)


class _Lock:
    def __init__(self, path: RemotePath) -> None:
        self._path = path
        self._owner = secrets.token_hex(16)
        self._beat = 0
        self._etag = ""
        self._ended = threading.Event()
        self._interrupt: Callable[[], None] = lambda: None
        self._thread = threading.Thread(target=self._run, name="inmf lock", daemon=True)
        self.lost: str | None = None

    def _body(self) -> bytes:
        return json.dumps({"owner": self._owner, "beat": self._beat, **_process(os.getpid())}).encode()

    def acquire(self) -> None:
        _own.add(self._owner)
        try:
            self._acquire()
        except BaseException:
            _own.discard(self._owner)
            raise

    def _acquire(self) -> None:
        while not create(self._path, self._body()):
            try:
                etag, held = self._look()
            except FileNotFoundError:
                continue
            if not _has_ended(held):
                self._watch(etag, held)
            try:
                self._write(etag)
                break
            except FileNotFoundError:
                continue
            except OSError as error:
                if isinstance(error, ConnectionError | PermissionError):
                    raise
                raise LockHeldError(_holder(held)) from None
        if not honours_conditions(self._path):
            time.sleep(_SETTLE_SECONDS)
        self._etag, held = self._look()
        if held.get("owner") != self._owner:
            raise LockHeldError(_holder(held))

    def _look(self) -> tuple[str, dict[str, Any]]:
        """Return the tag and the content of the lock; what is no JSON is somebody's all the same."""
        etag = client.head(self._path.bucket, self._path.key).etag
        try:
            body = json.loads(self._path.read_bytes())
        except ValueError:
            body = {}
        return etag, body if isinstance(body, dict) else {}

    def _watch(self, etag: str, held: dict[str, Any]) -> None:
        """Return when the lock has not changed for long enough."""
        end = time.monotonic() + STALE_SECONDS
        while time.monotonic() < end:
            time.sleep(_LOOK_SECONDS)
            try:
                if client.head(self._path.bucket, self._path.key).etag != etag:
                    raise LockHeldError(_holder(held))
            except FileNotFoundError:
                return

    def _write(self, etag: str) -> None:
        replacing = etag if etag and honours_conditions(self._path) else None
        self._etag = client.write(self._path.bucket, self._path.key, self._body(), replacing=replacing)

    def start(self, interrupt: Callable[[], None]) -> None:
        self._interrupt = interrupt
        self._thread.start()

    def _run(self) -> None:
        while not self._ended.wait(BEAT_SECONDS):
            try:
                self._renew()
            except FileNotFoundError:
                # Somebody has removed it by hand.
                with suppress(OSError):
                    create(self._path, self._body())
            except OSError as error:
                logger.warning("the lock %s could not be renewed: %s", self._path, error.strerror or error)
            if self.lost is not None:
                if not self._ended.is_set():
                    self._interrupt()
                return

    def _renew(self) -> None:
        etag, held = self._look()
        if held.get("owner") != self._owner:
            self.lost = _holder(held)
            return
        self._beat += 1
        self._write(etag)

    def release(self) -> None:
        self._ended.set()
        self._thread.join()
        _own.discard(self._owner)
        with suppress(OSError):
            if self.lost is None and self._look()[1].get("owner") == self._owner:
                self._path.unlink(missing_ok=True)


def _process(pid: int) -> dict[str, Any]:
    """Return what tells a process from all others, of this machine and elsewhere."""
    return {"host": socket.gethostname(), "machine": _machine(), "pid": pid, "started": _started(pid)}


def _machine() -> str:
    """Return what processes that see each other's numbers have in common; empty where that is not known."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def _started(pid: int) -> str | None:
    """Return when a process began, in ticks since the machine did; None where there is none of that number."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    # The name in parentheses may hold spaces. A zombie has ended.
    state, *fields = status.rpartition(")")[2].split()
    return None if state in ("Z", "X") else fields[18]


def _has_ended(held: dict[str, Any]) -> bool:
    """Return whether a holder was a process of this machine that is no more."""
    here = _process(os.getpid())
    if not here["machine"] or (held.get("host"), held.get("machine")) != (here["host"], here["machine"]):
        return False
    pid = held.get("pid")
    if pid == here["pid"] and held.get("owner") not in _own:
        # An earlier run of this process, which could not give it back.
        return True
    return isinstance(pid, int) and _started(pid) != held.get("started")


def _holder(held: dict[str, Any]) -> str:
    return f"process {held.get('pid', 'unknown')} of {held.get('host', 'an unknown machine')}"
