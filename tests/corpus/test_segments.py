"""Segments of a file are the file: cut anywhere, read at any rate, no sample is lost, doubled or different."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from inmf_flow.audio import read_audio, write_audio
from inmf_flow.corpus import (
    Recording,
    SegmentReader,
    Segments,
    cut_segments,
    name_recordings,
    open_recording,
    read_recording,
)
from inmf_flow.errors import ArgumentError, AudioError, AudioNotFoundError, ConfigError

Clip = Callable[..., Path]
RATES = [8000, 11025, 16000, 22050, 44100, 48000]


@pytest.fixture(name="clip", scope="module")
def clip_fixture(tmp_path_factory: pytest.TempPathFactory, speech: dict[str, Path]) -> Clip:
    """Write real speech, its samples taken to be of another rate, so many frames long and in any format."""
    folder = tmp_path_factory.mktemp("clips")
    voice = soundfile.read(speech["male_train"], dtype="float32")[0]

    def clip(frames: int, rate: int = 16000, name: str = "clip.wav", channels: int = 1, **options: str) -> Path:
        audio = np.resize(voice, frames)
        path = folder / f"{frames}-{rate}-{channels}-{name}"
        if not path.exists():
            data = np.stack([audio * (1 - 0.2 * channel) for channel in range(channels)], 1)
            soundfile.write(path, data, rate, **({"subtype": "FLOAT"} if name.endswith("wav") else {}) | options)
        return path

    return clip


def joined(recordings: list[Recording], sample_rate: int | None = None) -> NDArray[np.float32]:
    return np.concatenate([read_recording(recording, sample_rate)[0] for recording in recordings], axis=1)


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(
    frames=st.integers(1, 90_000),
    rate=st.sampled_from(RATES),
    to_rate=st.sampled_from([None, *RATES, 16001]),
    cuts=st.lists(st.floats(0, 1), max_size=5),
    channels=st.integers(1, 2),
    size=st.integers(500, 70_000),
)
def test_segments_that_meet_are_the_whole_file(
    clip: Clip, frames: int, rate: int, to_rate: int | None, cuts: list[float], channels: int, size: int
) -> None:
    path = clip(frames, rate, channels=channels)
    whole, delivered = read_audio(path, to_rate)
    limits = sorted({round(cut * frames) for cut in cuts} - {0, frames})
    limits = [0, *limits, frames]
    pieces = []
    for start, stop in itertools.pairwise(limits):
        with SegmentReader(path, start / rate, None if stop == frames else stop / rate, to_rate) as reader:
            promised = reader.frames
            assert reader.sample_rate == delivered
            assert reader.info.frames == frames
            blocks = [*reader.blocks(size), np.zeros((channels, 0), np.float32)]
            assert all(block.shape == (channels, size) for block in blocks[:-2])
            pieces.append(np.concatenate(blocks, axis=1))
            assert reader.frames == promised == pieces[-1].shape[1]
    together = np.concatenate(pieces, axis=1)
    assert together.shape == whole.shape
    if to_rate in (None, rate):
        np.testing.assert_array_equal(together, whole)
    else:
        # The resampler's own rounding: it begins elsewhere.
        np.testing.assert_allclose(together, whole, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "options", "rate"),
    [
        ("a.flac", {}, 16000),
        ("a.ogg", {}, 44100),
        ("a.opus", {"format": "OGG", "subtype": "OPUS"}, 48000),
        ("a.mp3", {}, 44100),
        ("a.aiff", {"subtype": "PCM_24"}, 22050),
        # These cannot seek.
        ("gsm.wav", {"subtype": "GSM610"}, 8000),
        ("a.au", {"subtype": "G721_32"}, 8000),
    ],
)
def test_segments_of_every_kind_of_format_meet(clip: Clip, name: str, options: dict[str, str], rate: int) -> None:
    path = clip(rate * 7 + 77, rate, name, **options)
    segments = cut_segments([Recording("a", path)], Segments(2.0))
    assert len(segments) == 4
    for to_rate in (None, 11025):
        whole, _ = read_audio(path, to_rate)
        together = joined(segments, to_rate)
        assert together.shape == whole.shape
        np.testing.assert_allclose(together, whole, atol=1e-6)


@given(
    milliseconds=st.integers(1, 200_000),
    seconds=st.floats(1, 60),
    share=st.floats(0, 0.5),
    start=st.one_of(st.none(), st.floats(0, 50)),
    length=st.one_of(st.none(), st.floats(0.5, 100)),
)
def test_segments_cover_the_recording_in_order_and_are_never_too_long(
    clip: Clip, milliseconds: int, seconds: float, share: float, start: float | None, length: float | None
) -> None:
    duration = milliseconds / 1000
    stop = None if length is None else (start or 0.0) + length
    recording = Recording("talk", clip(milliseconds, 1000), start, stop, {"who": "Ada"})
    segments = Segments(seconds, share * seconds)
    begin, end = start or 0.0, min(duration, math.inf if stop is None else stop)
    cut = cut_segments([recording], segments)
    assert (cut[0].start, cut[-1].stop) == (start, stop)
    assert all(part.path == recording.path and part.metadata == recording.metadata for part in cut)
    assert len({part.item for part in cut}) == len(cut)
    limits = [(part.start or 0.0, end if part.stop is None else min(part.stop, end)) for part in cut]
    for (_, one_stop), (two_start, _) in itertools.pairwise(limits):
        assert one_stop - two_start >= segments.overlap - 0.002
        assert one_stop < end
        assert two_start > begin
    if len(cut) > 1:
        assert all(seconds / 2 - 0.003 <= last - first <= seconds + 0.002 for first, last in limits)
    if not segments.overlap:
        assert all(one[1] == two[0] for one, two in itertools.pairwise(limits))


def test_long_files_are_cut_at_the_same_places_and_short_ones_are_not(clip: Clip) -> None:
    long, short = clip(8000 * 25, 8000), clip(8000 * 10, 8000)
    cut = cut_segments(name_recordings([long, short]), Segments(10))
    stem = long.stem
    assert [(part.item, part.start, part.stop) for part in cut] == [
        (f"{stem}@00000000-00010000", None, 10.0),
        (f"{stem}@00010000-00020000", 10.0, 20.0),
        (f"{stem}@00020000-00025000", 20.0, None),
        (short.stem, None, None),
    ]
    uneven = cut_segments([Recording("x", clip(8000 * 24, 8000))], Segments(10))
    assert [(part.start, part.stop) for part in uneven] == [(None, 10.0), (10.0, 17.0), (17.0, None)]
    overlapping = cut_segments([Recording("x", long)], Segments(10, 2.5))
    assert [(part.start, part.stop) for part in overlapping] == [(None, 10.0), (7.5, 17.5), (15.0, None)]


def test_segments_of_segments_keep_the_place_in_the_file(clip: Clip) -> None:
    part = Recording("talk@00005000-00020000", clip(8000 * 25, 8000), 5.0, 20.0)
    assert [(cut.item, cut.start, cut.stop) for cut in cut_segments([part], Segments(10))] == [
        ("talk@00005000-00015000", 5.0, 15.0),
        ("talk@00015000-00020000", 15.0, 20.0),
    ]


def test_segments_of_one_name_are_told(clip: Clip) -> None:
    path = clip(8000 * 25, 8000)
    overlapping = [Recording("talk", path), Recording("TALK@00000000-00010000", path, 0.0, 10.0)]
    with pytest.raises(ConfigError, match="two recordings have a segment of one name"):
        cut_segments(overlapping, Segments(10))
    assert len(cut_segments(overlapping, Segments(20))) == 3


def test_files_that_cannot_be_read_are_left_whole(tmp_path: Path) -> None:
    (tmp_path / "bad.wav").write_bytes(b"RIFF nonsense")
    recordings = [Recording("bad", tmp_path / "bad.wav"), Recording("none", tmp_path / "none.wav")]
    assert cut_segments(recordings, Segments(10)) == recordings


@pytest.mark.parametrize(
    ("seconds", "overlap", "what"),
    [
        (0.5, 0, "too short"),
        (math.nan, 0, "too short"),
        (math.inf, 0, "too short"),
        (10, -1, "overlap"),
        (10, 6, "far"),
    ],
)
def test_segments_that_make_no_sense_are_refused(seconds: float, overlap: float, what: str) -> None:
    with pytest.raises(ArgumentError, match=what):
        Segments(seconds, overlap)


def test_segments_outside_the_file_are_told(clip: Clip, tmp_path: Path) -> None:
    path = clip(16000)
    with pytest.raises(AudioError, match=r"the segment ends after the audio; got stop 2\.0; expected 1\.000 s"):
        open_recording(Recording("a", path, 0.5, 2.0))
    with pytest.raises(AudioError, match=r"the segment holds no audio; got start 1\.0; expected less than 1\.000 s"):
        open_recording(Recording("a", path, 1.0))
    with pytest.raises(AudioError, match="the segment holds no audio"):
        open_recording(Recording("a", path, 0.5, 0.5 + 1e-6))
    with pytest.raises(ArgumentError, match="this is not a segment"):
        SegmentReader(path, -1.0)
    with pytest.raises(AudioNotFoundError):
        open_recording(Recording("a", tmp_path / "none.wav", 1.0))


def test_rounded_limits_may_miss_the_end_a_little(clip: Clip) -> None:
    audio, _ = read_recording(Recording("a", clip(16000), 0.5, 1.001))
    assert audio.shape == (1, 8000)


def test_damage_is_told_where_it_is_and_spares_the_segments_before_it(tmp_path: Path) -> None:
    audio = np.zeros((1, 48000), np.float32)
    path = tmp_path / "a.wav"
    soundfile.write(path, np.where(np.arange(48000) == 40000, np.nan, audio[0]), 16000, subtype="FLOAT")
    assert read_recording(Recording("a", path, 0.5, 2.0))[0].shape == (1, 24000)
    with pytest.raises(AudioError, match=r"not finite numbers; got nan at 2\.500 s \(sample 40000, channel 1\)"):
        read_recording(Recording("a", path, 2.0))


def test_truncated_audio_is_told(clip: Clip, tmp_path: Path) -> None:
    data = clip(16000 * 9, name="whole.flac").read_bytes()
    path = tmp_path / "cut.flac"
    path.write_bytes(data[: len(data) // 2])
    assert read_recording(Recording("a", path, 1.0, 2.0))[0].shape == (1, 16000)
    for limits in ((1.0, 8.0), (6.0, 8.0), (8.0, None)):
        with pytest.raises(AudioError, match="the audio is truncated or damaged"):
            read_recording(Recording("a", path, *limits))


def test_whole_recordings_are_read_as_files_are(speech: dict[str, Path]) -> None:
    recording = Recording("mixture", speech["mixture"])
    np.testing.assert_array_equal(read_recording(recording, 8000)[0], read_audio(speech["mixture"], 8000)[0])


def test_a_late_segment_is_read_without_what_is_before_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "long.wav"
    write_audio(path, np.zeros((1, 8000 * 600), np.float32), 8000)
    decoded = 0
    real = SegmentReader._decode

    def counted(self: SegmentReader, stream: object, frames: int, position: int) -> NDArray[np.float32]:
        nonlocal decoded
        piece = real(self, stream, frames, position)
        decoded += piece.shape[1]
        return piece

    monkeypatch.setattr(SegmentReader, "_decode", counted)
    assert read_recording(Recording("a", path, 590.0, 591.0), 16000)[0].shape == (1, 16000)
    assert decoded < 8000 * 4
