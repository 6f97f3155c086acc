from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from inmf_flow.audio import AudioReader, audio_info, read_audio, resample, resampled_length, write_audio
from inmf_flow.errors import ArgumentError, AudioNotFoundError

SPEECH = Path(__file__).parents[2] / "pipelines" / "audio" / "speech"
RATES = [8000, 11025, 16000, 22050, 44100, 48000]


def noise(frames: int, channels: int = 1, seed: int = 0) -> np.ndarray:
    return (0.1 * np.random.default_rng(seed).standard_normal((channels, frames))).astype(np.float32)


@pytest.fixture(scope="module")
def long_clip(tmp_path_factory):
    path = tmp_path_factory.mktemp("audio") / "long.wav"
    write_audio(path, noise(300_001, channels=2), 44100)
    return path


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(size=st.integers(1000, 400_000), rate=st.sampled_from([None, *RATES]))
def test_blocks_joined_are_the_whole_whatever_their_size(long_clip, size, rate):
    whole, whole_rate = read_audio(long_clip, rate)
    with AudioReader(long_clip, rate) as reader:
        promised = reader.frames
        blocks = list(reader.blocks(size))
        assert reader.frames == promised == whole.shape[1]
        assert reader.sample_rate == whole_rate
    assert all(block.shape[1] == size for block in blocks[:-1])
    assert all(block.dtype == np.float32 and block.flags.c_contiguous for block in blocks)
    np.testing.assert_array_equal(np.concatenate(blocks, axis=1), whole)


@settings(max_examples=40, deadline=None)
@given(
    frames=st.integers(1, 3000),
    channels=st.integers(1, 3),
    source=st.sampled_from(RATES),
    target=st.sampled_from(RATES),
    size=st.integers(1, 500),
)
def test_short_clips_resample_to_the_same_samples_in_blocks_and_whole(
    tmp_path_factory, frames, channels, source, target, size
):
    path = tmp_path_factory.mktemp("clip") / "clip.wav"
    audio = noise(frames, channels)
    write_audio(path, audio, source)
    with AudioReader(path, target) as reader:
        blocks = [*reader.blocks(size), np.zeros((channels, 0), np.float32)]
        assert reader.frames == resampled_length(frames, source, target)
    joined = np.concatenate(blocks, axis=1)
    assert joined.shape == (channels, resampled_length(frames, source, target))
    np.testing.assert_array_equal(joined, resample(audio, source, target))
    np.testing.assert_array_equal(joined, read_audio(path, target)[0])


def test_a_real_recording_is_read_as_it_is():
    audio, rate = read_audio(SPEECH / "mixture.flac")
    expected, expected_rate = soundfile.read(SPEECH / "mixture.flac", dtype="float32", always_2d=True)
    assert rate == expected_rate == 16000
    np.testing.assert_array_equal(audio, expected.T)


def test_blocks_start_at_the_beginning_every_time_and_do_not_disturb_each_other(long_clip):
    with AudioReader(long_clip) as reader:
        first, second = reader.blocks(1000), reader.blocks(1000)
        one = next(first)
        next(first)
        np.testing.assert_array_equal(next(second), one)
        np.testing.assert_array_equal(next(reader.blocks(1000)), one)


def test_memory_does_not_grow_with_length(tmp_path):
    import tracemalloc

    peaks = []
    for seconds in (20, 80):
        path = tmp_path / f"{seconds}.wav"
        write_audio(path, noise(seconds * 16000), 16000)
        tracemalloc.start()
        with AudioReader(path, 22050) as reader:
            for _ in reader.blocks(4096):
                pass
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.1 * peaks[0]


