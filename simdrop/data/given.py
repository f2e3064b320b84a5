"""Arrays of the user's where a name of data is expected."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..checks.numbers import check_samples
from ..checks.words import shown
from ..errors import InvalidInput
from .samples import Data


class Given(str):
    """Samples x (n, d), y (n, c) in the place of a name of data; as text, a name that tells them from others."""

    x: NDArray[np.float64]
    y: NDArray[np.float64]

    def __new__(cls, x: ArrayLike, y: ArrayLike) -> Given:
        """Raises InvalidInput for what is no data."""
        arrays = check_samples("x", x), check_samples("y", y)
        content = b"".join(array.tobytes() + repr(array.shape).encode() for array in arrays)
        found = super().__new__(cls, f"arrays {sha256(content).hexdigest()[:16]}")
        found.x, found.y = arrays
        return found

    def __reduce__(self) -> tuple[type[Given], tuple[NDArray[np.float64], NDArray[np.float64]]]:
        return Given, (self.x, self.y)

    def __deepcopy__(self, memo: Any) -> Given:
        return self  # nobody changes it

    def data(self) -> Data:
        """The samples, with numbers for names of columns."""
        columns = [
            tuple(f"{letter}{k}" for k in range(array.shape[1])) for letter, array in (("x", self.x), ("y", self.y))
        ]
        return Data(str(self), self.x, self.y, *columns)


def check_data(where: str, value: Any) -> Any:
    """`value`, a pair of arrays as `Given`; raises InvalidInput that begins with `where`."""
    if isinstance(value, (str, type(None))):
        return value
    if not isinstance(value, (tuple, list)) or len(value) != 2:
        raise InvalidInput(f"{where} must be a name or a pair (x, y) of arrays, got {shown(value)}")
    try:
        return Given(*value)
    except InvalidInput as error:
        raise InvalidInput(f"{where}: {error}") from None
