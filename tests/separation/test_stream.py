"""`StreamSeparator`: equal to separation of the whole, at the delay that it reports, however blocks are cut."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from inmf_flow import INMF, StreamSeparator, get_transform, separate
from inmf_flow.audio import resample
from inmf_flow.errors import ArgumentError, InmfError, PluginError
from inmf_flow.evaluate import si_sdr
from inmf_flow.separation import MemberTransforms
from inmf_flow.transform import Transform

STFT = get_transform("stft", n_fft=1024, hop_length=256)
PACKETS = get_transform("wavelet", kind="packet")
CQT = get_transform("cqt", matrix=True, fmin=110.0)
Estimates = dict[str, NDArray[Any]]


def run(live: StreamSeparator, audio: NDArray[Any], sizes: list[int]) -> Estimates:
    """Push a recording in blocks of these sizes, over and over; return the estimates without the delay."""
    pieces, at, turn = [], 0, 0
    while at < audio.shape[-1]:
        block = audio[..., at : at + sizes[turn % len(sizes)]]
        pieces.append(live.push(block))
        assert all(piece.shape == block.shape for piece in pieces[-1].values())
        at, turn = at + block.shape[-1], turn + 1
    pieces.append(live.flush())
    joined = {name: np.concatenate([piece[name] for piece in pieces], axis=-1) for name in live.names}
    for estimate in joined.values():
        assert not estimate[..., : live.delay].any()
    return {name: estimate[..., live.delay :] for name, estimate in joined.items()}


def decibels(error: NDArray[Any], signal: NDArray[Any]) -> float:
    powers = [float(np.sum(np.square(one, dtype=np.float64))) for one in (error, signal)]
    return float(10 * np.log10(max(powers[0], 1e-30) / powers[1]))


def furthest(some: Estimates, others: Estimates) -> float:
    """Return the worst of all sources' differences in decibels."""
    assert list(some) == list(others)
    return max(decibels(some[name] - others[name], others[name]) for name in others)


@pytest.mark.parametrize("transform", [STFT, PACKETS, CQT], ids=["stft", "packets", "cqt"])
def test_frames_fitted_one_by_one_give_what_separation_of_the_whole_gives(voices: Any, transform: Transform) -> None:
    expected = separate(voices.mixture, 16000, voices.models, transform, max_iter=12)

    found = run(StreamSeparator(voices.models, transform, 16000, max_iter=12), voices.mixture, [512])

    assert furthest(found, expected) < -60
    assert decibels(sum(found.values()) - voices.mixture, voices.mixture) < -100


@pytest.mark.parametrize("spec", ["hats", "paper", "binary", {"wiener": 2}, "itakura-saito", "euclidean"])
def test_masks_and_divergences_are_those_of_separation(voices: Any, spec: Any) -> None:
    models, mask = voices.models, None if spec == "hats" else spec
    if spec in ("itakura-saito", "euclidean"):
        mask, beta = None, 0 if spec == "itakura-saito" else 2
        points = {name: STFT.analyze(audio, 16000) for name, audio in voices.references.items()}
        models = {name: INMF(6, beta_loss=beta, max_iter=20).fit(one) for name, one in points.items()}
    part = voices.mixture[:24000]
    expected = separate(part, 16000, models, STFT, max_iter=8, mask=mask)

    assert furthest(run(StreamSeparator(models, STFT, 16000, 512, max_iter=8, mask=mask), part, [700]), expected) < -60


def test_the_sum_over_hops_of_other_transforms_is_the_input_too(voices: Any) -> None:
    cqt = get_transform("cqt", fmin=220.0)
    live = StreamSeparator(voices.models, [cqt, STFT], 16000, max_iter=4)

    found = run(live, voices.mixture[:32000], [4000])

    assert decibels(sum(found.values()) - voices.mixture[:32000], voices.mixture[:32000]) < -100
    # Steps and slices do not fall together, so activations between them differ a little.
    expected = separate(voices.mixture[:32000], 16000, voices.models, [cqt, STFT], max_iter=4)
    assert furthest(found, expected) < -15


