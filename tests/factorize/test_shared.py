"""One dictionary of many items by map and reduce: what it finds is what one fit of all points finds."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from inmf_flow import INMF, PointSet, get_transform
from inmf_flow.errors import ArgumentError, ModelFileError
from inmf_flow.factorize import (
    Activations,
    PairwiseSum,
    SharedDictionary,
    dictionary_from_bytes,
    dictionary_to_bytes,
    finish_pass,
    fit_shared,
    load_dictionary,
    map_item,
    map_items,
    reduce_batch,
    reduce_pass,
    save_dictionary,
    start_dictionary,
)

SETTINGS: dict[str, Any] = {"n_components": 5, "random_state": 1, "tol": 0.0}
HERTZ = np.linspace(0, 8000, 400)
Kept = dict[int, Activations]


@pytest.fixture(scope="module")
def items(voice: NDArray[np.float32]) -> list[PointSet]:
    """Seven items of one voice, in three windows; one has a single frame."""
    result = []
    for number, (begin, end) in enumerate(pairwise(np.linspace(0, len(voice), 7).astype(int))):
        stft = get_transform("stft", n_fft=(512, 256, 400)[number % 3])
        result.append(stft.analyze(voice[begin:end], 16000).without_synthesis())
    return [*result, get_transform("stft", n_fft=512).analyze(voice[9000:9100], 16000).without_synthesis()]


def one_pass(
    dictionary: SharedDictionary, items: Sequence[PointSet], kept: Kept, **options: Any
) -> tuple[SharedDictionary, Kept]:
    """Return the next dictionary, and the activations that its next pass goes on from."""
    batch = ((number, points, kept.get(number)) for number, points in enumerate(items))
    found, sums = map_items(dictionary, batch, **options)
    dictionary = reduce_pass(dictionary, sums.total())
    return dictionary, found if dictionary.accepted == dictionary.passes else kept


def passes(
    dictionary: SharedDictionary, items: Sequence[PointSet], count: int, kept: Kept | None = None, **options: Any
) -> tuple[SharedDictionary, Kept]:
    kept = kept or {}
    for _ in range(count):
        dictionary, kept = one_pass(dictionary, items, kept, **options)
    return dictionary, kept


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"field": "matrix", "weights": "uniform"},
        {"beta_loss": 0.0, "power": 1.0},
        {"beta_loss": 0.5},
        {"beta_loss": 2.0, "power": 1.0},
        {"beta_loss": 3.0},
    ],
    ids=str,
)
def test_passes_are_the_iterations_of_one_fit_of_all_items(items: list[PointSet], options: dict[str, Any]) -> None:
    settings = {**SETTINGS, "relaxation": 1.0, "time_field": "matrix", **options}
    start = start_dictionary(items, **settings)
    kept, _ = map_items(start, ((n, points, None) for n, points in enumerate(items)), updates=0)
    together = np.concatenate([kept[n].values for n in range(len(items))], axis=1)
    # A fit updates templates first: the first pass has them at its start.
    ours, kept = one_pass(start, items, kept, updates=0)
    ours, _ = passes(ours, items, 24, kept, updates=1)
    model = INMF(**settings, max_iter=25).fit(
        PointSet.end_to_end(items), templates=start.field().evaluate, activations=lambda _: together
    )
    assert np.abs(ours.model().templates(HERTZ) - model.templates(HERTZ)).max() < 1e-5
    assert ours.max_frequency == model.max_frequency_
    # Each pass looks between two updates that the fit looks after.
    looks = dict(model.divergence_curve_)
    seen = dict(ours.curve)
    assert looks[10] <= seen[10] * (1 + 1e-6)
    assert looks[10] >= seen[11] * (1 - 1e-6)


def test_sparse_activations_are_those_of_one_fit_of_all_items(voice: NDArray[np.float32]) -> None:
    stft = get_transform("stft", n_fft=512)
    items = [stft.analyze(part, 16000).without_synthesis() for part in np.split(voice, 3)]
    settings = {**SETTINGS, "relaxation": 1.0, "sparsity": 0.2}
    start = start_dictionary(items, **settings)
    kept, _ = map_items(start, ((n, points, None) for n, points in enumerate(items)), updates=0)
    together = np.concatenate([kept[n].values for n in range(3)], axis=1)
    ours, kept = one_pass(start, items, kept, updates=0)
    ours, _ = passes(ours, items, 14, kept, updates=1)
    model = INMF(**settings, max_iter=15).fit(
        PointSet.end_to_end(items), templates=start.field().evaluate, activations=lambda _: together
    )
    assert np.abs(ours.model().templates(HERTZ) - model.templates(HERTZ)).max() < 1e-5


@pytest.mark.parametrize("batch_size", [1, 2])
@pytest.mark.parametrize("options", [{}, {"beta_loss": 0.5, "weights": "uniform"}], ids=str)
def test_an_online_pass_is_a_single_process_s(
    voice: NDArray[np.float32], batch_size: int, options: dict[str, Any]
) -> None:
    stft = get_transform("stft", n_fft=512)
    # Loud and quiet items: what each has to say counts by its level in either.
    parts = [level * part for level, part in zip((1.0, 0.05, 0.4, 2.0), np.split(voice, 4), strict=True)]
    items = [stft.analyze(part, 16000).without_synthesis() for part in parts]
    batches = [items[at : at + batch_size] for at in range(0, 4, batch_size)]
    single = INMF(**SETTINGS, max_iter=30, **options)
    for batch in batches:
        single.partial_fit(PointSet.end_to_end(batch), forgetting=0.8)
    ours = start_dictionary(batches[0], **SETTINGS, iterations=30, **options)
    for batch in batches:
        _, sums = map_items(ours, ((n, points, None) for n, points in enumerate(batch)), updates=50, relaxation=1.0)
        ours = reduce_batch(ours, sums.total(), forgetting=0.8)
    ours = finish_pass(ours)
    theirs = single.templates(HERTZ)
    assert np.abs(ours.field().evaluate(HERTZ) - theirs).max() < 1e-5 * theirs.max()
    assert (ours.passes, ours.batches, len(ours.curve)) == (1, 0, 1)


def shuffled_pass(
    dictionary: SharedDictionary, items: list[PointSet], kept: Kept, draw: np.random.Generator
) -> tuple[SharedDictionary, Kept]:
    """Return what `one_pass` does, of batches at random that are mapped elsewhere and come back in any order."""
    batches = np.array_split(draw.permutation(len(items)), draw.integers(1, len(items) + 1))
    whole, found = PairwiseSum(), {}
    for at in draw.permutation(len(batches)):
        sent = pickle.loads(pickle.dumps(dictionary))
        mapped, sums = map_items(sent, ((int(n), items[n], kept.get(int(n))) for n in batches[at]), updates=2)
        found.update(mapped)
        whole.merge(pickle.loads(pickle.dumps(sums)))
    dictionary = reduce_pass(dictionary, whole.total())
    return dictionary, found if dictionary.accepted == dictionary.passes else kept


@given(seed=st.integers(0, 1 << 32))
def test_batches_and_who_comes_first_change_no_bit(items: list[PointSet], seed: int) -> None:
    start = start_dictionary(items[:3], **SETTINGS)
    straight, _ = passes(start, items, 2, updates=2)
    draw = np.random.default_rng(seed)
    other, kept = shuffled_pass(start, items, {}, draw)
    other, _ = shuffled_pass(other, items, kept, draw)
    assert dictionary_to_bytes(other) == dictionary_to_bytes(straight)


def test_a_checkpoint_goes_on_as_if_nothing_had_happened(items: list[PointSet], tmp_path: Path) -> None:
    start = start_dictionary(items[:3], **SETTINGS, field={"hat": {"nodes": 60}})

    def online(dictionary: SharedDictionary, number: int) -> SharedDictionary:
        _, sums = map_items(dictionary, [(number, items[number], None)], updates=5, relaxation=1.0)
        return reduce_batch(dictionary, sums.total(), 0.9)

    def steps(dictionary: SharedDictionary) -> Iterator[tuple[SharedDictionary, Kept]]:
        for number in range(3):
            dictionary = online(dictionary, number)
            yield dictionary, {}
        dictionary, kept = finish_pass(dictionary), {}
        for _ in range(4):
            dictionary, kept = one_pass(dictionary, items, kept)
            yield dictionary, kept

    states = list(steps(start))
    for at, (state, kept) in enumerate(states):
        save_dictionary(state, tmp_path / f"{at}.safetensors")
        loaded = load_dictionary(tmp_path / f"{at}.safetensors")
        assert dictionary_to_bytes(loaded) == dictionary_to_bytes(state)
        if at + 1 < len(states):
            went_on = (
                online(loaded, at + 1)
                if at < 2
                else one_pass(finish_pass(loaded) if at == 2 else loaded, items, kept)[0]
            )
            assert dictionary_to_bytes(went_on) == dictionary_to_bytes(states[at + 1][0])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    kinds=st.lists(st.sampled_from(["grid", "missing", "channels", "scattered", "hybrid"]), min_size=1, max_size=4),
    beta=st.sampled_from([-0.5, 0.0, 0.5, 1.0, 1.5, 2.0, 3.0]),
    penalties=st.fixed_dictionaries(
        {name: st.sampled_from([0.0, 0.0, 0.3]) for name in ("sparsity", "smoothness", "decorrelation")}
    ),
    relaxation=st.sampled_from([1.0, 1.9]),
    updates=st.integers(1, 3),
    seed=st.integers(0, 1000),
)
def test_the_divergence_never_rises(
    make_points: Callable[..., PointSet],
    kinds: list[str],
    beta: float,
    penalties: dict[str, float],
    relaxation: float,
    updates: int,
    seed: int,
) -> None:
    items = [make_points(kind, seed + number) for number, kind in enumerate(kinds)]
    # Some speak for low frequencies alone.
    items = [points.below(2000) if number % 2 else points for number, points in enumerate(items)]
    options = {"beta_loss": beta, "power": 1.0, "relaxation": relaxation, "tol": 0.0, "field": "hat:nodes=8"}
    start = start_dictionary(items, 3, **options, **penalties)
    found, _ = passes(start, items, 12, updates=updates)
    values = [value for _, value in found.curve]
    assert all(after <= before + 1e-5 * abs(before) for before, after in pairwise(values))
    assert values[-1] < values[0]


def test_what_rises_is_taken_back_with_its_activations(items: list[PointSet]) -> None:
    dictionary, kept = passes(start_dictionary(items, **SETTINGS), items, 6)
    best = dictionary.curve[-1][1]
    found, sums = map_items(dictionary, ((n, points, kept[n]) for n, points in enumerate(items)))
    total = sums.total()
    assert total.loss / total.weight < best
    # As if the step had gone too far.
    worse = type(total)(total.negative, total.positive, 2 * total.loss, total.weight)
    back = reduce_pass(dictionary, worse)
    assert (back.passes, back.accepted, back.curve[-1]) == (7, 6, (7, best))
    assert np.array_equal(back.coefficients, dictionary.plain)
    assert not back.has_settled(1e-3)
    # The next pass is plain in templates and activations, and those after it are not.
    assert (back.relaxation, dictionary.relaxation) == (1.0, 1.9)
    again, _ = one_pass(back, items, kept)
    assert again.relaxation == 1.9
    assert again.curve[-1][1] <= best
    assert again.accepted == 8
    assert reduce_pass(dictionary, total).accepted == 7
    assert found.keys() == kept.keys()


def test_momentum_saves_passes(items: list[PointSet]) -> None:
    some = items[:3]
    plain, _ = passes(start_dictionary(some, **SETTINGS, relaxation=1.0), some, 50)
    fast, _ = passes(start_dictionary(some, **SETTINGS), some, 25)
    assert fast.curve[-1][1] < plain.curve[-1][1]


def test_a_dictionary_of_a_corpus_explains_it_as_one_fit_does(items: list[PointSet], tmp_path: Path) -> None:
    model = fit_shared(items, **SETTINGS, passes=20, sample=3, sample_iterations=20)
    whole = INMF(**SETTINGS, max_iter=60).fit(PointSet.end_to_end(items))

    def divergence(fitted: INMF) -> float:
        return float(np.mean([fitted.divergence(points, fitted.transform(points)) for points in items[:-1]]))

    assert divergence(model) < 1.1 * divergence(whole)
    np.testing.assert_allclose(model.templates(np.linspace(0, 8000, 50_000)).max(0), 1, atol=0.01)
    assert (model.activations([0.0, 1.0]) == 0).all()
    model.save(tmp_path / "corpus.safetensors")
    assert np.array_equal(INMF.load(tmp_path / "corpus.safetensors").templates(HERTZ), model.templates(HERTZ))
    online = fit_shared(items, **SETTINGS, passes=0, online_passes=2, batch_size=2, sample_iterations=20)
    assert divergence(online) < 1.15 * divergence(whole)


def test_learning_stops_where_nothing_is_gained(items: list[PointSet]) -> None:
    model = fit_shared(items[:2], 2, passes=200, tol=1e-3)
    assert model.n_iter_ < 100


def test_what_cannot_be_shared(items: list[PointSet]) -> None:
    with pytest.raises(ArgumentError, match="networks"):
        start_dictionary(items[:1], 2, field="network")
    with pytest.raises(ArgumentError, match="negative"):
        start_dictionary(items[:1], 2, negative="shift", beta_loss="frobenius", power=1.0)
    start = start_dictionary(items[:1], **SETTINGS)
    activations, statistics = map_item(start, items[0])
    with pytest.raises(ArgumentError, match="not of these points"):
        map_item(start, items[1], activations)
    with pytest.raises(ArgumentError, match="forgetting"):
        reduce_batch(start, statistics, forgetting=2.0)
    with pytest.raises(ArgumentError, match="without penalties"):
        reduce_batch(start_dictionary(items[:1], 5, sparsity=0.1), statistics)
    with pytest.raises(ArgumentError, match="no items"):
        fit_shared([])
    with pytest.raises(ArgumentError, match="batch_size"):
        fit_shared(items, batch_size=0)


def test_damaged_checkpoints_are_refused(items: list[PointSet], tmp_path: Path) -> None:
    content = dictionary_to_bytes(start_dictionary(items[:1], **SETTINGS))
    INMF(2, max_iter=2).fit(items[0]).save(tmp_path / "model.safetensors")
    for wrong, what in [
        (content[: len(content) // 2], "not a readable"),
        (b"", "not a readable"),
        (content.replace(b'\\"format\\": 1', b'\\"format\\": 9'), "format"),
        (content.replace(b'\\"scale\\"', b'\\"scalf\\"'), "damaged"),
        ((tmp_path / "model.safetensors").read_bytes(), "not a checkpoint"),
    ]:
        assert wrong != content
        with pytest.raises(ModelFileError, match=what):
            dictionary_from_bytes(wrong)
    with pytest.raises(ModelFileError, match="no such checkpoint"):
        load_dictionary(tmp_path / "none.safetensors")
    draw = np.random.default_rng(0)
    for _ in range(50):
        spoiled = bytearray(content)
        spoiled[draw.integers(0, 2000)] ^= int(draw.integers(1, 256))
        try:
            loaded = dictionary_from_bytes(bytes(spoiled))
        except ModelFileError:
            continue
        assert np.isfinite(loaded.coefficients).all()
