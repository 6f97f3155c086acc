import struct
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from inmf_flow.audio import WavWriter, audio_info, read_audio, write_audio
from inmf_flow.errors import ArgumentError, AudioError, OutputError


def noise(frames: int, channels: int = 1) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((channels, frames)).astype(np.float32)


class SmallRiffWriter(WavWriter):
    """Turns to RF64 past 10 kB, as the real one does past 4 GiB."""

    _riff_limit = 10_000


@settings(max_examples=30, deadline=None)
@given(
    channels=st.integers(1, 8),
    sizes=st.lists(st.integers(0, 300), max_size=5),
    rate=st.sampled_from([1, 8000, 44100, 192000]),
)
def test_what_is_written_in_blocks_is_read_back_unchanged(tmp_path_factory, channels, sizes, rate):
    path = tmp_path_factory.mktemp("out") / "out.wav"
    audio = 3.0 * noise(sum(sizes), channels)  # far beyond full scale: it must not be clipped
    with WavWriter(path, rate, channels) as wav:
        start = 0
        for size in sizes:
            wav.write(audio[:, start : start + size])
            start += size
    back, back_rate = soundfile.read(path, dtype="float32", always_2d=True)
    np.testing.assert_array_equal(back.T, audio)
    assert back_rate == rate
    assert soundfile.info(path).subtype == "FLOAT"


def chunks(path: Path) -> dict[bytes, bytes]:
    content = path.read_bytes()
    found, position = {}, 12
    while position < len(content):
        name, size = struct.unpack("<4sI", content[position : position + 8])
        found[name] = content[position + 8 : position + 8 + min(size, len(content))]
        position += 8 + size + size % 2
    return found


def test_the_file_has_the_chunks_of_float_wav_and_no_peak(tmp_path):
    path = tmp_path / "out.wav"
    write_audio(path, noise(100, 2), 44100)
    found = chunks(path)
    assert list(found) == [b"JUNK", b"fmt ", b"fact", b"data"]
    assert struct.unpack("<HHIIHHH", found[b"fmt "]) == (3, 2, 44100, 352800, 8, 32, 0)
    assert struct.unpack("<I", found[b"fact"]) == (100,)
    assert struct.unpack("<I", path.read_bytes()[4:8]) == (path.stat().st_size - 8,)


def test_equal_audio_gives_equal_bytes_whenever_and_however_it_is_written(tmp_path):
    audio = noise(1000, 2)
    audio[:, ::7] = 0.0
    write_audio(tmp_path / "a.wav", audio, 16000)
    time.sleep(1.1)  # libsndfile's PEAK chunk counts seconds
    audio[:, ::7] = -0.0
    with WavWriter(tmp_path / "b.wav", 16000, 2) as wav:
        for start in range(0, 1000, 300):
            wav.write(np.asfortranarray(audio[:, start : start + 300].astype(np.float64)))
    assert (tmp_path / "a.wav").read_bytes() == (tmp_path / "b.wav").read_bytes()


def test_a_long_file_becomes_rf64_that_others_read(tmp_path):
    path = tmp_path / "long.wav"
    audio = noise(5000, 2)
    with SmallRiffWriter(path, 48000, 2) as wav:
        wav.write(audio)
    assert path.read_bytes()[:4] == b"RF64"
    assert path.read_bytes()[12:16] == b"ds64"
    assert soundfile.info(path).format == "RF64"
    np.testing.assert_array_equal(soundfile.read(path, dtype="float32")[0].T, audio)
    np.testing.assert_array_equal(read_audio(path)[0], audio)
    path.write_bytes(path.read_bytes()[:-800])
    with pytest.raises(AudioError, match="truncated"):
        audio_info(path)


def test_rf64_starts_exactly_where_riff_sizes_end(tmp_path):
    fits = (10_000 + 8 - 94) // 4
    for frames, kind in ((fits, b"RIFF"), (fits + 1, b"RF64")):
        with SmallRiffWriter(tmp_path / "x.wav", 48000, 1) as wav:
            wav.write(noise(frames))
        assert (tmp_path / "x.wav").read_bytes()[:4] == kind
        assert read_audio(tmp_path / "x.wav")[0].shape == (1, frames)