@pytest.mark.parametrize(
    ("suffix", "subtype"),
    [
        (".wav", "PCM_U8"),
        (".wav", "PCM_24"),
        (".wav", "DOUBLE"),
        (".wav", "IMA_ADPCM"),
        (".flac", "PCM_16"),
        (".aiff", "PCM_32"),
        (".au", "FLOAT"),
        (".caf", "PCM_16"),
        (".w64", "PCM_16"),
        (".rf64", "PCM_16"),
        (".ogg", "VORBIS"),
        (".ogg", "OPUS"),
        (".mp3", "MPEG_LAYER_III"),
    ],
)
@pytest.mark.parametrize("channels", [1, 2])
def test_every_format_is_read_in_blocks_as_whole(tmp_path, suffix, subtype, channels):
    path = tmp_path / f"clip{suffix}"
    soundfile.write(path, noise(90_001, channels).T, 48000, subtype=subtype)
    expected = soundfile.read(path, dtype="float32", always_2d=True)[0].T
    info = audio_info(path)
    assert (info.sample_rate, info.channels, info.frames) == (48000, channels, expected.shape[1])
    with AudioReader(path) as reader:
        np.testing.assert_array_equal(np.concatenate(list(reader.blocks(10_007)), axis=1), expected)


def test_six_channels_and_an_odd_rate_are_fine(tmp_path):
    path = tmp_path / "six.wav"
    soundfile.write(path, noise(1000, 6).T, 12345)
    audio, rate = read_audio(path)
    assert audio.shape == (6, 1000)
    assert rate == 12345


@pytest.mark.parametrize("frames", [1, 2, 800])
def test_silence_and_the_shortest_clips_are_read(tmp_path, frames):
    path = tmp_path / "short.wav"
    write_audio(path, np.zeros((1, frames), np.float32), 16000)
    audio, _ = read_audio(path)
    np.testing.assert_array_equal(audio, np.zeros((1, frames), np.float32))


def test_a_clip_too_short_for_a_low_rate_is_read_as_no_samples(tmp_path):
    path = tmp_path / "one.wav"
    write_audio(path, np.ones((2, 1), np.float32), 48000)
    assert read_audio(path, 8000)[0].shape == (2, 0)


def test_a_flac_stream_that_does_not_know_its_length_is_read(tmp_path):
    path = tmp_path / "streamed.flac"
    audio = noise(100_000)
    soundfile.write(path, audio.T, 16000)
    content = bytearray(path.read_bytes())
    # The low 36 bits of these 8 bytes of STREAMINFO are the number of samples; 0 means unknown.
    field = int.from_bytes(content[18:26], "big") >> 36 << 36
    content[18:26] = field.to_bytes(8, "big")
    path.write_bytes(content)
    assert audio_info(path).frames == 100_000
    np.testing.assert_allclose(read_audio(path)[0], audio, atol=1e-4)


def test_a_wav_from_a_pipe_that_does_not_know_its_length_is_read(tmp_path):
    path = tmp_path / "piped.wav"
    soundfile.write(path, noise(5000).T, 16000)
    content = bytearray(path.read_bytes())
    content[4:8] = content[40:44] = b"\xff" * 4
    path.write_bytes(content)
    assert read_audio(path)[0].shape == (1, 5000)


def test_a_name_that_is_no_valid_text_is_read(tmp_path):
    path = tmp_path / "caf\udce9 \U0001f3b5.wav"
    try:
        write_audio(path, noise(10), 16000)
    except OSError:
        pytest.skip("this file system wants valid names")
    assert read_audio(path)[0].shape == (1, 10)


def test_a_closed_reader_says_so(long_clip):
    with AudioReader(long_clip) as reader:
        blocks = reader.blocks(100_000)
        next(blocks)
    with pytest.raises(ArgumentError, match="closed"):
        list(blocks)
    with pytest.raises(ArgumentError, match="closed"):
        reader.blocks(10)


@pytest.mark.parametrize("size", [0, -1, 1.5, float("nan"), "8", True])
def test_a_block_size_that_cannot_work_is_refused_at_once(long_clip, size):
    with AudioReader(long_clip) as reader, pytest.raises(ArgumentError, match="size must be a whole number"):
        reader.blocks(size)


@pytest.mark.parametrize("rate", [0, -16000, 0.5, float("inf"), None.__class__])
def test_a_sample_rate_that_cannot_work_is_refused(long_clip, rate):
    with pytest.raises(ArgumentError, match="sample_rate"):
        AudioReader(long_clip, rate)


def test_a_missing_file_is_also_a_file_not_found_error(tmp_path):
    for path in (tmp_path / "none.wav", tmp_path / "none" / "none.wav", Path("nul\0.wav")):
        with pytest.raises(AudioNotFoundError, match="no such audio file") as caught:
            read_audio(path)
        assert isinstance(caught.value, FileNotFoundError)