@settings(max_examples=15)
@given(
    sizes=st.lists(st.integers(1, 5000), min_size=1, max_size=6),
    options=st.fixed_dictionaries(
        {"warm_start": st.booleans(), "block": st.integers(50, 3000), "max_iter": st.integers(1, 3)}
    ),
    length=st.integers(1, 9000),
)
def test_results_do_not_depend_on_the_sizes_of_blocks(
    voices: Any, sizes: list[int], options: dict[str, Any], length: int
) -> None:
    audio = voices.mixture[8000 : 8000 + length]

    whole = run(StreamSeparator(voices.models, STFT, 16000, **options), audio, [length])
    cut = run(StreamSeparator(voices.models, STFT, 16000, **options), audio, sizes)

    for name, estimate in whole.items():
        assert estimate.shape == audio.shape
        np.testing.assert_array_equal(cut[name], estimate)


def test_the_delay_is_a_window_and_a_block(voices: Any) -> None:
    live = StreamSeparator(voices.models, STFT, 16000, block=512)

    assert live.delay <= 1024 + 512
    assert live.delay < STFT.latency(16000) + 512
    impulse = np.zeros(6000, np.float32)
    impulse[1000] = 1
    out = np.concatenate([sum(live.push(impulse).values()), sum(live.flush().values())])
    assert int(np.argmax(np.abs(out))) == 1000 + live.delay


def test_channels_are_separated_each_for_itself(voices: Any) -> None:
    mono = voices.mixture[:16000]
    stereo = np.stack([mono, 0.3 * mono[::-1]])

    found = run(StreamSeparator(voices.models, STFT, 16000, max_iter=5), stereo, [999])

    alone = run(StreamSeparator(voices.models, STFT, 16000, max_iter=5), mono, [512])
    assert furthest({name: estimate[0] for name, estimate in found.items()}, alone) < -100
    assert decibels(sum(found.values()) - stereo, stereo) < -100