def test_header_numbers_of_a_six_hour_recording_fit_rf64(tmp_path):
    wav = WavWriter(tmp_path / "x.wav", 48000, 2)
    wav.frames = 6 * 3600 * 48000
    header = wav._header()
    assert header[:8] == b"RF64" + b"\xff" * 4
    riff, data, frames = struct.unpack("<QQQ", header[20:44])
    assert data == frames * 8 == wav.frames * 8
    assert riff == data + len(header) - 8


@pytest.mark.parametrize("error", [ValueError("stop"), KeyboardInterrupt(), StopIteration(), OSError("elsewhere")])
@pytest.mark.parametrize("blocks", [0, 2])
def test_an_interrupted_file_leaves_nothing_and_keeps_what_was_there(tmp_path, error, blocks):
    path = tmp_path / "out.wav"
    path.write_bytes(b"before")

    def write_and_break():
        with WavWriter(path, 16000, 1) as wav:
            for _ in range(blocks):
                wav.write(noise(100_000))
            raise error

    with pytest.raises(type(error)) as caught:
        write_and_break()
    assert caught.value is error
    assert path.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path]


def test_an_interrupt_while_the_file_is_finished_leaves_nothing(tmp_path, monkeypatch):
    def interrupt():
        raise KeyboardInterrupt

    wav = WavWriter(tmp_path / "out.wav", 16000, 1)
    with pytest.raises(KeyboardInterrupt), wav:
        monkeypatch.setattr(wav, "_header", interrupt)
    assert list(tmp_path.iterdir()) == []


def test_the_file_appears_only_when_it_is_whole(tmp_path):
    path = tmp_path / "deep" / "er" / "out.wav"
    with WavWriter(path, 16000, 1) as wav:
        wav.write(noise(10))
        assert not path.exists()
    assert path.exists()
    assert [p.name for p in path.parent.iterdir()] == ["out.wav"]


def test_what_cannot_be_written_is_one_clear_error(tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "folder.wav").mkdir()
    for path in (tmp_path / "file" / "out.wav", tmp_path / "folder.wav", tmp_path / ("x" * 300 + ".wav")):
        with pytest.raises(OutputError, match="cannot be written; got") as caught:
            write_audio(path, noise(10), 16000)
        assert caught.value.__cause__ is None
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "folder.wav"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux")
def test_a_full_disk_is_one_clear_error(tmp_path, monkeypatch):
    from inmf_flow.audio import writer

    class Full:
        def __enter__(self):
            return Path("/dev/full")

        def __exit__(self, *error):
            return None

    monkeypatch.setattr(writer, "atomic_path", lambda path: Full())
    with pytest.raises(OutputError, match="No space left"):
        write_audio(tmp_path / "out.wav", noise(100_000), 16000)


@pytest.mark.parametrize(
    ("block", "message"),
    [
        (np.zeros((1, 5), np.float32), "wrong shape"),
        (np.zeros(5, np.float32), "wrong shape"),
        (np.zeros((2, 5), np.int16), "floating point"),
        (np.zeros((2, 5), complex), "floating point"),
        (np.full((2, 5), np.nan), "not finite"),
        (np.full((2, 5), 1e300), "not finite"),
    ],
)
def test_blocks_that_do_not_fit_are_refused(tmp_path, block, message):
    with (
        pytest.raises((ArgumentError, AudioError), match=message),
        WavWriter(tmp_path / "o.wav", 16000, 2) as wav,
    ):
        wav.write(block)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("rate", "channels"), [(0, 1), (16000, 0), (16000, 1025), (1.5, 1), (1 << 32, 1)])
def test_rates_and_channels_that_do_not_fit_are_refused(tmp_path, rate, channels):
    with pytest.raises(ArgumentError):
        WavWriter(tmp_path / "o.wav", rate, channels)


def test_writing_outside_the_context_is_refused(tmp_path):
    wav = WavWriter(tmp_path / "o.wav", 16000, 1)
    with pytest.raises(ArgumentError, match="with statement"):
        wav.write(noise(1))
    with wav:
        wav.write(noise(1)[0])
    with pytest.raises(ArgumentError, match="with statement"):
        wav.write(noise(1))
