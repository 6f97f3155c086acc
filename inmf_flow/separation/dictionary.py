"""The sources' models laid side by side as one dictionary."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from inmf_flow.errors import ArgumentError
from inmf_flow.factorize import INMF, Activations, fit_activations, get_divergence
from inmf_flow.factorize.fields import just_above
from inmf_flow.factorize.model import predict_block
from inmf_flow.points import PointSet
from inmf_flow.separation.masks import Mask, source_gains


class Dictionary:
    """Templates of several sources, whose activations are fitted together.

    Parameters
    ----------
    models
        One fitted model a source, all with the same ``power`` and ``beta_loss``.

    Attributes
    ----------
    names
        The sources, in the order given.
    max_frequency
        Hertz up to which every model has seen data: above it the sources share equally.
    """

    def __init__(self, models: Mapping[str, INMF]) -> None:
        if not models:
            raise ArgumentError("there is no model to separate with", expected="one model a source")
        for name, model in models.items():
            if not isinstance(model, INMF):
                raise ArgumentError(
                    f"the model of {name!r} is not an INMF",
                    got=repr(model),
                    hint="Load a file with INMF.load(path).",
                )
        self.names = list(models)
        self.models = [models[name] for name in self.names]
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
        self._cached: tuple[NDArray[np.float64], NDArray[np.float32]] | None = None

    def templates(self, frequencies: NDArray[np.float64]) -> NDArray[np.float32]:
        """Return all sources' templates at hertz [F], shape [F, total K]; the last call's are kept."""
        if self._cached is None or not np.array_equal(self._cached[0], frequencies):
            values = np.concatenate([model.templates(frequencies) for model in self.models], axis=1)
            self._cached = (np.array(frequencies), values)
        return self._cached[1]

    def activations(self, points: PointSet, max_iter: int) -> Activations:
        """Fit all sources' activations to one channel's points, templates frozen.

        Points that some model has never seen have no say.
        """
        seen = points.below(just_above(self.max_frequency))
        return fit_activations(
            seen,
            self.templates,
            power=self.power,
            beta_loss=self.beta_loss,
            max_iter=max_iter,
            weights=self.weights,
        )

    def gains(self, points: PointSet, mask: Mask, max_iter: int) -> list[list[NDArray[np.float32]]]:
        """Return for each source one array of gains per block, of the shape of the block's magnitudes.

        Channels are fitted one by one, so a source may be loud in one and soft in another.
        """
        channels = [self._channel_gains(points.channel(c), mask, max_iter) for c in range(points.channels)]
        result = []
        for source in range(len(self.names)):
            blocks = []
            for number, block in enumerate(points.blocks):
                arrays = [channel[source][number] for channel in channels]
                blocks.append(np.stack(arrays) if block.has_channels else arrays[0])
            result.append(blocks)
        return result

    def _channel_gains(self, points: PointSet, mask: Mask, max_iter: int) -> list[list[NDArray[np.float32]]]:
        activations = self.activations(points, max_iter)
        edges = np.cumsum([0, *(model.n_components for model in self.models)])
        per_source: list[list[NDArray[np.float32]]] = [[] for _ in self.names]
        for block in points.blocks:
            w, h = self.templates(block.frequencies), activations(block.times)
            models = []
            for first, last in pairwise(edges):
                models.append(predict_block(block, w[:, first:last], h[first:last]))
            unseen = block.frequencies > just_above(self.max_frequency)
            for model in models:
                model[unseen] = 0
            for gains, blocks in zip(source_gains(models, self.power, mask), per_source, strict=True):
                blocks.append(gains)
        return per_source

    def unseen_band(self, sample_rate: int) -> tuple[float, float] | None:
        """Return the hertz between what the models know and a recording's Nyquist frequency, if that is a band."""
        nyquist = sample_rate / 2
        return (self.max_frequency, nyquist) if nyquist > self.max_frequency * 1.01 else None
