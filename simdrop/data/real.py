"""Real data that scikit-learn carries."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import InvalidInput
from .samples import Data, standardized

#: what there is, for help and documentation
REAL = {
    "diabetes": "442 patients, 10 inputs, progression of the disease after a year, all standardised",
    "digits": "1797 handwritten digits of 8 x 8 pixels in [0, 1], 10 outputs (one per class)",
}


def real(name: str) -> Data:
    """The data of a name of `REAL`; raises InvalidInput where scikit-learn is not installed."""
    try:
        import sklearn.datasets
    except ImportError:
        raise InvalidInput(f"data {name!r} needs scikit-learn: pip install 'simdrop[data]'") from None
    return _diabetes(sklearn.datasets) if name == "diabetes" else _digits(sklearn.datasets)


def _diabetes(sets: Any) -> Data:
    """In standard units: the raw ones reach 346, where a tanh network trains at no useful learning rate."""
    found = sets.load_diabetes(scaled=False)
    raw = Data("diabetes", found.data, found.target[:, None], tuple(found.feature_names), ("progression",))
    return standardized(raw, inputs=True, targets=True)


def _digits(sets: Any) -> Data:
    found = sets.load_digits()
    one_hot = np.eye(10)[found.target]
    pixels = tuple(f"pixel {row},{column}" for row in range(8) for column in range(8))
    return Data("digits", found.data / 16, one_hot, pixels, tuple(f"digit {k}" for k in range(10)))
