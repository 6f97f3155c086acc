"""Separation block by block, in memory and from file to files, leaves no trace of the cuts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from inmf_flow import get_transform, separate
from inmf_flow.audio import audio_info, read_audio, resample, write_audio
from inmf_flow.errors import AudioError
from inmf_flow.separation import Dictionary, Mask, separate_blocks, separate_file


def pieces(audio: NDArray[Any], sizes: list[int]) -> Iterator[NDArray[Any]]:
    """Cut audio [channels, samples] into blocks of the given sizes, over and over."""
    start, turn = 0, 0
    while start < audio.shape[-1]:
        size = sizes[turn % len(sizes)]
        yield audio[:, start : start + size]
        start, turn = start + size, turn + 1


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    length=st.integers(1, 12000),
    sizes=st.lists(st.integers(1, 5000), min_size=1, max_size=4).filter(lambda sizes: sum(sizes) > 200),
    n_fft=st.sampled_from([64, 333, 512]),
    divisor=st.sampled_from([2, 3, 4]),
    block=st.floats(0.001, 0.4),
)
def test_blocks_equal_the_whole(
    length: int, sizes: list[int], n_fft: int, divisor: int, block: float, voices: Any
) -> None:
    audio = np.stack([voices.mixture[:length], voices.mixture[5000 : 5000 + length]])
    stft = get_transform("stft", n_fft=n_fft, hop_length=n_fft // divisor)
    whole = separate(audio, 16000, voices.models, stft, max_iter=8)
    parts = list(
        separate_blocks(pieces(audio, sizes), 16000, Dictionary(voices.models), stft, Mask(), 8, block_seconds=block)
    )
    for name, estimate in whole.items():
        joined = np.concatenate([part[name] for part in parts], axis=-1)
        assert joined.shape == estimate.shape
        assert np.abs(joined - estimate).max() < 1e-5


def test_blocks_are_as_long_as_asked(voices: Any) -> None:
    stft = get_transform("stft", n_fft=512)
    parts = separate_blocks(
        [voices.mixture[None, :20000]], 16000, Dictionary(voices.models), stft, Mask(), 2, block_seconds=0.25
    )
    assert [part["male"].shape for part in parts] == [(1, 4000)] * 5


def test_files_equal_separation_in_memory(voices: Any, tmp_path: Path) -> None:
    stft = get_transform("stft", n_fft=1000)
    done = separate_file(voices.path, tmp_path, Dictionary(voices.models), stft, max_iter=10, block_seconds=0.7)
    whole = separate(voices.mixture, 16000, voices.models, stft, max_iter=10)
    assert (done.sample_rate, done.channels, done.frames) == (16000, 1, len(voices.mixture))
    total = 0
    for name, path in done.outputs.items():
        assert path == tmp_path / f"{name}.wav"
        audio, rate = read_audio(path)
        assert rate == 16000
        assert np.abs(audio[0] - whole[name]).max() < 1e-5
        total = total + audio[0]
    assert np.abs(total - voices.mixture).max() < 1e-6


@pytest.mark.parametrize(("native", "analysed"), [(44100, 16000), (16000, 8000), (8000, 16000), (22050, 22050)])
def test_analysis_at_another_rate_keeps_rate_channels_length_and_sum(
    native: int, analysed: int, voices: Any, tmp_path: Path
) -> None:
    stereo = resample(np.stack([voices.mixture[:24000], voices.mixture[8000:32000]]), 16000, native)[:, :-7]
    write_audio(tmp_path / "mix.wav", stereo, native)
    done = separate_file(
        tmp_path / "mix.wav",
        tmp_path / "out",
        Dictionary(voices.models),
        get_transform("stft", n_fft=512),
        max_iter=5,
        sample_rate=analysed,
        block_seconds=0.5,
    )
    total = np.zeros_like(stereo)
    for path in done.outputs.values():
        info = audio_info(path)
        assert (info.sample_rate, info.channels, info.frames) == (native, 2, stereo.shape[1])
        estimate = read_audio(path)[0]
        assert np.linalg.norm(estimate) > 0.1 * np.linalg.norm(stereo)
        total += estimate
    assert np.abs(total - stereo).max() < 2e-6


def test_equal_runs_write_equal_bytes_and_failed_ones_nothing(voices: Any, tmp_path: Path) -> None:
    dictionary, stft = Dictionary(voices.models), get_transform("stft", n_fft=512)
    write_audio(tmp_path / "mix.wav", voices.mixture[None, :8000], 16000)
    for folder in ("one", "two"):
        separate_file(tmp_path / "mix.wav", tmp_path / folder, dictionary, stft, max_iter=3)
    for name in dictionary.names:
        assert (tmp_path / "one" / f"{name}.wav").read_bytes() == (tmp_path / "two" / f"{name}.wav").read_bytes()
    broken = voices.path.read_bytes()
    (tmp_path / "cut.flac").write_bytes(broken[: len(broken) // 2])
    with pytest.raises(AudioError):
        separate_file(tmp_path / "cut.flac", tmp_path / "three", dictionary, stft, max_iter=3, block_seconds=0.2)
    assert not list((tmp_path / "three").glob("*"))


def test_a_clip_with_no_sample_at_the_analysis_rate_is_shared_equally(tmp_path: Path, voices: Any) -> None:
    write_audio(tmp_path / "short.wav", np.array([0.5], np.float32), 48000)
    dictionary = Dictionary(voices.models)
    result = separate_file(
        tmp_path / "short.wav", tmp_path / "out", dictionary, get_transform("stft"), sample_rate=8000
    )
    estimates = [read_audio(path)[0] for path in result.outputs.values()]
    np.testing.assert_allclose(np.concatenate(estimates), [[0.25], [0.25]])