@pytest.mark.parametrize("rate", [8000, 22050, 44100, 48000])
def test_streams_of_other_rates_are_resampled_inside_and_stay_aligned(voices: Any, rate: int) -> None:
    audio = resample(voices.mixture[:32000], 16000, rate)
    live = StreamSeparator(voices.models, STFT, rate, max_iter=5)

    assert live.analysis_rate == min(rate, 16000)
    found = run(live, audio, [rate // 100, rate // 7])

    assert decibels(sum(found.values()) - audio, audio) < -100
    if rate > 16000:
        expected = separate(voices.mixture[:32000], 16000, voices.models, STFT, max_iter=5)
        back = {name: resample(estimate, rate, 16000)[:32000] for name, estimate in found.items()}
        # The pass bands of three resamplers end at 91 % of Nyquist.
        assert furthest(back, expected) < -20


def test_another_rate_can_be_asked_for(voices: Any) -> None:
    live = StreamSeparator(voices.models, STFT, 16000, block=333, analysis_rate=8000)

    found = run(live, voices.mixture[:16000], [100])

    assert live.analysis_rate == 8000
    assert decibels(sum(found.values()) - voices.mixture[:16000], voices.mixture[:16000]) < -100


def test_a_warm_start_comes_nearer_to_the_fit_in_few_updates(voices: Any) -> None:
    """From the last frame's activations one update explains a frame better than from none."""
    settled = separate(voices.mixture, 16000, voices.models, STFT, max_iter=20)

    def distance(warm_start: bool) -> float:
        live = StreamSeparator(voices.models, STFT, 16000, 512, max_iter=1, warm_start=warm_start)
        return furthest(run(live, voices.mixture, [512]), settled)

    assert distance(warm_start=True) < distance(warm_start=False)


def test_a_tolerance_and_a_budget_end_updates_early(voices: Any) -> None:
    part = voices.mixture[:16000]
    many = run(StreamSeparator(voices.models, STFT, 16000, max_iter=60), part, [512])

    near = run(StreamSeparator(voices.models, STFT, 16000, max_iter=60, tol=0.05), part, [512])
    hasty = run(StreamSeparator(voices.models, STFT, 16000, max_iter=2000, budget=0.0), part, [512])
    four = run(StreamSeparator(voices.models, STFT, 16000, max_iter=4), part, [512])

    assert -60 < furthest(near, many) < 0
    # A budget that is spent at the first look leaves the updates up to it.
    assert furthest(hasty, four) < -100


@pytest.fixture(scope="module")
def moving(voices: Any, speech: Any) -> dict[str, INMF]:
    """Models whose components move over a tenth of a second."""
    from inmf_flow.audio import read_audio

    models = {}
    for name in voices.models:
        points = STFT.analyze(read_audio(speech[f"{name}_train"])[0][0][:48000], 16000)
        models[name] = INMF(6, max_iter=20, context=0.1).fit(points)
    return models


def test_models_with_a_context_look_ahead_as_far_as_it_reaches(voices: Any, moving: dict[str, INMF]) -> None:
    part = voices.mixture[:24000]
    expected = separate(part, 16000, moving, STFT, max_iter=6)

    live = StreamSeparator(moving, STFT, 16000, block=2048, max_iter=6)
    late = run(live, part, [2048])
    at_once = StreamSeparator(moving, STFT, 16000, block=2048, lookahead=0, max_iter=6)
    early = run(at_once, part, [2048])

    assert live.delay - at_once.delay == 1600
    assert furthest(late, expected) < -40
    assert -40 < furthest(early, expected) < 5
    assert decibels(sum(early.values()) - part, part) < -100


def test_noise_is_learned_from_the_stream(voices: Any) -> None:
    voice = np.tile(voices.references["female"], 3)
    random = np.random.default_rng(3)
    # A steady hiss of its own colour, which no model has heard.
    hiss = np.convolve(random.standard_normal(len(voice)), [1, -1.6, 0.9], "same").astype(np.float32)
    hiss *= np.float32(voice.std() / hiss.std())
    live = StreamSeparator({"voice": voices.models["female"], "hiss": 8}, STFT, 16000, 512)

    found = run(live, voice + hiss, [1600])

    second_half = slice(len(voice) // 2, None)
    gain = si_sdr(voice[None, second_half], found["voice"][None, second_half])[0] - float(
        si_sdr(voice[None, second_half], (voice + hiss)[None, second_half])[0]
    )
    assert gain > 3
    frequencies, templates = live.templates("hiss")
    assert templates.shape == (513, 8)
    learned = (templates**2).sum(axis=1)
    # The hiss is loudest at the highest frequencies.
    assert learned[frequencies > 6000].mean() > 3 * learned[frequencies < 2000].mean()


def test_a_known_dictionary_follows_the_stream_when_asked(voices: Any) -> None:
    before = voices.models["female"].templates(STFT.analyze(np.zeros(1), 16000).blocks[0].frequencies)
    follows = StreamSeparator(voices.models, STFT, 16000, 512, adapt={"female": 0.5})
    stays = StreamSeparator(voices.models, STFT, 16000, 512)
    part = voices.mixture[:32000]

    found, plain = run(follows, part, [512]), run(stays, part, [512])

    assert np.abs(follows.templates("female")[1] - before).max() > 0.05 * before.max()
    np.testing.assert_array_equal(follows.templates("male")[1], stays.templates("male")[1])
    assert furthest(found, plain) > -40
    assert decibels(sum(found.values()) - part, part) < -100


@pytest.mark.parametrize("length", [1, 2, 100, 1023, 1535, 1536])
def test_short_streams_come_out_whole(voices: Any, length: int) -> None:
    audio = voices.mixture[16000 : 16000 + length]

    found = run(StreamSeparator(voices.models, STFT, 16000, 512), audio, [100])

    np.testing.assert_allclose(sum(found.values()), audio, atol=1e-5)


def test_silence_stays_silence(voices: Any) -> None:
    audio = np.concatenate([np.zeros(9000, np.float32), voices.mixture[:9000], np.zeros(9000, np.float32)])

    for warm in (False, True):
        found = run(StreamSeparator(voices.models, STFT, 16000, 512, warm_start=warm), audio, [512])
        for estimate in found.values():
            assert np.isfinite(estimate).all()
            assert not estimate[:7000].any()
            assert not estimate[-7000:].any()


def test_an_empty_stream_and_empty_blocks_are_no_error(voices: Any) -> None:
    live = StreamSeparator(voices.models, STFT, 16000)
    assert all(part.shape == (0,) for part in live.push(np.zeros(0, np.float32)).values())
    assert all(part.size == 0 for part in live.flush().values())


def test_double_precision_stays_double(voices: Any) -> None:
    audio = voices.mixture[:8000].astype(np.float64)
    found = run(StreamSeparator(voices.models, STFT, 16000), audio, [512])
    assert all(estimate.dtype == np.float64 for estimate in found.values())
    assert decibels(sum(found.values()) - audio, audio) < -140


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"block": 0}, "block must be a whole number"),
        ({"block": 0.5}, "block must be a whole number"),
        ({"lookahead": -1}, "lookahead must be a whole number"),
        ({"sample_rate": 0}, "sample_rate must be a whole number"),
        ({"max_iter": 0}, "max_iter must be a whole number"),
        ({"tol": -1}, "tol must be a share"),
        ({"budget": 3}, "budget must be a share"),
        ({"adapt": ["nobody"]}, "no such source is there to adapt"),
        ({"adapt": {"male": 0}}, "half-life"),
        ({"transform": "reassigned"}, "can be inverted"),
        ({"transform": "cqt", "adapt": ["male"]}, "transform with one grid"),
        ({"mask": "loud"}, "no such mask"),
    ],
)
def test_wrong_options_are_told(voices: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InmfError, match=message):
        StreamSeparator(**{"models": voices.models, "transform": STFT, "sample_rate": 16000, **options})


