"""Segmentation of real speech and music, and of noise, none of which was in the training."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from inmf_flow import INMF, PointSet, get_transform
from inmf_flow.audio import read_audio
from inmf_flow.errors import ArgumentError, InmfError, ModelFileError
from inmf_flow.segmentation import ActivationProbe, Segment, Segmenter, activation_features, read_segments

TRAINING = {
    "speech/male_train": "speech",
    "speech/female_train": "speech",
    "music/guitar_train": "music",
    "music/backing_train": "music",
    "noise/train": "noise",
}
Recording = tuple[np.ndarray, int, list[Segment]]


@pytest.fixture(scope="module")
def training(audio_dir: Path) -> list[Recording]:
    recordings = []
    for name, label in TRAINING.items():
        audio, rate = read_audio(audio_dir / f"{name}.flac")
        recordings.append((audio, rate, [Segment(0, audio.shape[-1] / rate, label)]))
    return recordings


@pytest.fixture(scope="module")
def track(audio_dir: Path) -> Recording:
    audio, rate = read_audio(audio_dir / "segmentation" / "test.flac")
    return audio, rate, read_segments(audio_dir / "segmentation" / "test.csv")


@pytest.fixture(scope="module")
def model(training: list[Recording]) -> INMF:
    stft = get_transform("stft", n_fft=1024)
    sets = [stft.analyze(audio, rate).without_synthesis() for audio, rate, _ in training]
    return INMF(20, max_iter=60).fit(PointSet.end_to_end(sets))


@pytest.fixture(scope="module")
def segmenter(model: INMF, training: list[Recording]) -> Segmenter:
    return Segmenter(model).fit(training)


def test_real_sound_that_was_not_in_the_training_is_told_apart(segmenter: Segmenter, track: Recording) -> None:
    audio, rate, truth = track
    scores = segmenter.score(segmenter.probabilities(audio, rate)[1], truth)
    # By chance a third is right, by the commonest class two fifths.
    assert scores.frames == 500
    assert scores.accuracy > 0.9
    assert min(scores.f1.values()) > 0.85


def test_loudness_alone_does_not_tell(model: INMF, training: list[Recording], track: Recording) -> None:
    """The baseline: the same probe on the level of frames instead of their components."""

    def levels(audio: np.ndarray) -> np.ndarray:
        frames = audio.reshape(-1)[: audio.size // 640 * 640].reshape(-1, 640)
        power = 10 * np.log10(np.mean(frames**2, axis=1) / np.mean(audio**2) + 1e-6)
        return power[:, None]

    audio, _, truth = track
    segmenter = Segmenter(model)
    x = [levels(a) for a, _, _ in training]
    labels = [
        name for each, (_, _, (segment,)) in zip(x, training, strict=True) for name in [segment.label] * len(each)
    ]
    segmenter.probe.fit(np.concatenate(x), labels)
    baseline = segmenter.score(segmenter.probe.predict_proba(levels(audio)), truth).accuracy
    assert baseline < 0.75


def test_borders_are_where_they_are(segmenter: Segmenter, track: Recording) -> None:
    audio, rate, truth = track
    found = segmenter.segment(audio, rate)
    assert [s.label for s in found] == [s.label for s in truth]
    assert max(abs(a.start - b.start) for a, b in zip(found, truth, strict=True)) < 0.4


def test_level_and_transform_make_little_difference(segmenter: Segmenter, track: Recording, model: INMF) -> None:
    audio, rate, truth = track
    usual = segmenter.probabilities(audio, rate)[1]
    np.testing.assert_allclose(segmenter.probabilities(audio * 0.01, rate)[1], usual, atol=0.02)
    # Templates are functions of hertz: the probe takes activations from another window.
    other = Segmenter(model, "stft:n_fft=2048,hop_length=1024", probe=segmenter.probe)
    assert other.score(other.probabilities(audio, rate)[1], truth).accuracy > 0.85


def test_components_explain_the_decision(segmenter: Segmenter, track: Recording, model: INMF) -> None:
    audio, rate, truth = track
    contributions = segmenter.contributions(audio, rate)
    assert contributions.shape == (500, 3, 20)
    logits = segmenter.probe.decision_function(segmenter.features(audio, rate))
    np.testing.assert_allclose(contributions.sum(2) + segmenter.probe.intercept_, logits, atol=1e-9)
    # Without the two components that speak most for a class, its frames say less for it.
    relevance = segmenter.relevance()
    assert relevance.shape == (3, 20)
    for number, name in enumerate(segmenter.classes):
        best = relevance[number].argsort()[-2:]
        frames = np.concatenate([np.arange(int(s.start * 25), int(s.stop * 25)) for s in truth if s.label == name])
        assert contributions[frames][:, number, best].mean() > 0


def test_speech_over_music_has_both_labels(model: INMF, training: list[Recording], audio_dir: Path) -> None:
    (speech, rate, _), (music, _, _) = training[1], training[2]
    length = music.shape[-1]
    both = (speech[:, :length] + music, rate, [Segment(0, length / rate, name) for name in ("speech", "music")])
    segmenter = Segmenter(model, probe=ActivationProbe(multilabel=True)).fit([*training, both])
    voice, guitar = (read_audio(audio_dir / f"{name}_test.flac")[0] for name in ("speech/female", "music/guitar"))
    length = guitar.shape[-1]
    scene = np.concatenate([guitar, voice[:, :length] + guitar, voice[:, :length]], axis=1)
    truth = [Segment(0, 2 * length / rate, "music"), Segment(length / rate, 3 * length / rate, "speech")]
    scores = segmenter.score(segmenter.probabilities(scene, rate)[1], truth)
    assert scores.f1["speech"] > 0.85
    assert scores.f1["music"] > 0.7


def test_a_file_keeps_the_segmenter_and_knows_its_dictionary(
    segmenter: Segmenter, track: Recording, model: INMF, tmp_path: Path
) -> None:
    audio, rate, _ = track
    segmenter.save(tmp_path / "probe.safetensors")
    model.save(tmp_path / "model.safetensors")
    again = Segmenter.load(tmp_path / "probe.safetensors", INMF.load(tmp_path / "model.safetensors"))
    assert again.segment(audio, rate) == segmenter.segment(audio, rate)
    other = INMF(20, max_iter=2).fit(get_transform("stft").analyze(audio[0, :16000], rate).without_synthesis())
    with pytest.raises(ModelFileError, match="another dictionary"):
        Segmenter.load(tmp_path / "probe.safetensors", other)
    segmenter.probe.provenance = {}
    segmenter.probe.save(tmp_path / "bare.safetensors")
    with pytest.raises(ModelFileError, match="no segmenter"):
        Segmenter.load(tmp_path / "bare.safetensors", model)


@pytest.mark.parametrize("samples", [1, 100, 4000])
def test_silence_and_short_clips_have_an_answer(segmenter: Segmenter, samples: int) -> None:
    (found,) = segmenter.segment(np.zeros(samples, np.float32), 16000)
    assert found.label in segmenter.classes
    with pytest.raises(InmfError, match="empty"):
        segmenter.segment(np.zeros(0, np.float32), 16000)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"pooling": ("median",)}, "no such pooling"),
        ({"context": -1}, "out of range"),
        ({"frame_rate": 0}, "must be positive"),
        ({"context": 0, "pooling": ("deviation",)}, "needs a context"),
    ],
)
def test_wrong_settings_of_features_are_one_clear_error(settings: dict[str, object], said: str) -> None:
    flat: Callable[[np.ndarray], np.ndarray] = lambda times: np.ones((2, len(times)), np.float32)  # noqa: E731
    with pytest.raises(ArgumentError, match=said):
        activation_features(flat, 1.0, **settings)  # type: ignore[arg-type]


def test_what_explains_a_segment_adds_up_to_its_score(segmenter: Segmenter, track: Recording) -> None:
    audio, rate, _ = track
    explained = segmenter.explain(audio, rate)
    assert [each.segment for each in explained] == segmenter.segment(audio, rate)
    added, probabilities = segmenter.contributions(audio, rate), segmenter.probabilities(audio, rate)[1]
    logits = segmenter.probe.decision_function(segmenter.features(audio, rate))
    for each in explained:
        frames = slice(round(each.segment.start * 25), round(each.segment.stop * 25))
        number = segmenter.classes.index(each.segment.label)
        np.testing.assert_allclose(each.contributions, added[frames, number].mean(0), rtol=1e-9, atol=1e-12)
        whole = each.contributions.sum() + segmenter.probe.intercept_[number]
        assert whole == pytest.approx(logits[frames, number].mean(), rel=1e-9)
        assert each.probability == pytest.approx(probabilities[frames, number].mean())
