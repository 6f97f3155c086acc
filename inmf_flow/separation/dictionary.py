"""The sources' models laid side by side as one dictionary."""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from inmf_flow.errors import ArgumentError
from inmf_flow.factorize import INMF, Activations, Ensemble, fit_activations, get_divergence
from inmf_flow.factorize.context import block_product, lags_for, table_of, with_lags
from inmf_flow.factorize.fields import just_above
from inmf_flow.points import Block, PointSet
from inmf_flow.separation.channels import side_by_side, spread, updated_gains
from inmf_flow.separation.masks import Mask, source_gains

# Grids ask for the same frequencies again in each block of a recording, scattered points never.
_MOST_KEPT_BYTES = 1 << 26


class Dictionary:
    """Templates of several sources, whose activations are fitted together.

    Parameters
    ----------
    models
        One fitted model a source, all with the same ``power`` and ``beta_loss``.
    outputs
        ``"sources"``: an estimate for each source; ``"components"``: one for each component of each, SOURCE-1 and so
        on, so that a single model takes what it was learned from apart.

    Attributes
    ----------
    names
        What there are estimates of, in the order given.
    max_frequency
        Hertz up to which every model has seen data: above it the sources share equally.
    context
        Seconds of the longest context of a model.
    members
        For ensembles one dictionary a member, else this one alone. Gains and activations are those of a member.
    """

    def __init__(self, models: Mapping[str, INMF], outputs: str = "sources") -> None:
        if not models:
            raise ArgumentError("there is no model to separate with", expected="one model a source")
        for name, model in models.items():
            if not isinstance(model, INMF):
                raise ArgumentError(
                    f"the model of {name!r} is not an INMF",
                    got=repr(model),
                    hint="Load a file with INMF.load(path).",
                )
        #: How loud each source is in each channel, [C, S]; None: channels are fitted one by one.
        self.channel_gains: NDArray[np.float64] | None = None
        self.names: list[str]
        self.max_frequency: float
        self.context: float
        self.models = list(models.values())
        self.members: list[Dictionary] = self._members_of(models, outputs)
        if self.members:
            # What holds for all of them; each is used by itself.
            self.names = self.members[0].names
            self.max_frequency = min(member.max_frequency for member in self.members)
            self.context = max(member.context for member in self.members)
            return
        self.members = [self]
        counts = [model.n_components for model in self.models]
        if outputs == "components":
            self.names = [f"{name}-{k + 1}" for name, count in zip(models, counts, strict=True) for k in range(count)]
            counts = [1] * len(self.names)
        elif outputs == "sources":
            self.names = list(models)
        else:
            raise ArgumentError("no such outputs", got=repr(outputs), expected="'sources' or 'components'")
        # Which columns of the templates belong to which estimate.
        self._edges = np.cumsum([0, *counts]).tolist()
        rules = {name: get_divergence(model.beta_loss) for name, model in models.items()}
        for what, distinct in (("power", {model.power for model in models.values()}), ("beta_loss", {*rules.values()})):
            if len(distinct) > 1:
                values = {name: getattr(model, what) for name, model in models.items()}
                raise ArgumentError(
                    f"the models were fitted with different values of {what}",
                    got=", ".join(f"{name}: {value}" for name, value in values.items()),
                    hint="Fit them alike: their activations are fitted together.",
                )
        self.power = self.models[0].power
        self.beta_loss = self.models[0].beta_loss
        self.weights = "uniform" if all(model.weights == "uniform" for model in self.models) else "area"
        self.max_frequency = min(model.max_frequency_ for model in self.models)
        self.context = max(model.context for model in self.models)
        self._tables: OrderedDict[tuple[bytes, float], NDArray[np.float32]] = OrderedDict()

    @staticmethod
    def _members_of(models: Mapping[str, INMF], outputs: str) -> list[Dictionary]:
        """Return a dictionary for each member of the models' ensembles; none where no model is one."""
        ensembles = {name: model.members for name, model in models.items() if isinstance(model, Ensemble)}
        if not ensembles:
            return []
        names = {tuple(members) for members in ensembles.values()}
        if len(names) > 1 or outputs != "sources":
            got = "; ".join(f"{name}: {', '.join(members)}" for name, members in ensembles.items())
            if outputs != "sources":
                raise ArgumentError(
                    "components of ensembles cannot be told apart", got=got, expected="outputs: sources"
                )
            raise ArgumentError("the models are ensembles of different members", got=got, hint="Fit them alike.")
        return [
            Dictionary({name: ensembles[name][member] if name in ensembles else models[name] for name in models})
            for member in names.pop()
        ]

    def templates(self, frequencies: NDArray[np.float64], lag: float = 0.0) -> NDArray[np.float32]:
        """Return all sources' templates at hertz [F] and a lag, [F, total K]; those of the last calls are kept."""
        key = frequencies.tobytes(), lag
        table = self._tables.pop(key, None)
        if table is None:
            table = np.concatenate([model.templates(frequencies, lag) for model in self.models], axis=1)
        self._tables[key] = table
        while len(self._tables) > 1 and sum(kept.nbytes for kept in self._tables.values()) > _MOST_KEPT_BYTES:
            self._tables.popitem(last=False)
        return table

    def activations(self, points: PointSet, max_iter: int) -> Activations:
        """Fit all sources' activations to one channel's points, templates frozen.

        Points that some model has never seen have no say.
        """
        lags = lags_for(points, self.context)
        seen = points.below(just_above(self.max_frequency))
        return fit_activations(
            with_lags(seen, lags, padded=True),
            table_of(self.templates, lags),
            power=self.power,
            beta_loss=self.beta_loss,
            max_iter=max_iter,
            weights=self.weights,
        )

    def gains(self, points: PointSet, mask: Mask, max_iter: int) -> list[list[NDArray[np.float32]]]:
        """Return for each source one array of gains per block, of the shape of the block's magnitudes.

        Channels are fitted one by one, so a source may be loud in one and soft in another, or, after `with_channels`,
        together.
        """
        return [gains for (gains,) in self.joint_gains([points], mask, max_iter)]

    def joint_gains(
        self, parts: Sequence[PointSet], mask: Mask, max_iter: int
    ) -> list[list[list[NDArray[np.float32]]]]:
        """Return the gains of each source on the points of each of several transforms; see `gains`.

        Parameters
        ----------
        parts
            One recording's points by each of the transforms. Their activations are common.

        Returns
        -------
        gains
            For each source and each part one array per block, of the shape of the block's magnitudes.
        """
        mask = mask.resolved(self.beta_loss)
        if self.channel_gains is not None and len(self.channel_gains) == parts[0].channels:
            return self._shared_gains(parts, mask, max_iter)
        channels = []
        for number in range(parts[0].channels):
            one = [part.channel(number) for part in parts]
            joined = _joined(one)
            activations, lags = self.activations(joined, max_iter), lags_for(joined, self.context)
            channels.append(self._channel_gains(one, activations, lags, mask))
        return [
            [
                [
                    np.stack([channel[source][place][number] for channel in channels])
                    if block.has_channels
                    else channels[0][source][place][number]
                    for number, block in enumerate(part.blocks)
                ]
                for place, part in enumerate(parts)
            ]
            for source in range(len(self.names))
        ]

    def with_channels(self, points: PointSet, max_iter: int = 20, rounds: int = 8) -> Dictionary:
        """Return a dictionary that knows how loud each source is in each channel, so that channels share activations.

        Parameters
        ----------
        points
            Of the mixture, or of a good part of it, in several channels; of a single one nothing is learned.
        max_iter, rounds
            Updates of the activations between two updates of the gains, and how many of these.
        """
        learned = copy.copy(self)
        if len(self.members) > 1:
            learned.members = [member.with_channels(points, max_iter, rounds) for member in self.members]
            return learned
        # Another one: workers keep dictionaries for the next mixture, whose sources are elsewhere.
        learned = learned if self.members[0] is self else copy.copy(self.members[0])
        learned.channel_gains = learned._learned_channels(points, max_iter, rounds) if points.channels > 1 else None
        learned.members = [learned]
        return learned

    def _learned_channels(self, points: PointSet, max_iter: int, rounds: int) -> NDArray[np.float64]:
        seen = points.below(just_above(self.max_frequency))
        lags = lags_for(points, self.context)
        used = [block.frequencies <= just_above(self.max_frequency) for block in seen.blocks]
        # [C, F, T] or [C, P] of each block.
        values = [
            np.power(block.magnitudes[:, rows], self.power) for block, rows in zip(seen.blocks, used, strict=True)
        ]
        data = [[one[channel] for one in values] for channel in range(points.channels)]
        gains = np.ones((points.channels, len(self.names)))
        for _ in range(rounds):
            activations = self._shared_activations(seen, gains, lags, max_iter)
            blocks = [self._models(block, activations, lags) for block in seen.blocks]
            models = [
                [models[source][rows] for models, rows in zip(blocks, used, strict=True)]
                for source in range(len(self.names))
            ]
            for _ in range(3):
                gains = updated_gains(gains, data, models)
        return gains

    def _shared_activations(
        self, points: PointSet, gains: NDArray[np.float64], lags: NDArray[np.float64], max_iter: int
    ) -> Activations:
        seen = points.below(just_above(self.max_frequency))
        each = np.repeat(gains, np.diff(self._edges), axis=1)
        return fit_activations(
            side_by_side(with_lags(seen, lags, padded=True)),
            spread(table_of(self.templates, lags), each),
            power=self.power,
            beta_loss=self.beta_loss,
            max_iter=max_iter,
            weights=self.weights,
        )

    def _shared_gains(
        self, parts: Sequence[PointSet], mask: Mask, max_iter: int
    ) -> list[list[list[NDArray[np.float32]]]]:
        assert self.channel_gains is not None
        joined = _joined(parts)
        lags = lags_for(joined, self.context)
        activations = self._shared_activations(joined, self.channel_gains, lags, max_iter)
        found: list[list[list[NDArray[np.float32]]]] = [[[] for _ in parts] for _ in self.names]
        for place, part in enumerate(parts):
            for block in part.blocks:
                models = self._models(block, activations, lags)
                channels = [
                    source_gains(
                        [np.float32(gain) * model for gain, model in zip(gains, models, strict=True)], self.power, mask
                    )
                    for gains in self.channel_gains
                ]
                for source in range(len(self.names)):
                    found[source][place].append(np.stack([gains[source] for gains in channels]))
        return found

    def _channel_gains(
        self, parts: Sequence[PointSet], activations: Activations, lags: NDArray[np.float64], mask: Mask
    ) -> list[list[list[NDArray[np.float32]]]]:
        per_source: list[list[list[NDArray[np.float32]]]] = [[[] for _ in parts] for _ in self.names]
        for place, part in enumerate(parts):
            for block in part.blocks:
                for source, gains in enumerate(self._block_gains(block, activations, lags, mask)):
                    per_source[source][place].append(gains)
        return per_source

    def _block_gains(
        self, block: Block, activations: Activations, lags: NDArray[np.float64], mask: Mask
    ) -> list[NDArray[np.float32]]:
        return source_gains(self._models(block, activations, lags), self.power, mask)

    def _models(self, block: Block, activations: Activations, lags: NDArray[np.float64]) -> list[NDArray[np.float32]]:
        """Return what each source comes to at a block's points, up to a factor: 0 where some model has no data."""
        unseen = block.frequencies > just_above(self.max_frequency)
        levels = {float(lag): activations(block.times - lag if lag else block.times) for lag in lags}
        models = []
        for first, last in pairwise(self._edges):
            parts = [
                block_product(block, self.templates(block.frequencies, lag)[:, first:last], h[first:last])
                for lag, h in levels.items()
            ]
            # The sum over lags instead of their mean: gains are shares.
            model = parts[0]
            for part in parts[1:]:
                model += part
            model[unseen] = 0
            models.append(model)
        return models

    def known_band(self, parts: Sequence[PointSet], sample_rate: int) -> float:
        """Return hertz up to which sources can be told apart in the points of audio at a sample rate.

        That is the Nyquist frequency where the models know the points of the highest bands, wherever their centres are.
        """
        blocks = [block for part in parts for block in part.blocks]
        highest = max((float(block.frequencies.max()) for block in blocks if block.frequencies.size), default=0.0)
        nyquist = sample_rate / 2
        known = highest <= just_above(self.max_frequency) or nyquist <= self.max_frequency * 1.01
        return nyquist if known else self.max_frequency


def _joined(parts: Sequence[PointSet]) -> PointSet:
    joined = parts[0]
    for part in parts[1:]:
        joined = joined + part
    return joined
