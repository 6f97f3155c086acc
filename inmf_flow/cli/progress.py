"""What a run shows: live bars on a terminal, else one plain line an event. Both are life-cycle plugins."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from inmf_flow.hookspecs import ItemOutcome, RunInfo, RunResult, StageProgress, hookimpl
from inmf_flow.plugins import register_plugin, unregister_plugin

_NAME = "progress-display"
_DOING = {
    "analyze": "analyse",
    "fit": "fit",
    "separate": "separate",
    "evaluate": "evaluate",
    "report": "report",
}
# Off a terminal a stage's pace is said this often, and only when an item ends.
PACE_SECONDS = 30.0


@contextmanager
def showing_progress(live: bool = True) -> Iterator[None]:
    """Show the progress of runs inside the block on stderr.

    ``live``: as bars where that is a terminal. Of a run whose end nobody knows there are only lines.
    """
    display: Any = LiveProgress() if live and sys.stderr.isatty() else PlainProgress()
    register_plugin(display, _NAME)
    try:
        yield
    finally:
        display.close()
        unregister_plugin(_NAME)


def describe_pace(progress: StageProgress | None) -> str:
    """Return a stage's throughput and the time that it will still take, in words; empty where neither is known."""
    if progress is None:
        return ""
    parts = []
    if progress.hours_per_hour is not None:
        speed = progress.hours_per_hour
        parts.append(f"{speed:.0f} h of audio an hour" if speed >= 100 else f"{speed:.3g} h of audio an hour")
    if progress.seconds_left is not None and progress.done < progress.total:
        parts.append(f"{duration_in_words(progress.seconds_left)} left")
    return ", ".join(parts)


def duration_in_words(seconds: float) -> str:
    """Return a duration as people say it."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"


class PlainProgress:
    """One line an event, neither wrapped nor coloured nor cut."""

    def __init__(self) -> None:
        self._said = time.monotonic()

    @hookimpl
    def on_run_start(self, run: RunInfo) -> None:
        """Say what there is to do."""
        todo = ", ".join(f"{_DOING.get(n, n)} {s.todo} of {s.total}" for n, s in run.stages.items() if s.todo)
        if not todo:
            return
        self._line(f"run {run.name}: {todo}")
        if run.dashboard:
            self._line(f"dashboard {run.dashboard}")

    @hookimpl
    def on_item_end(self, outcome: ItemOutcome) -> None:
        """Say that an item is done."""
        self._line(f"{_DOING.get(outcome.stage, outcome.stage)} {outcome.item}: done in {outcome.seconds:.1f} s")
        self._say_pace(outcome)

    @hookimpl
    def on_item_error(self, outcome: ItemOutcome) -> None:
        """Say why an item failed."""
        self._line(f"{_DOING.get(outcome.stage, outcome.stage)} {outcome.item}: FAILED: {outcome.reason}")
        self._say_pace(outcome)

    def _say_pace(self, outcome: ItemOutcome) -> None:
        pace, now = describe_pace(outcome.progress), time.monotonic()
        if not pace or now - self._said < PACE_SECONDS:
            return
        self._said = now
        assert outcome.progress is not None
        stage = _DOING.get(outcome.stage, outcome.stage)
        self._line(f"{stage}: {outcome.progress.done} of {outcome.progress.total}, {pace}")

    def close(self) -> None:
        """Nothing is held."""

    def _line(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)


class LiveProgress:
    """A bar for each stage, drawn by rich."""

    def __init__(self) -> None:
        self._progress: Any = None
        self._tasks: dict[str, Any] = {}

    @hookimpl
    def on_run_start(self, run: RunInfo) -> None:
        """Draw the bars of all stages that have something to do."""
        todo = {name: stage for name, stage in run.stages.items() if stage.todo}
        if not todo:
            return
        from rich.console import Console
        from rich.markup import escape
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        console = Console(stderr=True)
        console.print(f"[bold]{run.name}[/bold]  ->  {escape(str(run.folder))}", soft_wrap=True, highlight=False)
        if run.dashboard:
            console.print(f"dashboard {run.dashboard}", soft_wrap=True, highlight=False)
        self._progress = Progress(
            TextColumn("{task.description:<9}"),
            BarColumn(bar_width=40),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[pace]}"),
            TextColumn("{task.fields[last]}"),
            console=console,
        )
        for name, stage in todo.items():
            self._tasks[name] = self._progress.add_task(
                _DOING.get(name, name),
                total=stage.total,
                completed=stage.total - stage.todo,
                start=False,
                pace="",
                last="",
            )
        self._progress.start()
        self._start_next()

    @hookimpl
    def on_item_end(self, outcome: ItemOutcome) -> None:
        """Move the stage's bar."""
        self._advance(outcome)

    @hookimpl
    def on_item_error(self, outcome: ItemOutcome) -> None:
        """Move the stage's bar and print the reason above the bars."""
        self._advance(outcome)
        if outcome.stage == "separate" and "evaluate" in self._tasks:
            # What was not separated is not scored either.
            task = self._progress.tasks[self._tasks["evaluate"]]
            self._progress.update(task.id, total=task.total - 1)
        if self._progress is not None:
            from rich.text import Text

            stage = _DOING.get(outcome.stage, outcome.stage)
            line = Text(f"{stage} {outcome.item} failed: {outcome.reason}", style="red")
            self._progress.console.print(line, soft_wrap=True)

    @hookimpl
    def on_run_end(self, result: RunResult) -> None:
        """Leave the bars as they are and give the terminal back."""
        self.close()

    def _advance(self, outcome: ItemOutcome) -> None:
        task = self._tasks.get(outcome.stage)
        if task is not None:
            from rich.markup import escape

            self._progress.start_task(task)
            pace = describe_pace(outcome.progress)
            self._progress.update(task, advance=1, pace=pace, last=escape(outcome.item))
            if self._progress.tasks[task].finished:
                self._progress.update(task, last="")
                self._start_next()

    def _start_next(self) -> None:
        """Let the clock of the first stage run that has none: stages follow one another."""
        waiting = next((task for task in self._progress.tasks if not task.started), None)
        if waiting is not None:
            self._progress.start_task(waiting.id)

    def close(self) -> None:
        """Stop drawing."""
        if self._progress is not None:
            self._progress.stop()
            self._progress = None
            self._tasks = {}
