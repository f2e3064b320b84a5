"""Folders of results, opened again: tables, figures and numbers of what any command or function wrote."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..checks.words import check_path
from ..errors import InvalidInput
from ..output.folder import Mark, describe
from ..output.storage import damage_as_invalid, load

if TYPE_CHECKING:
    import xarray as xr

    from ..output.report import Report

#: lines of a table of points
LINES = 40
#: kind of a folder -> the store that is shown and exported
STORES = {"compare": "distances", "order": "errors", "reproduce": "results", "simulate": "results", "sme": "results"}


@dataclass
class Held:
    """The result in a folder.

    Attributes
    ----------
    path : Path
        The folder.
    kind : str
        The command or function that wrote it.
    summary : dict
        Its summary.json; of simulate and sme the attributes of the results.
    """

    path: Path
    kind: str
    summary: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def open(cls, folder: str) -> Held:
        """The result in a folder that any command wrote. Raises InvalidInput where there is none."""
        path = check_path("folder", folder)
        mark = Mark.read(path)
        unmarked = "sweep" if (path / "sweep.json").exists() else ""
        kind = unmarked if mark is None else mark.kind
        if not kind:
            raise InvalidInput(f"no results of simdrop at {str(path)!r}{describe(path)}")
        held = cls(path, kind)
        if kind in {"simulate", "sme"}:
            held.summary = dict(held.data().attrs)
        elif kind != "sweep":
            held.summary = _read(path / "summary.json", missing=math.nan if kind == "compare" else None)
        return held

    def data(self, name: str | None = None) -> xr.Dataset:
        """The numbers of a store, by default those that are shown. Raises InvalidInput where there are none."""
        if self.kind == "sweep":
            from ..scale import load as load_sweep

            return load_sweep(self.path)
        if name is None and self.kind not in STORES:
            raise InvalidInput(f"{str(self.path)!r} holds no numbers but those of summary.json")
        return load(self.path / f"{name or STORES[self.kind]}.zarr")

    def table(self) -> str:
        """The numbers as the command printed them."""
        with damage_as_invalid(f"cannot read {self.path / 'summary.json'}"):
            return self._table()

    def _table(self) -> str:
        if self.kind == "compare":
            from ..study.comparison.table import table

            return table(self.summary)
        if self.kind == "order":
            from ..study.convergence.table import table as of_order

            return of_order(self.summary)
        if self.kind == "bench":
            from ..study.throughput.table import table as of_rates

            return of_rates(self.summary)
        if self.kind == "reproduce":
            from ..reproduce.report import table as of_experiment

            return of_experiment(*self._experiment())
        return _at_end(self.data())

    def _experiment(self) -> tuple[Any, Any]:
        """The experiment of this folder and its outcome."""
        from ..reproduce import Outcome, Row, experiment

        rows = [
            Row(
                quantity=row["quantity"], ours=_number(row["ours"]), error=_number(row["error"]), unit=row["unit"],
                published=row["published"], rule=row["rule"],
                holds={"pass": True, "FAIL": False}.get(row["verdict"]),
            )
            for row in self.summary["rows"]
        ]  # fmt: skip
        data: Any = None if self.summary.get("interrupted") else self.data()
        return experiment(self.summary["experiment"]), Outcome(
            rows=rows, data=data, notes=self.summary.get("notes", ())
        )

    def pictures(self) -> dict[str, str]:
        """The figures for a page: drawn again where the folder has all that they show, else as they were written."""
        from ..output.report import as_image, as_svg

        drawn = self._figures()
        found = {name: as_svg(figure, name) for name, figure in drawn.items()}
        for name in ("figure", "heat-map"):
            file = self.path / f"{name}.png"
            if name not in found and file.exists():
                found[name] = as_image(file, name)
        return found

    def _figures(self) -> dict[str, Any]:
        if self.kind == "order":
            from ..study.convergence import figure

            return {"figure": figure.order(self.data(), self.summary)}
        if self.kind == "bench":
            from ..study.throughput.figure import benchmark

            return {"figure": benchmark(self.summary)} if self.summary["rows"] else {}
        if self.kind == "reproduce":
            experiment, outcome = self._experiment()
            return {} if outcome.data is None else {"figure": experiment.draw(outcome)}
        if self.kind == "sweep":
            from ..scale.figure import drawable, picture

            found = self.data()
            return {"figure": picture(found)} if drawable(found) else {}
        return {}

    def report(self) -> Report:
        """The folder as a report."""
        from ..study.reporting import report_of

        settings = self.path / "settings.toml"
        text = settings.read_text(encoding="utf-8") if settings.exists() else ""
        summary: Mapping[str, Any] = self.summary
        if self.kind in {"simulate", "sme", "sweep"}:
            summary = {"settings": dict(self.data().attrs)}
        return report_of(self.kind, summary, self.table(), self.pictures(), text)


def _read(path: Path, *, missing: float | None) -> dict[str, Any]:
    """A summary, with `missing` for null, which stands for NaN too. Raises InvalidInput."""

    def filled(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: filled(one) for key, one in value.items()}
        if isinstance(value, list):
            return [filled(one) for one in value]
        return missing if value is None else value

    with damage_as_invalid(f"cannot read {path}"):
        found = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(found, dict):
        raise InvalidInput(f"cannot read {path}: it is no summary")
    return dict(filled(found))


def _number(value: float | None) -> float:
    """A number of a summary, which has null for NaN."""
    return float("nan") if value is None else float(value)


def _at_end(found: xr.Dataset) -> str:
    """The variables over time of a run as they are at the end, or the points of a sweep."""
    if "step" in found and "diverged" in found and "time" in found.dims and "member" not in found.dims:
        return ends(found)
    lines = [f"{name}: {size}" for name, size in found.sizes.items()]
    single = [name for name, values in found.data_vars.items() if values.dims == ("time",)]
    return "\n".join([*lines, "", *(f"{name:<24}{float(found[name][-1]):.6g}" for name in single)])


def ends(found: xr.Dataset) -> str:
    """A line for each point that is done, as it is at the end; of many, the first and the last."""
    from ..scale import table

    rows, points = table(found), list(found["diverged"].dims)
    ends = rows[rows["step"] >= 0].groupby(points, sort=False).tail(1)
    first = dict.fromkeys([*points, *found["diverged"].coords, "step", "diverged"])
    others = [str(name) for name in ends if name not in (*first, "time") and "theta_mean_" not in str(name)]
    shown = [*first, *sorted(others, key=lambda name: (name.replace("_error", "_mean"), "_error" in name))]
    return str(ends[shown].to_string(index=False, max_rows=LINES, float_format="{:.4g}".format))
