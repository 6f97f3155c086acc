"""Parts of files are analysed and separated as if they were files of their own, in time with the whole."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr

from inmf_flow.audio import open_audio, read_audio
from inmf_flow.errors import AudioError
from inmf_flow.factorize import INMF
from inmf_flow.separation import Dictionary, analyze_file, parse_mask, separate_file
from inmf_flow.transform import get_transform

STFT = get_transform("stft", n_fft=512)


@pytest.fixture(name="dictionary", scope="module")
def dictionary_fixture(speech: dict[str, Path]) -> Dictionary:
    models = {}
    for source in ("male", "female"):
        points = analyze_file(speech[f"{source}_train"], [STFT], 16000, start=0.5, stop=2.5)
        models[source] = INMF(6, max_iter=30).fit(points)
    return Dictionary(models)


@pytest.fixture(name="wide", scope="module")
def wide_fixture(speech: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seconds of two people at 44.1 kHz."""
    audio = soundfile.read(speech["mixture"], frames=32000, dtype="float32")[0]
    path = tmp_path_factory.mktemp("wide") / "wide.wav"
    soundfile.write(path, soxr.resample(audio, 16000, 44100), 44100, subtype="FLOAT")
    return path


def test_a_part_has_the_points_of_a_file_of_its_own(speech: dict[str, Path], tmp_path: Path) -> None:
    audio, rate = soundfile.read(speech["mixture"], start=8000, frames=12000, dtype="float32")
    soundfile.write(tmp_path / "part.wav", audio, rate, subtype="FLOAT")
    part = analyze_file(speech["mixture"], [STFT], start=0.5, stop=1.25)
    alone = analyze_file(tmp_path / "part.wav", [STFT])
    assert part.duration == alone.duration == 0.75
    assert np.array_equal(part.blocks[0].magnitudes, alone.blocks[0].magnitudes)
    with pytest.raises(AudioError, match="ends after the audio"):
        analyze_file(speech["mixture"], [STFT], start=1.0, stop=99.0)


# Cuts at samples that the analysis's rate does not have.
@pytest.mark.parametrize("cut", [(30_001, 60_000), (44_099, 44_101), (12_347, 70_003)])
def test_estimates_of_parts_together_are_the_mixture(
    dictionary: Dictionary, wide: Path, tmp_path: Path, cut: tuple[int, ...]
) -> None:
    limits = [None, *(sample / 44100 for sample in cut), None]
    estimates: dict[str, list[np.ndarray]] = {"male": [], "female": []}
    for number, (start, stop) in enumerate(itertools.pairwise(limits)):
        done = separate_file(
            wide, tmp_path / str(number), dictionary, STFT, max_iter=5, sample_rate=16000, start=start, stop=stop
        )
        for source, path in done.outputs.items():
            audio = read_audio(path)[0]
            assert audio.shape[1] == done.frames
            estimates[source].append(audio)
    whole = [np.concatenate(parts, axis=1) for parts in estimates.values()]
    mixture = read_audio(wide)[0]
    assert all(each.shape == mixture.shape for each in whole)
    assert np.abs(sum(whole) - mixture).max() < 1e-6


def test_estimates_of_a_part_are_in_time_with_the_mixture(dictionary: Dictionary, wide: Path, tmp_path: Path) -> None:
    """A dictionary of one source gives the mixture back, as far as analysis goes, where nothing else can mend it."""
    alone = Dictionary({"male": dictionary.models[0]})
    mixture = read_audio(wide)[0][0]
    # 44.1 kHz has 2.76 samples for each of 16 kHz: the worst begin is almost one of these late.
    for first in (22_051, 22_052, 22_053):
        done = separate_file(
            wide,
            tmp_path,
            alone,
            STFT,
            mask=parse_mask("paper"),
            max_iter=5,
            sample_rate=16000,
            start=first / 44100,
            stop=1.5,
        )
        estimate = read_audio(done.outputs["male"])[0][0]
        expected = mixture[first : first + len(estimate)]
        # Without the ends, where resampling misses what is around.
        error, expected = ((x[4410:-4410] ** 2).mean() for x in (estimate - expected, expected))
        # A sample late is below 20 dB.
        assert expected > 1e4 * error


def test_open_audio_gives_the_whole_or_a_part(wide: Path) -> None:
    with open_audio(wide) as whole, open_audio(wide, start=0.5) as rest, open_audio(wide, 16000, stop=0.5) as begin:
        assert (whole.frames, rest.frames, begin.frames) == (88200, 66150, 8000)
        assert next(rest.blocks(10)).tolist() == read_audio(wide)[0][:, 22050:22060].tolist()
