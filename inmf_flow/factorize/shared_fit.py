"""One dictionary of many items in one process: the passes that a cluster makes, as a loop."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from inmf_flow.errors import ArgumentError
from inmf_flow.factorize.activations import Activations
from inmf_flow.factorize.model import INMF
from inmf_flow.factorize.shared import (
    SharedDictionary,
    choose_sample,
    finish_pass,
    reduce_batch,
    reduce_pass,
    start_dictionary,
)
from inmf_flow.factorize.shared_items import UPDATES, map_items
from inmf_flow.points import PointSet

# Updates of an item's activations before it has its say in online learning, as in `INMF.partial_fit`.
ONLINE_UPDATES = 50


def fit_shared(
    items: Sequence[PointSet],
    n_components: int = 20,
    *,
    passes: int = 20,
    online_passes: int = 0,
    updates: int = UPDATES,
    batch_size: int = 8,
    forgetting: float = 1.0,
    sample: int = 8,
    sample_iterations: int = 100,
    **settings: Any,
) -> INMF:
    """Learn one dictionary of many items, each with activations of its own.

    Items may differ in sample rate and transform: each speaks for the frequencies on which it has weight.

    Parameters
    ----------
    items
        Point sets, each on its own clock; asked for one at a time, so they may be read when they are.
    passes
        Most passes over all items, templates changing once after each; fewer where ``tol`` is reached.
    online_passes
        Passes before those, templates changing after every ``batch_size`` items; `forgetting` is what earlier batches
        count.
    updates
        Of each item's activations in a pass.
    sample, sample_iterations
        Items that templates start from, and iterations of a fit to these alone.
    settings
        As `INMF` takes them.

    Returns
    -------
    model
        Templates with a peak of 1; it keeps no activations: `INMF.transform` gives those of any item.
    """
    if not len(items):
        raise ArgumentError("there are no items to fit", expected="at least one point set")
    for name, value, least in (
        ("passes", passes, 0),
        ("online_passes", online_passes, 0),
        ("batch_size", batch_size, 1),
    ):
        if value < least:
            raise ArgumentError(f"{name} is out of range", got=value, expected=f">= {least}")
    places = choose_sample([str(number) for number in range(len(items))], sample)
    first = [items[number] for number in places]
    dictionary = start_dictionary(first, n_components, iterations=sample_iterations, **settings)
    device = settings.get("device", "cpu")
    for _ in range(online_passes):
        for begin in range(0, len(items), batch_size):
            batch = ((number, items[number], None) for number in range(begin, min(begin + batch_size, len(items))))
            _, sums = map_items(dictionary, batch, updates=ONLINE_UPDATES, relaxation=1.0, device=device)
            dictionary = reduce_batch(dictionary, sums.total(), forgetting)
        dictionary = finish_pass(dictionary)
    return _full_passes(dictionary, items, passes, updates, device).model(device)


def _full_passes(
    dictionary: SharedDictionary, items: Sequence[PointSet], passes: int, updates: int, device: str
) -> SharedDictionary:
    kept: dict[int, Activations] = {}
    for _ in range(passes):
        batch = ((number, items[number], kept.get(number)) for number in range(len(items)))
        found, sums = map_items(dictionary, batch, updates=updates, device=device)
        dictionary = reduce_pass(dictionary, sums.total())
        if dictionary.accepted == dictionary.passes:
            kept = found
        if dictionary.has_settled():
            break
    return dictionary
