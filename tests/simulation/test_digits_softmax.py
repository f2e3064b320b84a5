"""Handwritten digits with loss "softmax": the accuracy on a test set that training with dropout reaches."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

HOW_TO = Path(__file__).parents[2] / "docs" / "how-to.md"


@pytest.mark.slow
def test_digits_are_learned_to_97_percent() -> None:
    """By what the documentation says, which gives the figure: Adam, a schedule, minibatches, a mask for each sample."""
    pytest.importorskip("sklearn")
    blocks = re.findall(r"^```python\n(.*?)^```$", HOW_TO.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)
    names: dict[str, Any] = {}
    for block in (blocks[0], *(block for block in blocks if "load_digits" in block)):
        exec(block, names)
    runs, digits, images, labels = (names[name] for name in ("runs", "digits", "images", "labels"))
    assert float(runs.test_accuracy[-1].min()) >= 0.97
    assert float(runs.accuracy[-1].min()) > 0.99
    chosen = digits.probabilities(runs.theta.values[-1], images[1200:]).argmax(axis=-1)
    np.testing.assert_allclose((chosen == labels[1200:]).mean(axis=-1), runs.test_accuracy.values[-1], atol=2e-3)
