"""A Ctrl-C that Python loses in a finalizer is sent once more."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

# Until a finalizer that took a Ctrl-C is over; should it still go on, the next one is lost and sent again, too.
_LATER = 0.05


@contextmanager
def interrupts_kept() -> Iterator[None]:
    """Send a `KeyboardInterrupt` again that was raised in a finalizer, of which Python otherwise only prints it."""
    before = sys.unraisablehook
    over = False

    def send() -> None:
        if not over:
            # To the main thread, so that what it waits for is broken off.
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    def again(lost: Any) -> None:
        if not issubclass(lost.exc_type, KeyboardInterrupt):
            before(lost)
            return
        # Sent at once, it would be raised in here and lost as well.
        later = threading.Timer(_LATER, send)
        later.daemon = True
        later.start()

    sys.unraisablehook = again
    try:
        yield
    finally:
        over = True
        if sys.unraisablehook is again:
            sys.unraisablehook = before
