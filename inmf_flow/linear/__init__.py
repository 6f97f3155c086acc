"""Other linear models of points, with coefficients of any sign: m(t, f) ~ mean(f) + sum_k W_k(f) H_k(t).

The functions are piecewise linear on placed nodes, or free values, as in `inmf_flow.factorize`, but may be negative.
Needs torch and numpy alone.
"""

from inmf_flow.linear.functional_pca import FunctionalPCA
from inmf_flow.linear.model import Scores
from inmf_flow.linear.sparse_dictionary import SparseDictionary

__all__ = ["FunctionalPCA", "Scores", "SparseDictionary"]
