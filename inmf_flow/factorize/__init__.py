"""Implicit-neural NMF: templates and activations as non-negative functions. Needs torch and numpy alone."""

from inmf_flow.factorize.activations import Activations, fit_activations
from inmf_flow.factorize.divergences import BetaDivergence, Divergence, get_divergence
from inmf_flow.factorize.fields import Axis, Field, LinearField
from inmf_flow.factorize.hat import HatField, MatrixField
from inmf_flow.factorize.model import INMF
from inmf_flow.factorize.network import NetworkField

__all__ = [
    "INMF",
    "Activations",
    "Axis",
    "BetaDivergence",
    "Divergence",
    "Field",
    "HatField",
    "LinearField",
    "MatrixField",
    "NetworkField",
    "fit_activations",
    "get_divergence",
]
