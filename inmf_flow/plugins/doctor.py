"""Diagnose plugins in processes of their own, so that one that hangs or crashes is named."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from inmf_flow.plugins.discovery import DISABLE_VARIABLE, FoundPlugin, find_plugins
from inmf_flow.plugins.records import PluginRecord

TIME_LIMIT = 60.0
_POLL = 0.05
# Python's own start is no plugin's fault, and a busy machine makes it slow.
_STARTING_LIMIT = 120.0


@dataclass(frozen=True)
class Diagnosis:
    """The outcome of one check of one plugin.

    Attributes
    ----------
    plugin
        The plugin's key, ``DISTRIBUTION:NAME``.
    subject
        The transform that was tried; empty where the check is of the plugin itself.
    check
        ``"load"``, ``"config"``, ``"analyze"`` or ``"round trip"``.
    ok
        Whether it passed.
    message
        What was found, in one sentence.
    """

    plugin: str
    subject: str
    check: str
    ok: bool
    message: str


@dataclass
class _Child:
    """What a process wrote before it ended: ``step`` is the last one that it began."""

    ending: Literal["finished", "hung", "crashed"] = "finished"
    step: str = ""
    detail: str = ""
    lines: list[dict[str, Any]] = field(default_factory=list)


def doctor(time_limit: float = TIME_LIMIT) -> list[Diagnosis]:
    """Check every installed plugin: it loads, and each of its transforms works with its defaults.

    Each transform is constructed, analyses 0.25 seconds of noise at 16 kHz into finite, non-negative
    magnitudes, and synthesizes it at the signal-to-noise ratio that it promises.

    Parameters
    ----------
    time_limit
        Seconds that one step (an import, an analysis, a synthesis) may take.

    Returns
    -------
    diagnoses
        In the order of loading; all ``ok`` where nothing is wrong.
    """
    from inmf_flow.plugins import plugin_manager

    found = find_plugins()
    records, broken = _load_in_child(found, time_limit)
    by_key = {diagnosis.plugin: diagnosis for diagnosis in broken}
    loaded = [record for record in records if record.key not in by_key]
    tried = _probe_all(loaded, list(by_key), time_limit)
    diagnoses: list[Diagnosis] = []
    for record in [*records, *plugin_manager().in_process_records()]:
        if record.key in by_key:
            diagnoses.append(by_key[record.key])
            continue
        diagnoses += _load_diagnoses(record)
        diagnoses += tried.get(record.key, [])
    return diagnoses


def _load_diagnoses(record: PluginRecord) -> list[Diagnosis]:
    if record.problems:
        return [Diagnosis(record.key, "", "load", False, problem) for problem in record.problems]
    given = [f"{kind} {name}" for kind, names in record.provides.items() for name in names]
    text = ", ".join([*given, *record.hooks]) or "nothing"
    return [Diagnosis(record.key, "", "load", True, f"provides {text}")]


def _load_in_child(found: list[FoundPlugin], time_limit: float) -> tuple[list[PluginRecord], list[Diagnosis]]:
    """Load all plugins elsewhere; one that hangs or crashes is named, left out, and the rest tried again."""
    broken: list[Diagnosis] = []
    while True:
        child = _run_child({"transform": None}, [diagnosis.plugin for diagnosis in broken], time_limit)
        if child.ending == "finished":
            records = [PluginRecord(**line["record"]) for line in child.lines if "record" in line]
            return records, broken
        known = {plugin.key for plugin in found} - {diagnosis.plugin for diagnosis in broken}
        if child.step not in known:
            # Nothing of a plugin ran: Python or inmf_flow itself is broken here.
            return [], [
                *broken,
                Diagnosis("inmf_flow", "", "load", False, _ended(child, "starting", time_limit)),
            ]
        broken.append(Diagnosis(child.step, "", "load", False, _ended(child, "loading", time_limit)))


def _probe_all(records: list[PluginRecord], disabled: list[str], time_limit: float) -> dict[str, list[Diagnosis]]:
    """Try all transforms, some at a time; return the findings by the plugins' keys."""
    stop = threading.Event()

    def probe(key: str, name: str) -> list[Diagnosis]:
        return _probe(key, name, disabled, time_limit, stop)

    names = [(record.key, name) for record in records for name in record.provides.get("transform", [])]
    found: dict[str, list[Diagnosis]] = {}
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        futures = [(key, pool.submit(probe, key, name)) for key, name in names]
        try:
            for key, future in futures:
                found.setdefault(key, []).extend(future.result())
        except BaseException:
            # Ctrl-C: whoever still waits for a process is to end it and go.
            stop.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return found


def _probe(key: str, name: str, disabled: list[str], time_limit: float, stop: threading.Event) -> list[Diagnosis]:
    child = _run_child({"transform": name}, disabled, time_limit, stop)
    diagnoses = [Diagnosis(key, name, **line["check"]) for line in child.lines if "check" in line]
    if child.ending != "finished":
        diagnoses.append(Diagnosis(key, name, child.step, False, _ended(child, child.step, time_limit)))
    return diagnoses


def _ended(child: _Child, doing: str, time_limit: float) -> str:
    if child.ending == "hung":
        return f"{doing} did not end within {time_limit:g} seconds"
    return f"{doing} ended the process: {child.detail}"


def _run_child(
    request: dict[str, Any], disabled: list[str], time_limit: float, stop: threading.Event | None = None
) -> _Child:
    environment = dict(os.environ)
    environment["PYTHONPATH"] = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
    environment[DISABLE_VARIABLE] = ",".join(filter(None, [environment.get(DISABLE_VARIABLE, ""), *disabled]))
    with tempfile.TemporaryDirectory(prefix="inmf-doctor-") as folder:
        report, errors = Path(folder, "report.jsonl"), Path(folder, "stderr.txt")
        report.touch()
        command = [sys.executable, "-P", "-m", "inmf_flow.plugins.probe", str(report), json.dumps(request)]
        # The report is a file and not a pipe: a plugin prints what it likes, and its children may outlive it.
        with (
            errors.open("wb") as stderr,
            subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=stderr,
                env=environment,
                start_new_session=True,
            ) as process,
        ):
            return _watch(process, report, errors, time_limit, stop or threading.Event())


def _watch(
    process: subprocess.Popen[bytes], report: Path, errors: Path, time_limit: float, stop: threading.Event
) -> _Child:
    child = _Child()
    deadline = time.monotonic() + _STARTING_LIMIT
    try:
        while True:
            ended = process.poll() is not None
            lines = [json.loads(line) for line in report.read_text().splitlines(keepends=True) if line.endswith("\n")]
            if len(lines) > len(child.lines):
                child.lines = lines
                deadline = time.monotonic() + time_limit
            if ended or time.monotonic() > deadline or stop.wait(_POLL):
                break
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    child.step = next((line["step"] for line in reversed(child.lines) if "step" in line), "")
    if not ended:
        child.ending = "hung"
    elif process.returncode != 0 or {"end": True} not in child.lines:
        child.ending = "crashed"
        child.detail = _last_words(process.returncode, errors)
    return child


def _last_words(code: int, errors: Path) -> str:
    if code < 0:
        return f"signal {signal.Signals(-code).name}"
    lines = errors.read_text(errors="replace").strip().splitlines()
    return f"exit status {code}" + (f" ({lines[-1].strip()})" if lines else "")
