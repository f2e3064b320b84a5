"""Figures that notebooks show as pictures. Loads Matplotlib: to be imported where something is drawn."""

from __future__ import annotations

import io
from typing import Any

from matplotlib import figure, rc_context

from .style import STYLE


class Figure(figure.Figure):
    """A Matplotlib figure that any notebook shows: it is drawn without pyplot, whose hooks front ends go by."""

    def _repr_png_(self) -> bytes:
        """The picture in PNG, which Jupyter, VS Code, Colab and marimo ask for."""
        return picture(self, "png", dpi=110)


def picture(drawn: figure.Figure, kind: str, **options: Any) -> bytes:
    """A figure as the bytes of a file of the kind png, svg or pdf."""
    held = io.BytesIO()
    with rc_context(STYLE):
        drawn.savefig(held, format=kind, **options)
    return held.getvalue()
