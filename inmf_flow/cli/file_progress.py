"""What `inmf separate` shows of a long file: a bar on a terminal, else one plain line now and then."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from inmf_flow.cli.progress import PACE_SECONDS, duration_in_words

if TYPE_CHECKING:
    from inmf_flow.separation import FileProgress


@contextmanager
def showing_file(item: str, number: int, count: int) -> Iterator[Callable[[FileProgress], None]]:
    """Give a function that shows on stderr how far the separation of an item has come.

    Parameters
    ----------
    item
        Its name.
    number, count
        Which of how many it is, from 1.
    """
    name = item if count == 1 else f"{item} ({number} of {count})"
    display = _Bar(name) if sys.stderr.isatty() else _Lines(name)
    try:
        yield display.show
    finally:
        display.close()


def describe_position(seconds: float) -> str:
    """Return a place in a recording as hours, minutes and seconds."""
    whole = int(seconds)
    return f"{whole // 3600:02d}:{whole // 60 % 60:02d}:{whole % 60:02d}"


class _Pace:
    """How fast audio is separated, and how long the rest will take."""

    def __init__(self) -> None:
        self._begun = time.monotonic()

    def words(self, told: FileProgress) -> str:
        """Return both; empty before anything is done."""
        spent, done = time.monotonic() - self._begun, told.done - told.resumed
        if not (spent > 0 and done > 0):
            return ""
        speed = done / spent
        words = f"{speed:.3g} times real time"
        left = (told.total - told.done) / speed
        return f"{words}, {duration_in_words(left)} left" if left > 0 else words


def _going_on(name: str, told: FileProgress) -> str:
    return f"{name}: going on at {describe_position(told.resumed)}"


class _Lines:
    """Lines that are neither wrapped nor coloured."""

    def __init__(self, name: str) -> None:
        self._name, self._pace, self._said = name, _Pace(), time.monotonic()
        self._begun = False

    def show(self, told: FileProgress) -> None:
        if not self._begun:
            self._begun = True
            if told.resumed:
                self._line(_going_on(self._name, told))
            return
        now = time.monotonic()
        if now - self._said >= PACE_SECONDS:
            self._said = now
            position = f"{describe_position(told.done)} of {describe_position(told.total)}"
            self._line(f"{self._name}: {position}, {self._pace.words(told)}")

    def close(self) -> None:
        """Nothing is held."""

    def _line(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)


class _Bar:
    """A bar drawn by rich, which is gone when the file is done."""

    def __init__(self, name: str) -> None:
        self._name, self._pace = name, _Pace()
        self._progress: Any = None

    def show(self, told: FileProgress) -> None:
        if self._progress is None:
            self._begin(told)
        self._progress.update(
            0,
            completed=told.done,
            total=told.total,
            position=f"{describe_position(told.done)} of {describe_position(told.total)}",
            pace=self._pace.words(told),
        )

    def _begin(self, told: FileProgress) -> None:
        from rich.console import Console
        from rich.markup import escape
        from rich.progress import BarColumn, Progress, TextColumn

        console = Console(stderr=True)
        if told.resumed:
            console.print(_going_on(self._name, told), soft_wrap=True, highlight=False, markup=False)
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=30),
            TextColumn("{task.fields[position]}"),
            TextColumn("{task.fields[pace]}"),
            console=console,
            transient=True,
            # What goes to a file or a pipe is not for the terminal.
            redirect_stdout=False,
        )
        self._progress.add_task(escape(self._name), total=told.total, position="", pace="")
        self._progress.start()

    def close(self) -> None:
        """Give the terminal back."""
        if self._progress is not None:
            self._progress.stop()
            self._progress = None
