"""How objects show themselves: one line where text is shown, a small table in notebooks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields
from html import escape
from typing import Any

from ..checks.words import counted

#: notebooks set text in a proportional type and break it anywhere
_PRE = "font-family: monospace; font-size: 0.85em; line-height: 1.25; white-space: pre; overflow-x: auto"


def html(title: str, rows: Mapping[str, object], texts: Iterable[str] = ()) -> str:
    """A title, a table of names and values, and texts in the type of a terminal, for notebooks in light and dark."""
    cells = "".join(
        f'<tr><th style="text-align:left">{escape(name)}</th><td style="text-align:left">{escape(str(value))}</td></tr>'
        for name, value in rows.items()
    )
    table = f"<table>{cells}</table>" if cells else ""
    below = "".join(f'<pre style="{_PRE}">{escape(text)}</pre>' for text in texts)
    return f"<div><strong>{escape(title)}</strong>{table}{below}</div>"


def changed(one: Any, names: Iterable[str]) -> dict[str, object]:
    """Of these fields of a dataclass those that have another value than their default."""
    defaults = {field.name: field.default for field in fields(one)}
    return {name: getattr(one, name) for name in names if getattr(one, name) != defaults[name]}


class Shown:
    """A problem as one line and as a table: its sizes, and what is not as it is by default."""

    def __repr__(self: Any) -> str:  # a Problem
        always = {"width": self.width, "keep_prob": self.keep_prob, "activation": self.activation, "mask": self.mask}
        rest = changed(self, ("bias", "output_scale", "train", "loss", "weight_decay"))
        told = ", ".join(f"{name}={value!r}" for name, value in (always | rest).items())
        return f"<Problem: {_sizes(self)}; {told}>"

    def _repr_html_(self: Any) -> str:  # a Problem
        names = ("activation", "mask", "bias", "output_scale", "train", "loss", "weight_decay")
        rows = {
            "data": _sizes(self),
            "network": f"{counted(self.width, 'hidden neuron')}, P = {self.n_params} parameters",
            "keep_prob": f"{self.keep_prob:g}: dropout factors have variance {self.variance:.3g}",
        }
        return html("simdrop.Problem", rows | {name: getattr(self, name) for name in names})


def _sizes(problem: Any) -> str:
    inputs, outputs = counted(problem.x.shape[1], "input"), counted(problem.n_outputs, "output")
    return f"{counted(problem.n_samples, 'sample')}, {inputs}, {outputs}"
