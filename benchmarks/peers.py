"""Other packages' multiplicative updates, as the opponents of the classical special case: free matrices, one STFT.

All take float32 data and run a fixed number of iterations; torchnmf computes the divergence at every tenth, and cannot
be told not to. A fit starts where ours does: values that vary evenly by half around the level at which K products of
two add up to the mean of the data.
"""

from __future__ import annotations

import importlib.metadata
import warnings
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

Matrix = NDArray[np.float32]
# From data [F, T], a start [F, K] and [K, T] and a number of iterations to the model [F, T].
Fit = Callable[[Matrix, Matrix, Matrix, int], Matrix]


def start(v: Matrix, n_components: int, seed: int) -> tuple[Matrix, Matrix]:
    """Return templates [F, K] and activations [K, T] to start from."""
    draw = np.random.default_rng(seed)
    level = np.sqrt(v.mean() / n_components)
    w = draw.uniform(0.5, 1.5, (v.shape[0], n_components)) * level
    h = draw.uniform(0.5, 1.5, (v.shape[1], n_components)) * level
    return w.astype(np.float32), np.ascontiguousarray(h.T, dtype=np.float32)


def version(name: str) -> str:
    """Return the version of an installed package."""
    return importlib.metadata.version(name)


def installed() -> dict[str, Fit]:
    """Return the fits of the packages that are installed, by their names."""
    found: dict[str, Fit] = {}
    for name, fit in (("scikit-learn", scikit_learn), ("torchnmf", torchnmf)):
        try:
            version(name)
        except importlib.metadata.PackageNotFoundError:
            print(f"{name} is not installed: left out (pip install -r benchmarks/requirements.txt)", flush=True)
        else:
            found[name] = fit
    return found


def scikit_learn(v: Matrix, w: Matrix, h: Matrix, iterations: int) -> Matrix:
    """Fit by scikit-learn's multiplicative updates; a tolerance of 0 spares it computing the divergence."""
    from sklearn.decomposition import NMF

    model = NMF(
        w.shape[1],
        init="custom",
        solver="mu",
        beta_loss="kullback-leibler",
        tol=0.0,
        max_iter=iterations,
        shuffle=False,
    )
    fitted = model.fit_transform(v, W=w.copy(), H=h.copy())
    result: Matrix = fitted @ model.components_
    return result


def torchnmf(v: Matrix, w: Matrix, h: Matrix, iterations: int) -> Matrix:
    """Fit by torchnmf, whose H are the rows' factors and W the columns'."""
    with warnings.catch_warnings():
        # It compiles functions at import in a way that torch has deprecated.
        warnings.simplefilter("ignore")
        from torchnmf.nmf import NMF

    model = NMF(W=torch.from_numpy(h.T.copy()), H=torch.from_numpy(w.copy()))
    model.fit(torch.from_numpy(v), beta=1, tol=float("-inf"), max_iter=iterations)
    with torch.no_grad():
        result: Matrix = model().numpy()
    return result
