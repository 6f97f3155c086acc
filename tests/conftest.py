"""What every test shares: the quickstart's recordings, and settings that come before any import."""

from __future__ import annotations

import json
import os
import pty
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

# Environment, not calls: it reaches the processes that tests start, and collecting tests imports no torch.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("PYTHONFAULTHANDLER", "1")

ROOT = Path(__file__).resolve().parents[1]

_COMMON = settings(
    deadline=None,
    derandomize=bool(os.environ.get("CI")),
    print_blob=True,
    # A busy machine is no fault of the strategy.
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile("default", _COMMON, max_examples=30)
settings.register_profile("full", _COMMON, max_examples=300)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


@pytest.fixture(scope="session")
def repository() -> Path:
    """The folder that pyproject.toml is in."""
    return ROOT


@pytest.fixture(scope="session")
def audio_dir() -> Path:
    """The folder of the quickstart's recordings."""
    return ROOT / "pipelines" / "audio"


@pytest.fixture(scope="session")
def speech(audio_dir: Path) -> dict[str, Path]:
    """Recordings of two people, 16 kHz mono: {male,female}_{train,test} and mixture."""
    return _recordings(audio_dir / "speech")


@pytest.fixture(scope="session")
def music(audio_dir: Path) -> dict[str, Path]:
    """Recordings of one song, 16 kHz mono: {guitar,backing}_{train,test} and mixture."""
    return _recordings(audio_dir / "music")


def _recordings(folder: Path) -> dict[str, Path]:
    return {path.stem: path for path in sorted(folder.glob("*.flac"))}


@dataclass(frozen=True)
class Finished:
    """How the program ended, and what it printed."""

    code: int
    out: str
    err: str


class Project:
    """A folder with recordings and a pipeline file, on which the real program is run as a process of its own."""

    def __init__(self, folder: Path, scheduler: str) -> None:
        self.folder = folder
        self.file = folder / "pipeline.yaml"
        self.output = folder / "runs" / "voices"
        self.scheduler = scheduler

    def command(self, *arguments: object) -> list[str]:
        """Return the command line of a run on processes of its own."""
        return [str(PROGRAM), "run", str(self.file), *map(str, arguments)]

    def start(self, *arguments: object) -> subprocess.Popen[str]:
        """Start a run in a session of its own, whose output is read through pipes."""
        return subprocess.Popen(
            self.command(*arguments),
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            # A shell's background jobs ignore Ctrl-C, and so would all that a suite started there starts.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )

    def run(self, *arguments: object, code: int = 0, env: dict[str, str] | None = None) -> Finished:
        """Run the pipeline on the session's cluster and check the exit code."""
        finished = run_program("run", self.file, "--scheduler", self.scheduler, *arguments, cwd=self.folder, env=env)
        assert finished.code == code, f"exit code {finished.code}\n{finished.out}\n{finished.err}"
        return finished

    def document(self) -> dict[str, Any]:
        """Return the content of run.json."""
        document: dict[str, Any] = json.loads((self.output / "run.json").read_text())
        return document

    def done(self) -> dict[str, int]:
        """Return how many items the last run did in each stage in which it did any."""
        return {stage: counts["done"] for stage, counts in self.document()["counts"].items() if counts["done"]}

    def results(self) -> dict[str, bytes]:
        """Return every file that users look at, but for run.json and the page, which hold times."""
        names = ["metrics.csv", "models", "separated", "points.zarr"]
        return {name: data for name, data in self.files().items() if name.partition("/")[0] in names}

    def files(self) -> dict[str, bytes]:
        """Return the content of every file of the run's folder by its name."""
        paths = sorted(path for path in self.output.rglob("*") if path.is_file())
        return {path.relative_to(self.output).as_posix(): path.read_bytes() for path in paths}

    def stamps(self) -> dict[str, int]:
        """Return the times of change of all that is below the project's folder."""
        return {str(path.relative_to(self.folder)): path.stat().st_mtime_ns for path in self.folder.rglob("*")}

    def copy(self, folder: Path) -> Project:
        """Return a copy of everything in another folder."""
        shutil.copytree(self.folder, folder, symlinks=True)
        return Project(folder, self.scheduler)

    def without_results(self) -> Project:
        """Remove the run's folder."""
        shutil.rmtree(self.output, ignore_errors=True)
        return self


PROGRAM = Path(sys.executable).with_name("inmf")


def run_program(
    *arguments: object, cwd: Path | None = None, env: dict[str, str] | None = None, timeout: float = 150
) -> Finished:
    """Run `inmf` as a process off a terminal. It must never show a traceback."""
    done = subprocess.run(
        [str(PROGRAM), *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, **(env or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="surrogateescape",
        timeout=timeout,
        check=False,
    )
    assert "Traceback" not in done.stdout + done.stderr, done.stdout + done.stderr
    return Finished(done.returncode, done.stdout, done.stderr)


@pytest.fixture(scope="session")
def inmf() -> Callable[..., Finished]:
    """The program, run as a process: ``inmf("fit", path, ...)``."""
    return run_program


@pytest.fixture(scope="session")
def on_a_terminal() -> Callable[..., tuple[int, str]]:
    """A command, run on a terminal: ``on_a_terminal(command, columns=120, env={...})`` gives exit code and text."""
    return _run_on_a_terminal


def _run_on_a_terminal(command: list[str], columns: int = 120, env: dict[str, str] | None = None) -> tuple[int, str]:
    master, slave = pty.openpty()
    terminal = {"TERM": "xterm-256color", "COLUMNS": str(columns)}
    process = subprocess.Popen(command, stdout=slave, stderr=slave, env={**os.environ, **terminal, **(env or {})})
    os.close(slave)
    shown = b""
    try:
        while chunk := os.read(master, 4096):
            shown += chunk
    except OSError:
        # Linux ends a pseudo-terminal whose other side is closed this way.
        pass
    os.close(master)
    return process.wait(timeout=60), shown.decode()


@pytest.fixture(scope="session")
def scheduler(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a Dask scheduler with two workers, as somebody else would have started them.

    Runs that share them start in a second instead of five.
    """
    folder = tmp_path_factory.mktemp("dask")
    contact = folder / "scheduler.json"
    common = ["--scheduler-file", str(contact), "--no-dashboard", "--host", "127.0.0.1"]
    dask = str(PROGRAM.with_name("dask"))
    processes = []
    try:
        with (folder / "log").open("wb") as log:
            for arguments in (
                ["scheduler", *common, "--port", "0"],
                ["worker", *common, "--nworkers", "2", "--nthreads", "1"],
            ):
                processes.append(
                    subprocess.Popen([dask, *arguments], cwd=folder, stdout=log, stderr=log, start_new_session=True)
                )
                _wait_until(contact.is_file)
        yield json.loads(contact.read_text())["address"]
    finally:
        for process in reversed(processes):
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _wait_until(condition: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.05)


_PIPELINE = """
name: voices
corpus: {mixtures: "mixtures/*", sample_rate: 16000}
transforms:
  fine: {stft: {n_fft: 512}}
sources:
  male:   {audio: "male/*.wav", components: 4}
  female: {audio: "female/*.wav", components: 4}
fit: {max_iter: 20}
separate: {max_iter: 15}
evaluate: {references: "references/{item}/{source}.wav", metrics: [si_sdr]}
cluster: {workers: 2}
report: {items: 1}
"""


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory, speech: dict[str, Path], scheduler: str) -> Project:
    """A project that was never run: two short training files a source, two mono mixtures and a stereo one."""
    import numpy as np
    import soundfile
    import soxr

    folder = tmp_path_factory.mktemp("corpus")

    def cut(name: str, start: float, seconds: float) -> Any:
        return soundfile.read(speech[name], start=int(start * 16000), frames=int(seconds * 16000), dtype="float32")[0]

    def write(name: str, audio: Any, rate: int = 16000, subtype: str = "FLOAT") -> None:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, audio, rate, subtype=subtype)
        # A file that changed just now is read again by the next run, to be sure.
        os.utime(path, (time.time() - 3600,) * 2)

    for source in ("male", "female"):
        write(f"{source}/a.wav", cut(f"{source}_train", 0.5, 1.2))
        write(f"{source}/b.wav", cut(f"{source}_train", 2.0, 1.0))
    for number, name in enumerate(("one", "two")):
        voices = {source: cut(f"{source}_test", number, 1.0) for source in ("male", "female")}
        for source, voice in voices.items():
            write(f"references/{name}/{source}.wav", voice)
        write(f"mixtures/{name}.flac", sum(voices.values()), subtype="PCM_16")
    wide = {source: soxr.resample(cut(f"{source}_test", 0.5, 1.1), 16000, 22050) for source in ("male", "female")}
    wide = {
        source: np.stack([voice, voice * {"male": 0.5, "female": 0.9}[source]], 1) for source, voice in wide.items()
    }
    for source, voice in wide.items():
        write(f"references/wide/{source}.wav", voice, 22050)
    write("mixtures/wide.wav", sum(wide.values()), 22050, "PCM_24")
    (folder / "pipeline.yaml").write_text(_PIPELINE)
    return Project(folder, scheduler)


@pytest.fixture(scope="session")
def first_run(corpus: Project, tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, Finished]:
    """A project that was run once on two local processes, with what that printed. Leave it as it is."""
    project = corpus.copy(tmp_path_factory.mktemp("first") / "project")
    done = run_program(*project.command()[1:], cwd=project.folder)
    assert done.code == 0, done.out + done.err
    return project, done


@pytest.fixture(scope="session")
def without_pictures(first_run: tuple[Project, Finished], tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The finished project with a page that shows no mixture, which is fast to write. Leave it as it is."""
    project = first_run[0].copy(tmp_path_factory.mktemp("done") / "project")
    project.file.write_text(_PIPELINE.replace("{items: 1}", "{items: 0}"))
    project.run()
    assert project.done() == {"report": 1}
    return project


@pytest.fixture
def project(without_pictures: Project, tmp_path: Path) -> Project:
    """A finished project of one's own."""
    return without_pictures.copy(tmp_path / "project")


@pytest.fixture
def fresh(without_pictures: Project, tmp_path: Path) -> Project:
    """A project of one's own that was never run."""
    return without_pictures.copy(tmp_path / "project").without_results()
