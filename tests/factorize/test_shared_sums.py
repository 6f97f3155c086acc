"""Sums of items' statistics do not depend on the order in which items come, and samples not on that of the corpus."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inmf_flow.errors import ArgumentError
from inmf_flow.factorize import PairwiseSum, SufficientStatistics, choose_sample


def statistics_of(values: np.ndarray) -> list[SufficientStatistics]:
    return [SufficientStatistics(v[:4].reshape(2, 2), v[4:8].reshape(2, 2), float(v[8]), float(v[9])) for v in values]


def flat(statistics: SufficientStatistics) -> list[float]:
    return [*statistics.negative.ravel(), *statistics.positive.ravel(), statistics.loss, statistics.weight]


@given(count=st.integers(1, 70), missing=st.sets(st.integers(0, 69)), seed=st.integers(0, 1 << 32))
def test_any_batches_in_any_order_give_the_same_bits(count: int, missing: set[int], seed: int) -> None:
    draw = np.random.default_rng(seed)
    values = draw.random((count, 10)) * 10.0 ** draw.integers(-12, 12, (count, 10))
    items = statistics_of(values)
    present = [n for n in range(count) if n not in missing] or [0]
    straight = PairwiseSum()
    for number in range(count):
        straight.add(number, items[number] if number in present else None)
    other = PairwiseSum()
    numbers = draw.permutation(count)
    for batch in np.array_split(numbers, draw.integers(1, count + 1)):
        part = PairwiseSum()
        for number in batch:
            # An item that nobody speaks of is one that says nothing.
            if number in present:
                part.add(int(number), items[number])
            elif draw.random() < 0.5:
                part.add(int(number), None)
        other.merge(part)
    assert flat(other.total()) == flat(straight.total())
    exact = [math.fsum(column) for column in values[present].T]
    np.testing.assert_allclose(flat(straight.total()), exact, rtol=1e-14)


def test_consecutive_items_come_down_to_few_partial_sums() -> None:
    items = statistics_of(np.random.default_rng(0).random((64, 10)))
    whole = PairwiseSum()
    for begin in (32, 0, 48, 16):
        batch = PairwiseSum()
        for number in range(begin, begin + 16):
            batch.add(number, items[number] if number % 5 else None)
        assert len(batch.nodes) == 1
        whole.merge(batch)
    assert len(whole.nodes) == 1


def test_no_item_counts_twice() -> None:
    (one,) = statistics_of(np.ones((1, 10)))
    sums = PairwiseSum()
    sums.add(2, one)
    with pytest.raises(ArgumentError, match="twice"):
        sums.add(2, one)
    sums.add(3, one)
    with pytest.raises(ArgumentError, match="twice"):
        sums.add(3, one)
    late = PairwiseSum()
    late.add(2, one)
    with pytest.raises(ArgumentError, match="twice"):
        late.merge(sums)
    with pytest.raises(ArgumentError, match="from 0"):
        sums.add(-1, one)
    with pytest.raises(ArgumentError, match="no item"):
        PairwiseSum().total()


def test_a_sample_is_drawn_by_names_alone_and_has_every_rate() -> None:
    names = [f"item {number}" for number in range(200)]
    rates = [48000 if number == 77 else 16000 if number % 3 else 8000 for number in range(200)]
    chosen = choose_sample(names, 10, rates=rates, seed=3)
    assert len(chosen) == len(set(chosen)) == 10
    assert {rates[at] for at in chosen} == {8000, 16000, 48000}
    order = np.random.default_rng(0).permutation(200)
    again = choose_sample([names[at] for at in order], 10, rates=[rates[at] for at in order], seed=3)
    assert [names[order[at]] for at in again] == [names[at] for at in chosen]
    assert set(choose_sample(names, 10, seed=4)) != set(choose_sample(names, 10, seed=3))
    assert sorted(choose_sample(names, 500)) == list(range(200))
    with pytest.raises(ArgumentError, match="same key"):
        choose_sample(["a", "a"])
