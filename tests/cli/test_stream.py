"""`inmf stream` as a process between pipes: it ends well, however it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from inmf_flow.audio import PcmFormat, read_audio

PROGRAM = Path(sys.executable).with_name("inmf")
RATE = 16000


@pytest.fixture(scope="module")
def models(first_run: Any) -> list[str]:
    folder = first_run[0].output / "models"
    return [part for name in ("male", "female") for part in ("--model", f"{name}={folder / name}.safetensors")]


@pytest.fixture(scope="module")
def wav(tmp_path_factory: pytest.TempPathFactory, speech: dict[str, Path]) -> Path:
    path = tmp_path_factory.mktemp("stream") / "mix.wav"
    soundfile.write(path, read_audio(speech["mixture"])[0].T[: 2 * RATE], RATE, subtype="PCM_16")
    return path


@pytest.fixture
def start() -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Start the program with pipes on all sides; it is gone at the end."""
    started = []

    def go(*arguments: object) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [str(PROGRAM), "stream", *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            # A suite that a shell started in the background would hand down ignored interrupts.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )
        started.append(process)
        return process

    yield go
    for process in started:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout, process.stderr):
            with suppress(BrokenPipeError):
                pipe.close()


def ended(process: subprocess.Popen[bytes], data: bytes | None = None) -> tuple[int, bytes, str]:
    out, err = process.communicate(data, timeout=100)
    assert b"Traceback" not in err, err.decode()
    return process.returncode, out, err.decode()


def whole(folder: Path, mixture: Path, atol: float = 1e-5) -> int:
    """Check that the estimates in a folder add up to the beginning of the mixture; return their length."""
    audio = soundfile.read(mixture, dtype="float32")[0]
    male, female = (soundfile.read(folder / f"{name}.wav", dtype="float32")[0] for name in ("male", "female"))
    assert len(male) == len(female)
    np.testing.assert_allclose(male + female, audio[: len(male)], atol=atol)
    assert sorted(path.name for path in folder.iterdir()) == ["female.wav", "male.wav"]
    return len(male)


def test_a_wav_through_a_pipe_becomes_a_file_of_each_source(
    start: Any, models: list[str], wav: Path, tmp_path: Path
) -> None:
    code, out, err = ended(start(*models, "-o", tmp_path / "out"), wav.read_bytes())

    assert (code, out) == (0, b"")
    assert whole(tmp_path / "out", wav) == 2 * RATE
    assert "0:00:02.0 separated, load" in err
    assert "delay 80 ms" in err


@pytest.mark.full
def test_bare_samples_go_in_and_come_out_interleaved(start: Any, models: list[str], wav: Path) -> None:
    audio = soundfile.read(wav, dtype="float32")[0]
    stereo = np.stack([audio, -0.5 * audio]).astype(np.float32)
    form = PcmFormat(44100, 2, "f32le")

    process = start(
        *models, "-o", "-", "--raw", "f32le", "--rate", 44100, "--channels", 2, "--raw-output", "f32le", "--quiet"
    )
    code, out, err = ended(process, form.encode(stereo))

    assert (code, err) == (0, "")
    found = PcmFormat(44100, 4, "f32le").decode(out)
    assert found.shape == (4, len(audio))
    np.testing.assert_allclose(found[:2] + found[2:], stereo, atol=1e-5)


