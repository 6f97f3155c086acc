"""Implicit-neural NMF: templates and activations as non-negative functions. Needs torch and numpy alone."""

from inmf_flow.factorize.activations import Activations, fit_activations
from inmf_flow.factorize.batch import fit_batch
from inmf_flow.factorize.divergences import BetaDivergence, Divergence, get_divergence
from inmf_flow.factorize.ensemble import Ensemble
from inmf_flow.factorize.feature_grid import FeatureGridField
from inmf_flow.factorize.fields import Axis, Field, LinearField
from inmf_flow.factorize.files import content_digest
from inmf_flow.factorize.hat import HatField, MatrixField
from inmf_flow.factorize.model import INMF
from inmf_flow.factorize.network import NetworkField
from inmf_flow.factorize.neural import NeuralField
from inmf_flow.factorize.online import fit_segments
from inmf_flow.factorize.selection import Selection, select_components, split_points
from inmf_flow.factorize.shared import (
    SharedDictionary,
    choose_sample,
    finish_pass,
    reduce_batch,
    reduce_pass,
    start_dictionary,
)
from inmf_flow.factorize.shared_files import (
    dictionary_from_bytes,
    dictionary_to_bytes,
    load_dictionary,
    save_dictionary,
)
from inmf_flow.factorize.shared_fit import fit_shared
from inmf_flow.factorize.shared_items import PairwiseSum, SufficientStatistics, map_item, map_items
from inmf_flow.factorize.siren import SirenField

__all__ = [
    "INMF",
    "Activations",
    "Axis",
    "BetaDivergence",
    "Divergence",
    "Ensemble",
    "FeatureGridField",
    "Field",
    "HatField",
    "LinearField",
    "MatrixField",
    "NetworkField",
    "NeuralField",
    "PairwiseSum",
    "Selection",
    "SharedDictionary",
    "SirenField",
    "SufficientStatistics",
    "choose_sample",
    "content_digest",
    "dictionary_from_bytes",
    "dictionary_to_bytes",
    "finish_pass",
    "fit_activations",
    "fit_batch",
    "fit_segments",
    "fit_shared",
    "get_divergence",
    "load_dictionary",
    "map_item",
    "map_items",
    "reduce_batch",
    "reduce_pass",
    "save_dictionary",
    "select_components",
    "split_points",
    "start_dictionary",
]
