"""What Ctrl-C and a service manager's SIGTERM ask of a run that goes on until it is stopped."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any


class Stop:
    """Whether a run was asked to end. The first request waits for what is better not left half done, a second does not.

    A `KeyboardInterrupt` that a signal raises anywhere would be lost in a finalizer that happens to run then, and the
    request with it; so it is also kept here. Signals are taken in the main thread alone, while the block lasts.
    """

    def __init__(self) -> None:
        self.asked = False
        self._waits = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Stop:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                # Who ignores a signal, as a shell's background jobs do, goes on ignoring it.
                if signal.getsignal(number) is not signal.SIG_IGN:
                    self._before[number] = signal.signal(number, self._ask)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @contextmanager
    def waiting(self, waits: bool = True) -> Iterator[None]:
        """Let a first request only be kept inside the block; with ``waits`` false, let it end what goes on there."""
        before, self._waits = self._waits, waits
        try:
            if not waits:
                self.check()
            yield
        finally:
            self._waits = before

    def check(self) -> None:
        """Raise `KeyboardInterrupt` if the run was asked to end."""
        if self.asked:
            raise KeyboardInterrupt

    def forget(self) -> None:
        """Take note that the request is being answered: from now on the next one is a second one."""
        self.asked = False

    def _ask(self, *_: object) -> None:
        again, self.asked = self.asked, True
        if again or not self._waits:
            raise KeyboardInterrupt