@pytest.mark.full
def test_named_pipes_may_be_opened_in_any_order(start: Any, models: list[str], wav: Path, tmp_path: Path) -> None:
    pipes = {name: tmp_path / f"{name}.fifo" for name in ("male", "female")}
    for path in pipes.values():
        os.mkfifo(path)
    read: dict[str, bytes] = {}

    def listen() -> None:
        # The other way round than they are given, and the second only when the first has ended.
        for name in ("female", "male"):
            read[name] = pipes[name].read_bytes()

    listener = threading.Thread(target=listen, daemon=True)
    listener.start()
    process = start(*models, *(part for name, path in pipes.items() for part in ("-o", f"{name}={path}")))
    code, _, err = ended(process, wav.read_bytes())
    listener.join(20)

    assert code == 0, err
    decoded = {name: PcmFormat(RATE, 1, "s16le").decode(data) for name, data in read.items()}
    audio = soundfile.read(wav, dtype="float32")[0]
    np.testing.assert_allclose(sum(decoded.values())[0], audio, atol=2.0**-14)


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.full)])
def test_a_stop_while_nothing_comes_leaves_whole_files(
    start: Any, models: list[str], wav: Path, tmp_path: Path, number: int
) -> None:
    out = tmp_path / "out"
    pipe = tmp_path / "male.fifo"
    os.mkfifo(pipe)
    process = start(*models, "-o", f"male={pipe}", "-o", f"female={out / 'female.wav'}")
    process.stdin.write(wav.read_bytes()[: 44 + RATE * 2])
    process.stdin.flush()
    with pipe.open("rb", buffering=0) as reader:
        # A part has come out: the program is at work, and waits for more.
        heard = reader.read(2 * (RATE // 2))
        time.sleep(0.5)
        process.send_signal(number)
        while data := reader.read(1 << 16):
            heard += data
    assert process.wait(60) == 0
    assert "separated until stopped" in process.stderr.read().decode()
    female = soundfile.read(out / "female.wav", dtype="float32")[0]
    male = PcmFormat(RATE, 1, "s16le").decode(heard)[0]
    assert len(male) == len(female) == RATE
    np.testing.assert_allclose(male + female, soundfile.read(wav, dtype="float32")[0][:RATE], atol=2.0**-14)


@pytest.mark.full
def test_a_reader_that_goes_does_not_hurt_the_others(start: Any, models: list[str], wav: Path, tmp_path: Path) -> None:
    process = start(*models, "-o", "male=-", "-o", f"female={tmp_path / 'female.wav'}")
    feeder = threading.Thread(target=lambda: (process.stdin.write(wav.read_bytes()), process.stdin.close()))
    feeder.start()
    assert len(process.stdout.read(1000)) == 1000
    process.stdout.close()
    feeder.join()
    assert process.wait(60) == 0
    assert soundfile.info(tmp_path / "female.wav").frames == 2 * RATE


@pytest.mark.full
def test_without_any_reader_the_stream_ends(start: Any, models: list[str], wav: Path) -> None:
    process = start(*models, "-o", "-")
    process.stdout.close()
    process.stdin.write(wav.read_bytes())
    process.stdin.flush()
    # Its input stays open: it ends by itself.
    assert process.wait(60) == 0
    assert "nobody reads standard output any more" in process.stderr.read().decode()


@pytest.mark.full
def test_a_timeout_ends_a_stream_that_stalls(start: Any, models: list[str], wav: Path, tmp_path: Path) -> None:
    process = start(*models, "-o", tmp_path / "out", "--timeout", 1.5)
    process.stdin.write(wav.read_bytes()[: 44 + RATE])
    process.stdin.flush()
    assert process.wait(60) == 0
    assert whole(tmp_path / "out", wav) == RATE // 2


@pytest.mark.full
def test_what_came_before_bad_samples_is_written(start: Any, models: list[str], tmp_path: Path) -> None:
    audio = np.random.default_rng(0).uniform(-0.1, 0.1, (1, RATE)).astype(np.float32)
    audio[0, 12000] = np.inf
    process = start(*models, "-o", tmp_path / "out", "--raw", "f32le", "--rate", RATE)

    code, _, err = ended(process, PcmFormat(RATE, 1, "f32le").encode(audio))

    assert code == 1
    assert "not finite; got at 0.750 s" in err
    frames = soundfile.info(tmp_path / "out" / "male.wav").frames
    assert 0 < frames <= 12000


@pytest.mark.full
def test_a_source_is_learned_from_the_stream(start: Any, models: list[str], wav: Path, tmp_path: Path) -> None:
    process = start(*models[:2], "--learn", "rest=4", "--adapt", "male=20", "--warm-start", "-o", tmp_path / "out")

    code, _, err = ended(process, wav.read_bytes())

    assert code == 0, err
    audio = soundfile.read(wav, dtype="float32")[0]
    found = [soundfile.read(tmp_path / "out" / f"{name}.wav", dtype="float32")[0] for name in ("male", "rest")]
    np.testing.assert_allclose(sum(found), audio, atol=1e-5)
    assert min(np.abs(one).max() for one in found) > 0.01


@pytest.mark.full
def test_the_meter_stays_on_one_line_of_a_terminal(
    models: list[str], wav: Path, tmp_path: Path, on_a_terminal: Any
) -> None:
    command = [str(PROGRAM), "stream", *models, "-o", str(tmp_path / "out"), "-i", str(wav)]
    code, shown = on_a_terminal(command)
    assert code == 0, shown
    assert "male" in shown
    assert " dB" in shown
    assert shown.count("\n") == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-o", "nobody=x.wav"], "no such source is there to write"),
        (["-o", "male=x.mp3"], "no such pipe is there"),
        (["-o", "male=-", "-o", "female=-"], "only one source fits into standard output"),
        (["-o", "out", "-o", "male=x.wav"], "exclude each other"),
        (["-o", "out", "--raw", "s16le"], "need their rate"),
        (["-o", "out", "--rate", "8000"], "WAV says its rate itself"),
        (["-o", "out", "--raw", "mp3", "--rate", "8000"], "--raw: no such format"),
        (["-o", "out", "--raw-output", "mp3"], "--raw-output: no such format"),
        (["-o", "out", "--learn", "rest"], "not of the form NAME=COMPONENTS"),
        (["-o", "out", "--learn", "rest=0"], "components of rest must be a whole number"),
        (["-o", "out", "--adapt", "nobody"], "no such source is there to adapt"),
        (["-o", "out", "--transform", "reassigned"], "can be inverted"),
        (["-o", "out", "-i", "nowhere.wav"], "nowhere.wav"),
        (["-o", "out", "--device", "default", "--raw", "s16le"], "a device needs no other input"),
    ],
)
def test_wrong_commands_are_told(
    models: list[str],
    wav: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    from inmf_flow.cli import main

    monkeypatch.chdir(tmp_path)
    given = arguments if {"-i", "--device", "--raw", "--rate"} & set(arguments) else [*arguments, "-i", str(wav)]
    with pytest.raises(SystemExit) as stopped:
        main(["stream", *models, *given])
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_sound_card_is_read_and_what_it_loses_is_counted(
    models: list[str], speech: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """No sound card is here: PortAudio's side of the package is played by a thread that calls back as it would."""
    from types import SimpleNamespace

    from inmf_flow.cli import main

    audio = read_audio(speech["mixture"])[0][:, :RATE]

    class Stream:
        def __init__(self, **options: Any) -> None:
            self._take, self._finish = options["callback"], options["finished_callback"]
            assert options["samplerate"] == RATE

        def start(self) -> None:
            threading.Thread(target=self._play).start()

        def _play(self) -> None:
            for at in range(0, RATE, 400):
                self._take(audio[:, at : at + 400].T, 400, None, at == 800)
            self._finish()

        def close(self) -> None: ...

    package = SimpleNamespace(
        query_devices=lambda device, kind: {"default_samplerate": float(RATE)},
        InputStream=Stream,
        PortAudioError=OSError,
    )
    monkeypatch.setitem(sys.modules, "sounddevice", package)
    with pytest.raises(SystemExit) as stopped:
        main(["stream", *models, "-o", str(tmp_path / "out"), "--device", "default"])

    assert stopped.value.code == 0
    assert "1 lost" in capsys.readouterr().err
    found = [soundfile.read(tmp_path / "out" / f"{name}.wav", dtype="float32")[0] for name in ("male", "female")]
    np.testing.assert_allclose(sum(found), audio[0], atol=1e-5)