def test_wrong_blocks_are_told_and_the_stream_goes_on(voices: Any) -> None:
    live = StreamSeparator(voices.models, STFT, 16000)
    live.push(voices.mixture[:1000])
    for wrong, message in (
        (np.zeros((2, 100), np.float32), "channels have changed"),
        (np.array([np.nan] * 10, np.float32), "NaN"),
        (np.zeros(10, np.int16), "integers"),
    ):
        with pytest.raises(InmfError, match=message):
            live.push(wrong)
    rest = live.push(voices.mixture[1000:3000])
    assert all(part.shape == (2000,) for part in rest.values())
    live.flush()
    with pytest.raises(ArgumentError, match="the stream has ended"):
        live.push(voices.mixture[:10])
    with pytest.raises(ArgumentError, match="the stream has ended"):
        live.flush()


def test_a_transform_that_promises_too_little_delay_is_named(voices: Any) -> None:
    class Hasty(type(STFT)):  # type: ignore[misc]
        def latency(self, sample_rate: int) -> int:
            return 3

    with pytest.raises(PluginError, match="latency returned 3"):
        StreamSeparator(voices.models, Hasty(n_fft=1024), 16000)


def test_ensembles_are_separated_member_by_member(voices: Any) -> None:
    from inmf_flow import Ensemble

    models = {name: Ensemble({"one": model, "two": model}) for name, model in voices.models.items()}
    part = voices.mixture[:16000]
    each = MemberTransforms((STFT, PACKETS))
    expected = separate(part, 16000, models, each, max_iter=6)

    assert furthest(run(StreamSeparator(models, each, 16000, 2000, max_iter=6), part, [777]), expected) < -60
